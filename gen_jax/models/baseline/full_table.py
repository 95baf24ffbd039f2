"""Full joint table: one probability for each of levels^n events.

2^n - 1 free parameters for binary data, so n is tiny.
"""

from typing import ClassVar, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import nn
from jaxtyping import Array, Bool, Float, Int, Integer

from gen_jax.errors import InputError
from gen_jax.models.baseline.base import Counting

MAX_CELLS = 2**20


class Cache(NamedTuple):
    """Which cells of the table agree with the values written so far."""

    agrees: Bool[Array, "n cells"]


class FullTable(Counting):
    """Every event has its own count; conditionals are sums over the cells that agree with the values before."""

    system: ClassVar[str] = "full_table"

    @property
    def table_shape(self) -> tuple[int, ...]:
        """All events in one axis; InputError beyond 2^20 of them."""
        cells = self.levels**self.event.size
        if cells > MAX_CELLS:
            raise InputError(
                f"a full table of {self.levels}^{self.event.size} events does not fit; the limit is {MAX_CELLS} cells"
            )
        return (cells,)

    @property
    def num_parameters(self) -> int:
        """levels^n - 1."""
        return self.table_shape[0] - 1

    @property
    def digits(self) -> Int[np.ndarray, "cells sites"]:
        """The event of each cell, first site most significant."""
        return np.stack(
            np.unravel_index(np.arange(self.table_shape[0]), (self.levels,) * self.event.size),
            axis=1,
        )

    def increments(self, x: Integer[Array, "B *event"]) -> Float[Array, " cells"]:
        """Histogram of the batch over all events."""
        powers = self.levels ** np.arange(self.event.size)[::-1]
        cell = x.reshape(x.shape[0], -1).astype(jnp.int32) @ jnp.asarray(powers, jnp.int32)
        return jnp.zeros(self.table_shape).at[cell].add(1.0)

    def _conditional(
        self, agrees: Bool[Array, "*batch cells"], site: Int[Array, ""]
    ) -> Float[Array, "*batch levels"]:
        digit = nn.one_hot(jnp.asarray(self.digits)[:, site], self.levels)
        mass = (agrees * jnp.exp(self.log_table())) @ digit
        return jnp.log(mass) - jnp.log(jnp.sum(mass, axis=-1, keepdims=True))

    def __call__(
        self, x: Integer[Array, "B *event"], cond: Array | None = None, train: bool = False
    ) -> Float[Array, "B sites P"]:
        """Conditionals of every site: the cells that agree with all values before it."""
        x = x.reshape(x.shape[0], -1)
        equal = x[:, None, :] == jnp.asarray(self.digits)
        params = []
        for site in range(self.num_sites):
            agrees = jnp.all(equal[..., :site], axis=-1)
            params.append(self.head_params(self._conditional(agrees, jnp.asarray(site))))
        return jnp.stack(params, axis=1)

    def init_cache(self, n: int, cond: Array | None = None) -> Cache:
        """Every cell agrees."""
        return Cache(jnp.ones((n, *self.table_shape), bool))

    def step(self, cache: Cache, site: Int[Array, ""]) -> tuple[Cache, Float[Array, "n P"]]:
        """Sum the cells that agree, by the digit of the site."""
        return cache, self.head_params(self._conditional(cache.agrees, site))

    def write(self, cache: Cache, site: Int[Array, ""], value: Int[Array, "n 1"]) -> Cache:
        """Keep the cells that have this value."""
        return Cache(cache.agrees & (jnp.asarray(self.digits)[:, site] == value))
