"""Observation heads: what a site's parameters say about its symbols.

A site has P parameters and V values. `log_prob` and `sample` treat the values of a site jointly; `conditional` gives
the same distribution one value at a time, p(x_v | x_<v), which is what an entropy coder codes. Values are levels.
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from gen_jax.ops import bernoulli, categorical, logistic_mixture
from gen_jax.typing import Params, Values

Temperature = float | Float[Array, ""]


@runtime_checkable
class Head(Protocol):
    """Distribution of a site's values given its parameters; log-probabilities in nats."""

    @property
    def size(self) -> int:
        """P, the number of parameters of a site."""
        ...

    def log_prob(self, params: Params, x: Values) -> Float[Array, "*batch"]:
        """log p(x) of all values of the site, nats."""
        ...

    def sample(self, params: Params, key: Key[Array, ""], temperature: Temperature = 1.0) -> Values:
        """Draw all values of the site."""
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
        """1, the logit."""
        return 1

    def log_prob(self, params: Params, x: Values) -> Float[Array, "*batch"]:
        """log sigma(+-params)."""
        return bernoulli.log_prob(params[..., 0], x[..., 0])

    def sample(self, params: Params, key: Key[Array, ""], temperature: Temperature = 1.0) -> Values:
        """1 with probability sigma(params / temperature)."""
        return bernoulli.sample(params[..., 0], key, temperature)[..., None]

    def conditional(
        self, params: Params, channel: int, previous: Values
    ) -> Float[Array, "*batch levels"]:
        """[sigma(-params), sigma(params)]."""
        del channel, previous  # one value: nothing to condition on
        return jax.nn.sigmoid(jnp.concatenate([-params, params], axis=-1))


@dataclass(frozen=True)
class Categorical:
    """p(x = k) = softmax(params)_k: any number of levels, as many parameters (van den Oord et al. 2016, 1601.06759)."""

    levels: int

    @property
    def size(self) -> int:
        """As many parameters as levels."""
        return self.levels

    def log_prob(self, params: Params, x: Values) -> Float[Array, "*batch"]:
        """params[x] - logsumexp(params)."""
        return categorical.log_prob(params, x[..., 0])

    def sample(self, params: Params, key: Key[Array, ""], temperature: Temperature = 1.0) -> Values:
        """Draw from softmax(params / temperature)."""
        return categorical.sample(params, key, temperature)[..., None]

    def conditional(
        self, params: Params, channel: int, previous: Values
    ) -> Float[Array, "*batch levels"]:
        """softmax(params)."""
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
        """3 K parameters for one value, 10 K for three."""
        return logistic_mixture.num_params(self.values, self.mixtures)

    def log_prob(self, params: Params, x: Values) -> Float[Array, "*batch"]:
        """log sum_k pi_k prod_c P(x_c | k, x_<c)."""
        return logistic_mixture.log_prob(params, x, self.levels, self.mixtures)

    def sample(self, params: Params, key: Key[Array, ""], temperature: Temperature = 1.0) -> Values:
        """An indicator for the pixel, then its values in order."""
        return logistic_mixture.sample(
            params, key, self.levels, self.values, self.mixtures, temperature
        )

    def conditional(
        self, params: Params, channel: int, previous: Values
    ) -> Float[Array, "*batch levels"]:
        """p(R), p(G | R), p(B | R, G), with the responsibilities of the earlier values."""
        return logistic_mixture.conditional(params, channel, previous, self.levels, self.mixtures)


def head_for(levels: int, values: int = 1, mixtures: int | None = None) -> Head:
    """A mixture of logistics for all values of a site; for one value without `mixtures` Bernoulli or categorical."""
    if mixtures is not None:
        return LogisticMixture(levels, values, mixtures)
    return Bernoulli() if levels == 2 else Categorical(levels)
