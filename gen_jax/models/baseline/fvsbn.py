"""Fully visible sigmoid belief net: p(x_i = 1 | x_<i) = sigma(b_i + sum_{j<i} W_ij x_j) (Neal 1992; Frey 1998).

n (n + 1) / 2 free parameters.
"""

from typing import ClassVar, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int, Integer

from gen_jax.errors import InputError
from gen_jax.models.autoregressive.base import Autoregressive


class Cache(NamedTuple):
    """The values written so far, zero where none is."""

    x: Float[Array, "n sites"]


class FVSBN(Autoregressive):
    """Logistic regression of every binary value on all values before it."""

    system: ClassVar[str] = "fvsbn"

    def setup(self):
        """The strict lower triangle of W, packed, and the bias; InputError unless the event is binary."""
        if self.levels != 2:
            raise InputError(
                f"fvsbn is a model of binary events, this one has {self.levels} levels"
            )
        n = self.event.size
        self.packed = self.param("kernel", nn.initializers.zeros, (n * (n - 1) // 2,))
        self.bias = self.param("bias", nn.initializers.zeros, (n,))

    @property
    def kernel(self) -> Float[Array, "sites sites"]:
        """W, strictly lower triangular."""
        n = self.event.size
        return jnp.zeros((n, n), self.packed.dtype).at[np.tril_indices(n, -1)].set(self.packed)

    def __call__(
        self, x: Integer[Array, "B *event"], cond: Array | None = None, train: bool = False
    ) -> Float[Array, "B sites 1"]:
        """All logits by one product with the triangle."""
        x = x.reshape(x.shape[0], -1).astype(self.bias.dtype)
        return (x @ self.kernel.T + self.bias)[..., None]

    def init_cache(self, n: int, cond: Array | None = None) -> Cache:
        """Zeros: the product then sees the written values only."""
        return Cache(jnp.zeros((n, self.event.size), self.bias.dtype))

    def step(self, cache: Cache, site: Int[Array, ""]) -> tuple[Cache, Float[Array, "n 1"]]:
        """One row of the triangle, cut out of the packed kernel."""
        n = self.event.size
        row = lax.dynamic_slice_in_dim(jnp.pad(self.packed, (0, n)), site * (site - 1) // 2, n)
        row = jnp.where(jnp.arange(n) < site, row, 0)
        return cache, (cache.x @ row + self.bias[site])[:, None]

    def write(self, cache: Cache, site: Int[Array, ""], value: Int[Array, "n 1"]) -> Cache:
        """Put the value in its place."""
        return Cache(
            lax.dynamic_update_slice_in_dim(cache.x, value.astype(cache.x.dtype), site, axis=1)
        )
