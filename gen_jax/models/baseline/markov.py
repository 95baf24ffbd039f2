"""First-order Markov chain over raster order: log p(x) = log p(x_1) + sum_i log p_i(x_i | x_{i-1}).

Every position has its own transition table: 2n - 1 free parameters for binary data.
"""

from typing import ClassVar

import jax.numpy as jnp
import numpy as np
from jax import lax, nn
from jaxtyping import Array, Bool, Float, Int, Integer

from gen_jax.models.baseline.base import Counting


class Markov(Counting):
    """The value before is the context; the first site has the context 0 by definition."""

    system: ClassVar[str] = "markov"

    @property
    def table_shape(self) -> tuple[int, ...]:
        """A transition table for each site."""
        return (self.event.size, self.levels, self.levels)

    @property
    def num_parameters(self) -> int:
        """(levels - 1) (1 + (n - 1) levels): 2n - 1 for two levels."""
        return (self.levels - 1) * (1 + (self.event.size - 1) * self.levels)

    def previous(self, x: Integer[Array, "B *event"]) -> Integer[Array, "B sites"]:
        """The value before each site, 0 before the first."""
        return jnp.pad(x.reshape(x.shape[0], -1)[:, :-1], ((0, 0), (1, 0)))

    def increments(self, x: Integer[Array, "B *event"]) -> Float[Array, "sites levels levels"]:
        """Transitions of the batch at each site."""
        before = nn.one_hot(self.previous(x), self.levels)
        after = nn.one_hot(x.reshape(x.shape[0], -1), self.levels)
        return jnp.einsum("bsi,bsj->sij", before, after)

    def __call__(
        self, x: Integer[Array, "B *event"], cond: Array | None = None, train: bool = False
    ) -> Float[Array, "B sites P"]:
        """The row of each transition table that the value before selects."""
        table = self.head_params(self.log_table())
        return table[jnp.arange(self.num_sites), self.previous(x)]

    def context(self, site: int) -> Bool[np.ndarray, " sites"]:
        """The site before."""
        return np.arange(self.num_sites) == site - 1

    def init_cache(self, n: int, cond: Array | None = None) -> Int[Array, " n"]:
        """The last value written."""
        return jnp.zeros(n, jnp.int32)

    def step(
        self, cache: Int[Array, " n"], site: Int[Array, ""]
    ) -> tuple[Array, Float[Array, "n P"]]:
        """Read the rows that the last values select."""
        table = lax.dynamic_index_in_dim(self.log_table(), site, keepdims=False)
        return cache, self.head_params(table)[cache]

    def write(
        self, cache: Int[Array, " n"], site: Int[Array, ""], value: Int[Array, "n 1"]
    ) -> Array:
        """Remember the value."""
        return value[:, 0].astype(cache.dtype)
