"""Full joint table: p(x) = theta_x for each of levels^n events; 2^n - 1 free parameters for binary data."""

from typing import Any, ClassVar

import flax.linen
import jax.numpy as jnp
import numpy as np
from jax import nn
from jaxtyping import Array, Bool, Float, Int, Integer

from gen_jax.errors import InputError
from gen_jax.models.autoregressive.sequence import Time
from gen_jax.models.baseline.base import Counting

MAX_CELLS = 2**20


class FullTable(Counting):
    """A count for every event; conditionals are sums over the cells that agree with the values before."""

    system: ClassVar[str] = "full_table"

    @property
    def table_shape(self) -> tuple[int, ...]:
        """All events on one axis; InputError if there are more than 2^20."""
        cells = self.levels**self.event.size
        if cells > MAX_CELLS:
            raise InputError(
                f"a full table of {self.levels}^{self.event.size} events does not fit; the limit is {MAX_CELLS} cells"
            )
        return (cells,)

    @property
    def num_parameters(self) -> int:
        return self.table_shape[0] - 1

    @property
    def digits(self) -> Int[np.ndarray, "cells sites"]:
        """The values of each cell's event; the first site is the most significant."""
        return np.stack(
            np.unravel_index(np.arange(self.table_shape[0]), (self.levels,) * self.event.size),
            axis=1,
        )

    def increments(self, x: Integer[Array, "B *event"]) -> Float[Array, " cells"]:
        powers = self.levels ** np.arange(self.event.size)[::-1]
        cell = x.reshape(x.shape[0], -1).astype(jnp.int32) @ jnp.asarray(powers, jnp.int32)
        return jnp.zeros(self.table_shape).at[cell].add(1.0)

    def _conditional(
        self, agrees: Bool[Array, "*batch cells"], site: Int[Array, ""]
    ) -> Float[Array, "*batch levels"]:
        digit = nn.one_hot(jnp.asarray(self.digits)[:, site], self.levels)
        mass = (agrees * jnp.exp(self.log_table())) @ digit
        return jnp.log(mass) - jnp.log(jnp.sum(mass, axis=-1, keepdims=True))

    @flax.linen.compact
    def body(
        self, x: Int[Array, "B *sites"], cond: Any, train: bool, time: Time
    ) -> Float[Array, "B *sites P"]:
        digits = jnp.asarray(self.digits)
        if time is None:
            equal = x[:, None, :] == digits
            agrees = [jnp.all(equal[..., :site], axis=-1) for site in range(self.num_sites)]
            params = [self._conditional(a, jnp.asarray(site)) for site, a in enumerate(agrees)]
            return self.head_params(jnp.stack(params, axis=1))
        shape = (x.shape[0], *self.table_shape)
        differs = self.variable("cache", "differs", jnp.zeros, shape, bool)
        differs.value |= (time > 0) & (digits[:, time - 1] != x[:, None])
        return self.head_params(self._conditional(~differs.value, time))
