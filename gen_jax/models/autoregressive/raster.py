"""Images pixel by pixel in raster order: the chain rule for every network that has a part for the rows above.

A subclass writes its network once, in two methods. `vertical` computes from the rows above the terms that every site of
a row reads. `horizontal` computes the parameters of each site from these terms and the row so far. Both take `at`
(`nn/at.py`): None is all sites of images at once; a `Row` or a `Site` is a step, in which layers read and update their
cache. This file turns the two methods into the parallel form, the cache and the step of sampling and coding.
"""

from typing import Any, ClassVar, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Num

from gen_jax.conditions import Cond
from gen_jax.models.autoregressive.base import Autoregressive
from gen_jax.nn.at import At, Row, Site, require_cache, stepped, zeros_of
from gen_jax.ops.loops import once
from gen_jax.ops.scaling import to_symmetric
from gen_jax.typing import Variables

Terms = Any  # a tree of arrays: (B H W F), in steps (W B F)


class Cache(NamedTuple):
    """The layers' collection `cache`, the terms and the network's input of the present row, and the condition."""

    memory: dict
    terms: Terms
    row: Float[Array, "W B I"]
    cond: Any


class Raster(Autoregressive):
    """Images (H, W, C). A site is a pixel, or with `groups` > 1 one of the groups of its channels, in order."""

    takes_reals: ClassVar[bool] = True
    groups: ClassVar[int] = 1
    # Layers of `horizontal` read rows above too, so it is also called at each `Row`, before the sites of the row.
    begins_rows: ClassVar[bool] = False

    @property
    def sites(self) -> Int[np.ndarray, "sites V"]:
        """Positions of the channels of each pixel or group, in raster order."""
        return np.arange(self.event.size).reshape(-1, self.event.shape[-1] // self.groups)

    def to_input(self, x: Num[Array, "B H W C"]) -> Float[Array, "B H W I"]:
        """The network's input for these levels: here scaled to [-1, 1]. The numbers of each group are neighbours."""
        return to_symmetric(x, self.levels)

    def read(self, cond: Cond, train: bool = False) -> Any:
        """The condition as `vertical` and `horizontal` are given it, computed once an event: here unchanged."""
        del train  # nothing is dropped
        return cond

    def vertical(
        self,
        image: Float[Array, "*sites I"],
        cond: Any,
        train: bool = False,
        at: Row | None = None,
    ) -> Terms:
        """The terms of all rows, or in steps those of the row `at`, where `image` is the row above it (W B I)."""
        del image, cond, train, at
        return ()

    def horizontal(
        self,
        image: Float[Array, "*sites I"],
        terms: Terms,
        cond: Any,
        train: bool = False,
        at: At = None,
    ) -> Float[Array, "*sites P"]:
        """The parameters of all sites, or in steps those of the site `at`, where `image` is the pixel before (B I)."""
        raise TypeError(f"{type(self).__name__} does not define its network")

    def __call__(
        self,
        x: Num[Array, "B H W C"],
        cond: Cond = None,
        train: bool = False,
    ) -> Float[Array, "B sites P"]:
        image, cond = self.to_input(x), self.read(cond, train)
        params = self.horizontal(image, self.vertical(image, cond, train), cond, train)
        return params.reshape(x.shape[0], self.num_sites, -1)

    def sees(
        self, up: Int[np.ndarray, "H W"], right: Int[np.ndarray, "H W"]
    ) -> Bool[np.ndarray, "H W"]:
        """Whether a site depends on the pixel that lies `up` rows above it and `right` columns to the right."""
        return (up > 0) | ((up == 0) & (right < 0))

    def context(self, site: int) -> Bool[np.ndarray, " sites"]:
        """The pixels that `sees` names, and the earlier groups of the site's pixel."""
        pixel, group = divmod(site, self.groups)
        height, width, _ = self.event.shape
        rows, columns = np.indices((height, width))
        seen = self.sees(pixel // width - rows, columns - pixel % width)
        context = np.repeat(seen.reshape(-1), self.groups)
        context[site - group : site] = True
        return context

    def init_cache(self, n: int, cond: Cond = None) -> Cache:
        """Zeros, with which the parallel form pads too, in the shapes that a step of the network gives."""
        height, width, channels = self.event.shape
        module, variables = self.unbind()
        cond = self.read(cond)

        def shapes(variables, cond):
            levels, zero = jnp.zeros((n, 1, width, channels), jnp.int32), jnp.zeros((), int)
            image: Any = module.apply(variables, levels, method="to_input")
            row = jnp.swapaxes(image[:, 0], 0, 1)
            site = Site(zero, zero, zero, height, width)
            memory, terms = begin_row(module, variables, {}, row, cond, site)
            _, memory = stepped(
                module, variables, memory, "horizontal", row[0], terms, cond, at=site
            )
            return Cache(memory, terms, row, None)

        return zeros_of(shapes, variables, cond)._replace(cond=cond)

    def step(self, cache: Cache, site: Int[Array, ""]) -> tuple[Cache, Float[Array, "B P"]]:
        """Compute at the row if the site is the first of its row, then at the site.

        InputError on a cache of another model.
        """
        module, variables = self.unbind()
        at, cond = self.at(site), cache.cond

        def turn(state: tuple[dict, Terms]) -> tuple[dict, Terms]:
            new = begin_row(module, variables, state[0], cache.row, cond, at)
            require_cache(module, new, state)
            return new

        new_row = (at.column == 0) & (at.group == 0)
        memory, terms = once(new_row, turn, (cache.memory, cache.terms))
        pixel = lax.dynamic_index_in_dim(cache.row, at.before.column, keepdims=False)
        params, new = stepped(module, variables, memory, "horizontal", pixel, terms, cond, at=at)
        require_cache(module, new, memory)
        return cache._replace(memory=new, terms=terms), params

    def write(self, cache: Cache, site: Int[Array, ""], value: Int[Array, "B V"]) -> Cache:
        at = self.at(site)
        group = self.to_input(value[:, None, None])[:, 0].astype(cache.row.dtype)
        group = jnp.swapaxes(group, 0, 1)
        start = (at.column, 0, at.group * group.shape[-1])
        return cache._replace(row=lax.dynamic_update_slice(cache.row, group, start))

    def at(self, site: Int[Array, ""]) -> Site:
        """Row, column and group of a site."""
        height, width, _ = self.event.shape
        site = jnp.asarray(site, int)  # the same integer type everywhere
        pixel = site // self.groups
        return Site(pixel // width, pixel % width, site % self.groups, height, width)


def begin_row(
    module: Raster, variables: Variables, memory: dict, image: Array, cond: Any, at: Site
) -> tuple[dict, Terms]:
    """The collection `cache` and the terms after the computation at the row of a site; `image` is the row above."""
    row = Row(at.row, at.height, at.width)
    terms, memory = stepped(module, variables, memory, "vertical", image, cond, at=row)
    if module.begins_rows:
        _, memory = stepped(module, variables, memory, "horizontal", image, terms, cond, at=row)
    return memory, terms
