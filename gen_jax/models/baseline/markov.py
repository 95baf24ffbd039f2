"""First-order Markov chain over raster order: log p(x) = log p(x_1) + sum_i log p_i(x_i | x_{i-1}).

Every position has a transition table: 2n - 1 free parameters for binary data.
"""

from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np
from jax import nn
from jaxtyping import Array, Bool, Float, Int, Integer

from gen_jax.models.autoregressive.sequence import Time, shifted
from gen_jax.models.baseline.base import Counting


class Markov(Counting):
    """Each value depends on the value before; before the first value there is a 0, by definition."""

    system: ClassVar[str] = "markov"

    @property
    def table_shape(self) -> tuple[int, ...]:
        return (self.event.size, self.levels, self.levels)

    @property
    def num_parameters(self) -> int:
        return (self.levels - 1) * (1 + (self.event.size - 1) * self.levels)

    def increments(self, x: Integer[Array, "B *event"]) -> Float[Array, "sites levels levels"]:
        x = x.reshape(x.shape[0], -1).astype(jnp.int32)
        before = jnp.maximum(shifted(x, None), 0)
        both = (nn.one_hot(values, self.levels) for values in (before, x))
        return jnp.einsum("bsi,bsj->sij", *both)

    def body(
        self, x: Int[Array, "B *sites"], cond: Any, train: bool, time: Time
    ) -> Float[Array, "B *sites P"]:
        rows, before = self.head_params(self.log_rows(time)), jnp.maximum(shifted(x, time), 0)
        return rows[before] if time is not None else rows[jnp.arange(self.num_sites), before]

    def context(self, site: int) -> Bool[np.ndarray, " sites"]:
        return np.arange(self.num_sites) == site - 1
