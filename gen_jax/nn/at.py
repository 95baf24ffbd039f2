"""Where a network computes: at all sites of images at once, at one row, or at one site.

Every module with two forms takes `at`. None is all sites (B H W F); `Row` is one row of streams that read only rows
above, column axis first (W B F); `Site` is one group of features at one pixel (B F). Layers with a memory keep it in
the Linen collection `cache`, which exists only in steps: `init` and `__call__` of a model make none. What enters in
steps is late by one, as nothing at or after the site is known: a layer whose window ends before the own row or pixel
("mask A") is given all of an image, but in steps the row or the pixel before.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from gen_jax.ops.gates import term_halves
from gen_jax.ops.masks import take_group

State = TypeVar("State")


@dataclass(frozen=True)
class Row:
    """A row of images of this height and width."""

    row: Int[Array, ""]
    height: int
    width: int

    @property
    def opens(self) -> Bool[Array, ""]:
        """A row of half the resolution begins here."""
        return self.row % 2 == 0

    @property
    def coarser(self) -> "Row":
        """The row of half the resolution."""
        return replace(self, row=self.row // 2, height=self.height // 2, width=self.width // 2)


@dataclass(frozen=True)
class Begin(Row):
    """A row of a stream that also reads the own row, before its first site.

    From what the layers keep of the row above they compute what it gives to all sites of the row; what enters and comes
    out has the shape of a row and no meaning.
    """


@dataclass(frozen=True)
class Site:
    """A group of the channels of a pixel, in images of this height and width."""

    row: Int[Array, ""]
    column: Int[Array, ""]
    group: Int[Array, ""]
    height: int
    width: int

    @property
    def new_pixel(self) -> Bool[Array, ""]:
        """It is the first site of its pixel."""
        return self.group == 0

    @property
    def new_row(self) -> Bool[Array, ""]:
        """It is the first site of its row."""
        return (self.column == 0) & (self.group == 0)

    @property
    def before(self) -> "Site":
        """The last pixel of which anything is written: the own one after its first group, else the one before it."""
        pixel = self.row * self.width + self.column - self.new_pixel
        return replace(self, row=pixel // self.width, column=pixel % self.width)

    @property
    def opens(self) -> Bool[Array, ""]:
        """A pixel of half the resolution begins here."""
        return (self.row % 2 == 0) & (self.column % 2 == 0)

    @property
    def coarser(self) -> "Site":
        """The site of half the resolution."""
        return replace(
            self,
            row=self.row // 2,
            column=self.column // 2,
            height=self.height // 2,
            width=self.width // 2,
        )


At = Row | Site | None


def once(when: Bool[Array, ""], turn: Callable[[State], State], state: State) -> State:
    """turn(state) where `when` holds, else `state`.

    A loop of no or one turn, not a cond: a loop's carry stays in place, a cond copies what it passes through.
    """
    return lax.while_loop(
        lambda carry: carry[0],
        lambda carry: (jnp.array(False), turn(carry[1])),
        (jnp.asarray(when), state),
    )[1]


def spread(term: Float[Array, "B F"], at: At) -> Float[Array, "B 1 1 F"] | Float[Array, "B F"]:
    """One vector an example, to be added at all sites, to a row (W B F) or to a site (B F)."""
    return term[:, None, None] if at is None else term


def here(
    term: Float[Array, "*all F"], at: At, groups: int = 1, splits: int = 1
) -> Float[Array, "*here f"]:
    """A row's term (W B F) at the column and group of a site; at all sites or at a row the term itself."""
    if not isinstance(at, Site):
        return term
    return take_group(
        lax.dynamic_index_in_dim(term, at.column, keepdims=False), at.group, groups, splits
    )


def halves_here(
    term: Float[Array, "*all two_F"], at: At, groups: int = 1
) -> tuple[Float[Array, "*here f"], Float[Array, "*here f"]]:
    """The two halves of a gate's term (`ops.gates`), each at the column and group of a site."""
    if isinstance(at, Site):
        return term_halves(term, at.column, at.group, groups)
    first, second = jnp.split(term, 2, axis=-1)
    return first, second
