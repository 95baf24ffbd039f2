"""Attention of a plane in tiles: what a position reads lies in a rectangle around its tile.

(Parmar, Vaswani, Uszkoreit, Kaiser, Shazeer, Ku and Tran 2018, 1802.05751, section 3.3.)
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from gen_jax.ops import attention
from gen_jax.ops.orders import Tiles
from gen_jax.ops.patterns import Keys, Pattern, Slots, Values, apart_by, blocks, joined, require


@dataclass(frozen=True)
class Rectangle(Pattern):
    """Positions of a plane (height, width) in tiles (rows, columns), tile by tile and in raster order in a tile.

    A position reads what was generated up to itself of a rectangle: its tile, `above` rows above it and `side` columns
    on both sides. A step keeps the plane and reads the rectangle. A tile of one row of a plane of one row is a block
    that reads itself and `side` positions before (the paper's local 1D).
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

    @property
    def right(self) -> int:
        """Columns on the right of a tile that it reads: in rows above it only."""
        return self.side if self.above else 0

    def slots(self, length: int) -> int:
        """The plane with `above` more rows and the side columns, so that a rectangle is a slice at every border."""
        return math.prod(self._padded)

    def places(self, time: Int[Array, ""], slots: int) -> tuple[Int[Array, ""], ...]:
        row, column = jnp.divmod(jnp.asarray(self.order())[time], self.width)
        return ((row + self.above) * self._padded[1] + column + self.side,)

    def recall(self, memory: Slots, time: Int[Array, ""]) -> Float[Array, "B N m _d"]:
        batch, heads, _, features = memory.shape
        plane = memory.reshape(batch, heads, *self._padded, features)
        return self._slice(plane, time).reshape(batch, heads, -1, features)

    def open(self, time: Int[Array, ""], slots: int) -> Bool[Array, " m"]:
        return self._slice(jnp.asarray(_times(self))[None, None, :, :, None], time).ravel() <= time

    @property
    def _padded(self) -> tuple[int, int]:
        return self.height + self.above, self.side + self.width + self.right

    def _slice(self, plane: Array, time: Int[Array, ""]) -> Array:
        """The rectangle of a time, cut from an array (B, N, *padded, d)."""
        row, column = jnp.divmod(time // (self.rows * self.columns), self.width // self.columns)
        zero = jnp.zeros_like(row)
        start = (zero, zero, row * self.rows, column * self.columns, zero)
        size = (self.above + self.rows, self.side + self.columns + self.right)
        return lax.dynamic_slice(plane, start, (*plane.shape[:2], *size, plane.shape[-1]))


@lru_cache(32)
def _times(pattern: Rectangle) -> Int[np.ndarray, "padded_height padded_width"]:
    """The position at every place of the padded plane; outside of the plane the number of positions."""
    length = pattern.height * pattern.width
    plane = np.empty(length, int)
    plane[pattern.order()] = np.arange(length)
    borders = ((pattern.above, 0), (pattern.side, pattern.right))
    plane = plane.reshape(pattern.height, pattern.width)
    return np.pad(plane, borders, constant_values=length)


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
