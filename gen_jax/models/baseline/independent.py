"""Independent pixels: log p(x) = sum_i log p_i(x_i), a histogram for each position; n parameters for binary data."""

from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Integer

from gen_jax.conditions import Cond
from gen_jax.models.autoregressive.sequence import Time
from gen_jax.models.baseline.base import Counting


class Independent(Counting):
    """The product of the marginals."""

    system: ClassVar[str] = "independent"

    @property
    def table_shape(self) -> tuple[int, ...]:
        return (self.event.size, self.levels)

    @property
    def num_parameters(self) -> int:
        return self.event.size * (self.levels - 1)

    def increments(self, x: Integer[Array, "B *event"]) -> Float[Array, "sites levels"]:
        flat = x.reshape(x.shape[0], -1)
        return jnp.zeros(self.table_shape).at[jnp.arange(self.event.size), flat].add(1.0)

    def body(
        self, x: Int[Array, "B *sites"], cond: Any, train: bool, time: Time
    ) -> Float[Array, "B *sites P"]:
        params = self.head_params(self.log_rows(time))
        return jnp.broadcast_to(params, (x.shape[0], *params.shape))

    def log_prob_sites(
        self, x: Integer[Array, "B *event"], cond: Cond = None, train: bool = False
    ) -> Float[Array, "B sites"]:
        """The values of the table; the head would give the same by a sum over all levels."""
        return self.log_table()[jnp.arange(self.event.size), x.reshape(x.shape[0], -1)]

    def context(self, site: int) -> Bool[np.ndarray, " sites"]:
        return np.zeros(self.num_sites, bool)
