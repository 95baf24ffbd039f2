"""Attention of a plane in tiles: what a position reads lies in a rectangle around its tile.

(Parmar, Vaswani, Uszkoreit, Kaiser, Shazeer, Ku and Tran 2018, 1802.05751, section 3.3.)
"""

from dataclasses import dataclass
from functools import lru_cache

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from gen_jax.ops import attention
from gen_jax.ops.loops import once
from gen_jax.ops.orders import Tiles
from gen_jax.ops.patterns import (
    Keys,
    Memory,
    Parts,
    Pattern,
    Slots,
    Values,
    apart_by,
    blocks,
    joined,
    require,
)


@dataclass(frozen=True)
class Rectangle(Pattern):
    """Positions of a plane (height, width) in tiles (rows, columns), tile by tile and in raster order in a tile.

    A position reads what was generated up to itself of a rectangle: its tile, `above` rows above it and `side` columns
    on both sides. A step keeps the plane, and reads a copy of the rectangle that is made once a tile. A tile of one row
    of a plane of one row is a block that reads itself and `side` positions before (the paper's local 1D).
    """

    height: int
    width: int
    rows: int
    columns: int
    above: int
    side: int

    def __post_init__(self):
        sides = (self.height, self.width, self.rows, self.columns)
        require(min(sides) >= 1, "rectangles need sides of at least 1")
        require(min(self.above, self.side) >= 0, "rectangles need `above` and `side` of at least 0")
        require(
            self.height % self.rows == self.width % self.columns == 0,
            f"tiles of {self.rows}x{self.columns} do not cover a plane of {self.height}x{self.width} without a rest",
        )

    def refusal(self, length: int) -> str | None:
        if length != self.height * self.width:
            return f"a plane of {self.height}x{self.width} has {self.height * self.width} positions, not {length}"
        return None

    def order(self) -> Int[np.ndarray, " L"]:
        """The place in the plane, in raster order, of each position."""
        return Tiles(self.rows, self.columns).places(self.height, self.width)

    def allowed(self, length: int) -> Bool[np.ndarray, "L L"]:
        row, column = np.divmod(self.order(), self.width)
        top, left = row // self.rows * self.rows, column // self.columns * self.columns
        rows = (row >= top[:, None] - self.above) & (row < top[:, None] + self.rows)
        first, last = left[:, None] - self.side, left[:, None] + self.columns + self.side
        return rows & (column >= first) & (column < last) & (apart_by(length) >= 0)

    def read(self, query: Keys, key: Keys, value: Values) -> Values:
        """Each tile against its rectangle, gathered by a table."""
        length, size = query.shape[2], self.rows * self.columns
        table = jnp.asarray(_rectangles(self))
        key, value = (jnp.take(x, jnp.maximum(table, 0), axis=2) for x in (key, value))
        time = jnp.arange(length).reshape(-1, size, 1)
        read = (table >= 0)[:, None] & (table[:, None] <= time)
        return joined(attention.attend(blocks(query, size), key, value, read), length)

    def slots(self, length: int) -> int:
        """A tile, what it reads of earlier tiles, and the plane."""
        return sum(self.parts(length))

    def parts(self, length: int) -> tuple[int, ...]:
        return self.rows * self.columns, _earlier(self).shape[1], length

    def write(
        self,
        memory: Memory,
        key: Float[Array, "B N K"],
        value: Float[Array, "B N V"],
        time: Int[Array, ""],
    ) -> Memory:
        size = self.rows * self.columns
        tile, slot = jnp.divmod(time, size)
        table = jnp.asarray(_earlier(self))[tile]

        def kept(parts: Parts, new: Float[Array, "B N _d"]) -> Parts:
            here, earlier, plane = parts
            here = lax.dynamic_update_slice_in_dim(here, new[:, :, None], slot, axis=2)
            plane = lax.dynamic_update_slice_in_dim(plane, new[:, :, None], time, axis=2)
            return here, once(slot == 0, lambda _: rows_of(plane, table), earlier), plane

        return Memory(kept(memory.keys, key), kept(memory.values, value))

    def read_site(
        self, query: Float[Array, "B N K"], memory: Memory, time: Int[Array, ""]
    ) -> Float[Array, "B N V"]:
        tile, slot = jnp.divmod(time, self.rows * self.columns)
        here = jnp.arange(self.rows * self.columns) <= slot
        read = jnp.concatenate([here, jnp.asarray(_earlier(self) >= 0)[tile]])
        keys, values = memory.keys[:2], memory.values[:2]
        return attention.attend_parts(query[:, :, None], keys, values, read)[:, :, 0]


def rows_of(plane: Slots, table: Int[Array, " m"]) -> Float[Array, "B N m _d"]:
    """The positions of the table. Each head has a table, so that a step reads the result in the order of its axes."""
    tables = jnp.broadcast_to(table[:, None], (*plane.shape[:2], len(table), 1))
    return jnp.take_along_axis(plane, tables, axis=2, mode="clip")


@lru_cache(32)
def _rectangles(pattern: Rectangle) -> Int[np.ndarray, "tiles m"]:
    """The positions that any position of a tile reads, filled up with -1."""
    size = pattern.rows * pattern.columns
    read = pattern.allowed(pattern.height * pattern.width)
    members = [np.flatnonzero(tile.any(axis=0)) for tile in read.reshape(-1, size, read.shape[1])]
    table = np.full((len(members), max(map(len, members))), -1)
    for row, member in zip(table, members, strict=True):
        row[: len(member)] = member
    return table


@lru_cache(32)
def _earlier(pattern: Rectangle) -> Int[np.ndarray, "tiles m"]:
    """The positions that a tile reads of earlier tiles, filled up with -1; m is at least 1."""
    table, size = _rectangles(pattern), pattern.rows * pattern.columns
    table = np.where(table < np.arange(len(table))[:, None] * size, table, -1)
    return table[:, : max(1, table.shape[1] - size)]
