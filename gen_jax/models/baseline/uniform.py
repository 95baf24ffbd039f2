"""Uniform: log p(x) = -D log levels. Nothing is learned; what codes cost before a prior over them is."""

from typing import ClassVar

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Integer

from gen_jax.models.autoregressive.base import Autoregressive


class Uniform(Autoregressive):
    """Every event has the same probability; no parameters."""

    system: ClassVar[str] = "uniform"

    def __call__(
        self, x: Integer[Array, "B *event"], cond: Array | None = None, train: bool = False
    ) -> Float[Array, "B sites P"]:
        """Zeros: equal logits."""
        return jnp.zeros((x.shape[0], self.num_sites, self.head.size))

    def context(self, site: int) -> Bool[np.ndarray, " sites"]:
        """Nothing."""
        return np.zeros(self.num_sites, bool)

    def init_cache(self, n: int, cond: Array | None = None) -> Float[Array, "n P"]:
        """The zeros of one site."""
        return jnp.zeros((n, self.head.size))

    def step(
        self, cache: Float[Array, "n P"], site: Int[Array, ""]
    ) -> tuple[Float[Array, "n P"], Float[Array, "n P"]]:
        """The same for each."""
        return cache, cache

    def write(
        self, cache: Float[Array, "n P"], site: Int[Array, ""], value: Int[Array, "n 1"]
    ) -> Float[Array, "n P"]:
        """Nothing to take in."""
        return cache
