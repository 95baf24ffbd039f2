"""Observation heads: the distribution of a site's values given its parameters.

A site has P parameters and V values, which are levels. `log_prob` and `sample` treat all values of a site jointly.
`conditional` gives the same distribution one value at a time, p(x_v | x_<v), as an entropy coder needs it.
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from gen_jax.ops import categorical, logistic_mixture
from gen_jax.typing import Params, Values

Temperature = float | Float[Array, ""]


@runtime_checkable
class Head(Protocol):
    """Distribution of a site's values given its parameters; log-probabilities in nats."""

    @property
    def size(self) -> int:
        """P, the number of parameters for a site."""
        ...

    def log_prob(self, params: Params, x: Values) -> Float[Array, "*batch"]:
        """log p(x) of all values of a site, nats."""
        ...

    def sample(self, params: Params, key: Key[Array, ""], temperature: Temperature = 1.0) -> Values:
        """A draw of all values of a site."""
        ...

    def conditional(
        self, params: Params, channel: int, previous: Values
    ) -> Float[Array, "*batch levels"]:
        """p(x_channel = . | x_<channel = previous): sums to 1 over the levels."""
        ...


@dataclass(frozen=True)
class Bernoulli:
    """p(x = 1) = sigma(params); two levels, one parameter."""

    @property
    def size(self) -> int:
        return 1

    def log_prob(self, params: Params, x: Values) -> Float[Array, "*batch"]:
        logit = params[..., 0].astype(jnp.promote_types(params.dtype, jnp.float32))
        return jax.nn.log_sigmoid(jnp.where(x[..., 0] == 1, logit, -logit))

    def sample(self, params: Params, key: Key[Array, ""], temperature: Temperature = 1.0) -> Values:
        logit = params[..., 0].astype(jnp.result_type(float)) / temperature
        ones = jax.random.logistic(key, logit.shape, logit.dtype) < logit
        return ones[..., None].astype(jnp.int32)

    def conditional(
        self, params: Params, channel: int, previous: Values
    ) -> Float[Array, "*batch levels"]:
        del channel, previous  # one value: nothing to condition on
        return jax.nn.sigmoid(jnp.concatenate([-params, params], axis=-1))


@dataclass(frozen=True)
class Categorical:
    """p(x = k) = softmax(params)_k, one parameter for each level (van den Oord et al. 2016, 1601.06759)."""

    levels: int

    @property
    def size(self) -> int:
        return self.levels

    def log_prob(self, params: Params, x: Values) -> Float[Array, "*batch"]:
        logits = params.astype(jnp.promote_types(params.dtype, jnp.float32))
        return jnp.take_along_axis(logits, x, axis=-1)[..., 0] - jax.nn.logsumexp(logits, axis=-1)

    def sample(self, params: Params, key: Key[Array, ""], temperature: Temperature = 1.0) -> Values:
        return categorical.sample(params, key, temperature)[..., None]

    def conditional(
        self, params: Params, channel: int, previous: Values
    ) -> Float[Array, "*batch levels"]:
        del channel, previous  # one value: nothing to condition on
        return jax.nn.softmax(params, axis=-1)


@dataclass(frozen=True)
class LogisticMixture:
    """Discretised mixture of logistics over all values of a pixel jointly (Salimans et al. 2017, 1701.05517)."""

    levels: int
    values: int
    mixtures: int

    @property
    def size(self) -> int:
        pairs = self.values * (self.values - 1) // 2
        return self.mixtures * (1 + 2 * self.values + pairs)

    def log_prob(self, params: Params, x: Values) -> Float[Array, "*batch"]:
        return logistic_mixture.log_prob(params, x, self.levels, self.mixtures)

    def sample(self, params: Params, key: Key[Array, ""], temperature: Temperature = 1.0) -> Values:
        return logistic_mixture.sample(
            params, key, self.levels, self.values, self.mixtures, temperature
        )

    def conditional(
        self, params: Params, channel: int, previous: Values
    ) -> Float[Array, "*batch levels"]:
        return logistic_mixture.conditional(params, channel, previous, self.levels, self.mixtures)


def head_for(levels: int, values: int = 1, mixtures: int | None = None) -> Head:
    """A mixture of logistics over all values or, if `mixtures` is None, Bernoulli or categorical for one value."""
    if mixtures is not None:
        return LogisticMixture(levels, values, mixtures)
    return Bernoulli() if levels == 2 else Categorical(levels)
