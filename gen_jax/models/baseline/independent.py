"""Independent pixels: log p(x) = sum_i log p_i(x_i), one histogram a position. n free parameters for binary data."""

from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Integer

from gen_jax.models.autoregressive.sequence import Time
from gen_jax.models.baseline.base import Counting


class Independent(Counting):
    """No pixel depends on another: the product of the marginals."""

    system: ClassVar[str] = "independent"

    @property
    def table_shape(self) -> tuple[int, ...]:
        """A histogram for each site."""
        return (self.event.size, self.levels)

    @property
    def num_parameters(self) -> int:
        """n (levels - 1)."""
        return self.event.size * (self.levels - 1)

    def increments(self, x: Integer[Array, "B *event"]) -> Float[Array, "sites levels"]:
        """Histogram of the batch at each site."""
        flat = x.reshape(x.shape[0], -1)
        return jnp.zeros(self.table_shape).at[jnp.arange(self.event.size), flat].add(1.0)

    def body(
        self, x: Int[Array, "B *sites"], cond: Any, train: bool, time: Time
    ) -> Float[Array, "B *sites P"]:
        params = self.head_params(self.log_rows(time))
        return jnp.broadcast_to(params, (x.shape[0], *params.shape))

    def log_prob_sites(
        self, x: Integer[Array, "B *event"], cond: Array | None = None, train: bool = False
    ) -> Float[Array, "B sites"]:
        """Read from the table: what the head gives, without its sum over all levels."""
        return self.log_table()[jnp.arange(self.event.size), x.reshape(x.shape[0], -1)]

    def context(self, site: int) -> Bool[np.ndarray, " sites"]:
        """No site depends on another."""
        return np.zeros(self.num_sites, bool)
