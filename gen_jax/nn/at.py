"""Where a network computes: at all sites of images at once, at one row, or at one site.

Every layer with two forms takes `at`:
- None: all sites of a batch of images (B H W F), the parallel form;
- a `Row`: one row, columns first (W B F);
- a `Site`: one group of channels at one pixel (B F).

A step computes at a row when its first site is reached, and then at the site. Layers keep what they need of earlier
rows and sites in the Linen collection `cache`, which exists only in steps: `init` and `__call__` of a model make none.

A step knows nothing at or after its site. So in steps the network's input is the row before (at a `Row`) or the pixel
before (at a `Site`), where the parallel form is given the image and shifts it ("mask A").
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from gen_jax.errors import InputError
from gen_jax.ops.masks import take_group
from gen_jax.typing import Variables


@dataclass(frozen=True)
class Row:
    """A row of images of this height and width, of which no site is known yet.

    A layer that reads only rows above computes its outputs for the whole row. A layer that also reads columns to the
    left computes the share of the rows above in all outputs of the row, and keeps it for the sites: its own input and
    output at a `Row` have the shape of a row and no meaning.
    """

    row: Int[Array, ""]
    height: int
    width: int

    @property
    def coarser(self) -> "Row":
        """This row at half the resolution."""
        return replace(self, row=self.row // 2, height=self.height // 2, width=self.width // 2)


@dataclass(frozen=True)
class Site:
    """A group of the channels of a pixel, in images of this height and width."""

    row: Int[Array, ""]
    column: Int[Array, ""]
    group: Int[Array, ""]
    height: int
    width: int

    @property
    def before(self) -> "Site":
        """The pixel written last: for the first group of a pixel the pixel before, for later groups the same pixel."""
        pixel = self.row * self.width + self.column - (self.group == 0)
        return replace(self, row=pixel // self.width, column=pixel % self.width)

    @property
    def coarser(self) -> "Site":
        """This site at half the resolution."""
        return replace(
            self,
            row=self.row // 2,
            column=self.column // 2,
            height=self.height // 2,
            width=self.width // 2,
        )


At = Row | Site | None


def spread(term: Float[Array, "B F"], at: At) -> Float[Array, "B 1 1 F"] | Float[Array, "B F"]:
    """A vector for each example, in a shape that can be added to all sites, to a row (W B F) or to a site (B F)."""
    return term[:, None, None] if at is None else term


def placed(map: Float[Array, "B H W F"], at: At) -> Float[Array, "*sites F"]:
    """What a map holds at all sites, at a row (W B F) or at a site (B F)."""
    if at is None:
        return map
    row = lax.dynamic_index_in_dim(map, at.row, 1, keepdims=False)
    if isinstance(at, Row):
        return jnp.swapaxes(row, 0, 1)
    return lax.dynamic_index_in_dim(row, at.column, 1, keepdims=False)


def here(
    term: Float[Array, "*all F"], at: At, groups: int = 1, splits: int = 1
) -> Float[Array, "*here f"]:
    """At a site: the column and group of the site, cut from a term of its whole row (W B F). Else the term itself."""
    if not isinstance(at, Site):
        return term
    column = lax.dynamic_index_in_dim(term, at.column, keepdims=False)
    return take_group(column, at.group, groups, splits)


def halves_here(
    term: Float[Array, "*all two_F"], at: At, groups: int = 1
) -> tuple[Float[Array, "*here f"], Float[Array, "*here f"]]:
    """The two halves of a gate's term (`ops/gates.py`), each as `here` cuts it.

    At a site each half is cut from the row by itself: XLA's code for the halves of a column that was cut out whole
    computes one exponential at a time on CPU.
    """
    if not isinstance(at, Site):
        first, second = jnp.split(term, 2, axis=-1)
        return first, second
    _, batch, features = term.shape
    size = features // (2 * groups)
    first, second = (
        lax.dynamic_slice(term, (at.column, 0, start + at.group * size), (1, batch, size))[0]
        for start in (0, features // 2)
    )
    return first, second


def stepped(
    module: nn.Module,
    variables: Variables,
    memory: dict,
    method: str,
    *inputs: Any,
    at: Any,
) -> tuple[Any, dict]:
    """The result of a method at one row, site or time, and the collection `cache` of the layers after it."""
    variables = {**variables, "cache": memory}
    both: Any = module.apply(variables, *inputs, False, at, method=method, mutable=["cache"])
    result, updated = both
    return result, {**memory, **updated.get("cache", {})}


def require_cache(module: nn.Module, new: Any, old: Any) -> None:
    """InputError if a step adds to the cache: layers whose part is absent would begin with zeros at every site."""
    if jax.tree.structure(new) != jax.tree.structure(old):
        raise InputError(f"this is no cache of {type(module).__name__}: parts of it are absent")


def zeros_of(function: Callable[..., Any], *inputs: Any) -> Any:
    """Zeros in the shapes and types of a function's result, without computing it."""
    shapes = jax.eval_shape(function, *inputs)
    return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
