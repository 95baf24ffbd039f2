"""Observation heads: what a site's parameters say about its symbols.

A site has P parameters and V values. `log_prob` and `sample` treat the values of a site jointly; `conditional` gives
the same distribution one value at a time, p(x_v | x_<v), which is what an entropy coder codes. Values are levels.
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from gen_jax.ops import bernoulli, categorical
from gen_jax.typing import Params, Values

Temperature = float | Float[Array, ""]


@runtime_checkable
class Head(Protocol):
    """Distribution of a site's values given its parameters; log-probabilities in nats."""

    def size(self, levels: int) -> int:
        """P, the number of parameters of a site with one value."""
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

    def size(self, levels: int) -> int:
        """1; ValueError unless there are two levels."""
        if levels != 2:
            raise ValueError(f"a Bernoulli head is for 2 levels, not {levels}")
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

    def size(self, levels: int) -> int:
        """As many parameters as levels."""
        return levels

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


def head_for(levels: int) -> Head:
    """The field's usual choice: Bernoulli for two levels, else categorical."""
    return Bernoulli() if levels == 2 else Categorical()
