"""The distribution of a group of latents: Gaussian, Bernoulli or categorical, independent given its parameters.

A group is an array of latents of some shape. Its parameters are arrays (n, *shape), or a tuple of such; they may
broadcast. `log_prob`, `kl` and the log-probability of a draw are of each latent, in nats.
"""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Integer

from gen_jax.ops import gaussian
from gen_jax.typing import PRNGKey


class Normal(NamedTuple):
    """Parameters of a Gaussian group."""

    mean: Any
    log_scale: Any


STANDARD = Normal(0.0, 0.0)


@runtime_checkable
class Group(Protocol):
    """A group of latents of one shape, as a distribution of its parameters.

    parts: how many numbers `location` gives for a latent. continuous: draws have a derivative in the parameters.
    """

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def parts(self) -> int: ...

    @property
    def continuous(self) -> bool: ...

    def noise(self, key: PRNGKey, n: int) -> Float[Array, "n *noise"]:
        """Noise that does not depend on parameters; multiplied by a temperature it gives the draws at it."""
        ...

    def draw(self, params: Any, noise: Array) -> tuple[Array, Float[Array, "n *shape"]]:
        """z, and its log-probability."""
        ...

    def log_prob(self, params: Any, z: Array) -> Float[Array, "n *shape"]:
        """log p(z)."""
        ...

    def kl(self, q: Any, p: Any) -> Float[Array, "n *shape"]:
        """KL(q || p), in closed form."""
        ...

    def mode(self, params: Any) -> Array:
        """The most probable z."""
        ...

    def location(self, q: Any, p: Any) -> Float[Array, "n *shape parts"]:
        """Where q lies as seen from p: the same for every x if and only if q says nothing about x beyond p."""
        ...


@dataclass(frozen=True)
class Gaussian:
    """Reals under N(mean, exp(log_scale)^2); noise is standard normal, so a draw is reparameterised."""

    shape: tuple[int, ...]

    parts = 1
    continuous = True

    def noise(self, key: PRNGKey, n: int) -> Float[Array, "n *shape"]:
        return jax.random.normal(key, (n, *self.shape))

    def draw(
        self, params: Normal, noise: Float[Array, "n *shape"]
    ) -> tuple[Float[Array, "n *shape"], Float[Array, "n *shape"]]:
        return gaussian.sample(*params, noise), gaussian.log_prob(noise) - params.log_scale

    def log_prob(self, params: Normal, z: Float[Array, "n *shape"]) -> Float[Array, "n *shape"]:
        return gaussian.log_prob(z, *params)

    def kl(self, q: Normal, p: Normal) -> Float[Array, "n *shape"]:
        return gaussian.kl(*q, *p)

    def mode(self, params: Normal) -> Float[Array, "n *shape"]:
        return params.mean

    def location(self, q: Normal, p: Normal) -> Float[Array, "n *shape parts"]:
        """(mean of q - mean of p) / scale of p; for the prior N(0, I) it is E[z | x]."""
        return ((q.mean - p.mean) * jnp.exp(-p.log_scale))[..., None]


@dataclass(frozen=True)
class Bernoulli:
    """Bits with p(z = 1) = sigma(params); noise is logistic."""

    shape: tuple[int, ...]

    levels = 2
    parts = 1
    continuous = False

    def noise(self, key: PRNGKey, n: int) -> Float[Array, "n *shape"]:
        return jax.random.logistic(key, (n, *self.shape))

    def draw(
        self, params: Float[Array, "..."], noise: Float[Array, "n *shape"]
    ) -> tuple[Integer[Array, "n *shape"], Float[Array, "n *shape"]]:
        z = (noise < params).astype(jnp.int32)
        return z, self.log_prob(params, z)

    def log_prob(
        self, params: Float[Array, "..."], z: Integer[Array, "n *shape"]
    ) -> Float[Array, "n *shape"]:
        return jax.nn.log_sigmoid(jnp.where(z == 1, params, -params))

    def kl(self, q: Float[Array, "..."], p: Float[Array, "..."]) -> Float[Array, "n *shape"]:
        one = jax.nn.sigmoid(q) * (jax.nn.log_sigmoid(q) - jax.nn.log_sigmoid(p))
        return one + jax.nn.sigmoid(-q) * (jax.nn.log_sigmoid(-q) - jax.nn.log_sigmoid(-p))

    def mode(self, params: Float[Array, "..."]) -> Integer[Array, "n *shape"]:
        return (params > 0).astype(jnp.int32)

    def location(
        self, q: Float[Array, "..."], p: Float[Array, "..."]
    ) -> Float[Array, "n *shape parts"]:
        """(E_q z - E_p z) / standard deviation of p."""
        apart = jax.nn.sigmoid(q) - jax.nn.sigmoid(p)
        return (apart / jnp.sqrt(jax.nn.sigmoid(p) * jax.nn.sigmoid(-p)))[..., None]


@dataclass(frozen=True)
class Categorical:
    """Integers below `levels`; parameters are log-probabilities (n, *shape, levels); noise has Gumbel's distribution.

    A last axis of length 1 stands for levels of equal probability.
    """

    shape: tuple[int, ...]
    levels: int

    continuous = False

    @property
    def parts(self) -> int:
        return self.levels

    @property
    def uniform(self) -> Float[Array, "1"]:
        """Parameters of equal probabilities."""
        return jnp.full((1,), -math.log(self.levels))

    def noise(self, key: PRNGKey, n: int) -> Float[Array, "n *shape levels"]:
        return jax.random.gumbel(key, (n, *self.shape, self.levels))

    def draw(
        self, params: Float[Array, "..."], noise: Float[Array, "n *shape levels"]
    ) -> tuple[Integer[Array, "n *shape"], Float[Array, "n *shape"]]:
        z = jnp.argmax(params + noise, axis=-1).astype(jnp.int32)
        return z, self.log_prob(params, z)

    def log_prob(
        self, params: Float[Array, "..."], z: Integer[Array, "n *shape"]
    ) -> Float[Array, "n *shape"]:
        every = jnp.broadcast_to(params, (*z.shape, self.levels))
        return jnp.take_along_axis(every, z[..., None], axis=-1)[..., 0]

    def kl(self, q: Float[Array, "..."], p: Float[Array, "..."]) -> Float[Array, "n *shape"]:
        return jnp.sum(jnp.exp(q) * (q - p), axis=-1)

    def mode(self, params: Float[Array, "..."]) -> Integer[Array, "n *shape"]:
        return jnp.argmax(params, axis=-1).astype(jnp.int32)

    def location(
        self, q: Float[Array, "..."], p: Float[Array, "..."]
    ) -> Float[Array, "n *shape parts"]:
        """(q - p) / sqrt(p) of each level: its squared length is the chi-square divergence of q from p."""
        return (jnp.exp(q) - jnp.exp(p)) * jnp.exp(-0.5 * p)
