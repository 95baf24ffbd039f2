"""Images pixel by pixel in raster order, once for every model whose network has a part for the rows above.

A subclass writes its network once: `vertical` says what the rows above give to every site of a row, `horizontal` the
parameters given that and the row so far. Both take `at` (`nn.at`): None is all sites of images; a `Row` or a `Site` is
a step, in which layers read and update their own memory. The parallel form, the cache, stepping and sampling follow.
"""

import functools
from typing import Any, ClassVar, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Num

from gen_jax.models.autoregressive.base import (
    Autoregressive,
    require_cache,
    stepped,
    zeros_of,
)
from gen_jax.nn.at import At, Row, Site, once
from gen_jax.ops.scaling import to_symmetric

Terms = Any  # a tree of what the rows above give: (B H W F), in steps (W B F)


class Cache(NamedTuple):
    """The memory of the layers, the row's terms, the row so far as it enters."""

    memory: dict
    terms: Terms
    row: Float[Array, "W B I"]
    cond: Array | None


class Raster(Autoregressive):
    """Images (H, W, C). A site is a pixel, or with `groups` > 1 one of the groups of its channels, in order."""

    takes_reals: ClassVar[bool] = True
    groups: ClassVar[int] = 1

    @property
    def sites(self) -> Int[np.ndarray, "sites V"]:
        """The channels of each pixel or group, in raster order."""
        return np.arange(self.event.size).reshape(-1, self.event.shape[-1] // self.groups)

    def entered(self, x: Num[Array, "B H W C"]) -> Float[Array, "B H W I"]:
        """What the network reads of the levels, each group's numbers apart: scaled to [-1, 1]."""
        return to_symmetric(x, self.levels)

    def vertical(
        self,
        image: Float[Array, "*sites I"],
        cond: Num[Array, "B *K"] | None,
        train: bool = False,
        at: Row | None = None,
    ) -> Terms:
        """What the rows above give to the sites of each row; in steps `image` is the row before (W B I).

        Where layers of `horizontal` read rows above too, it visits them at a row, so that they begin it.
        """
        del image, cond, train, at
        return ()

    def horizontal(
        self,
        image: Float[Array, "*sites I"],
        terms: Terms,
        cond: Num[Array, "B *K"] | None,
        train: bool = False,
        at: At = None,
    ) -> Float[Array, "*sites P"]:
        """Parameters given the terms and the row so far; in steps `image` is the pixel before (B I)."""
        raise TypeError(f"{type(self).__name__} does not define its network")

    def __call__(
        self,
        x: Num[Array, "B H W C"],
        cond: Num[Array, "B *K"] | None = None,
        train: bool = False,
    ) -> Float[Array, "B sites P"]:
        """Parameters of every site's distribution, all at once."""
        image = self.entered(x)
        params = self.horizontal(image, self.vertical(image, cond, train), cond, train)
        return params.reshape(x.shape[0], self.num_sites, -1)

    def sees(
        self, up: Int[np.ndarray, "H W"], right: Int[np.ndarray, "H W"]
    ) -> Bool[np.ndarray, "H W"]:
        """Whether a site depends on the pixel that lies `up` rows above it and `right` columns to the right."""
        return (up > 0) | ((up == 0) & (right < 0))

    def context(self, site: int) -> Bool[np.ndarray, " sites"]:
        """The pixels that the network sees, and the earlier groups of the own one."""
        pixel, group = divmod(site, self.groups)
        height, width, _ = self.event.shape
        rows, columns = np.indices((height, width))
        seen = self.sees(pixel // width - rows, columns - pixel % width)
        context = np.repeat(seen.reshape(-1), self.groups)
        context[site - group : site] = True
        return context

    def init_cache(self, n: int, cond: Num[Array, "n *K"] | None = None) -> Cache:
        """Zeros, what the parallel form pads with, in the shapes that the network itself has in steps."""
        height, width, channels = self.event.shape
        module, variables = self.unbind()

        def shapes(variables, cond):
            levels, zero = jnp.zeros((n, 1, width, channels), jnp.int32), jnp.zeros((), int)
            entered: Any = module.apply(variables, levels, method="entered")
            row = jnp.swapaxes(entered[:, 0], 0, 1)
            step = functools.partial(stepped, module, variables)
            terms, memory = step({}, "vertical", row, cond, at=Row(zero, height, width))
            site = Site(zero, zero, zero, height, width)
            _, memory = step(memory, "horizontal", row[0], terms, cond, at=site)
            return Cache(memory, terms, row, None)

        return zeros_of(shapes, variables, cond)._replace(cond=cond)

    def step(self, cache: Cache, site: Int[Array, ""]) -> tuple[Cache, Float[Array, "B P"]]:
        """The row's part at the first site of a row, then the site's; InputError on a cache of another model."""
        module, variables = self.unbind()
        at, step = self.at(site), functools.partial(stepped, module, variables)

        def turn(state: tuple[dict, Terms]) -> tuple[dict, Terms]:
            above = Row(at.row, at.height, at.width)
            terms, memory = step(state[0], "vertical", cache.row, cache.cond, at=above)
            require_cache(module, (memory, terms), state)
            return memory, terms

        memory, terms = once(at.new_row, turn, (cache.memory, cache.terms))
        before = lax.dynamic_index_in_dim(cache.row, at.before.column, keepdims=False)
        params, new = step(memory, "horizontal", before, terms, cache.cond, at=at)
        require_cache(module, new, memory)
        return cache._replace(memory=new, terms=terms), params

    def write(self, cache: Cache, site: Int[Array, ""], value: Int[Array, "B V"]) -> Cache:
        """Put the values of a site, as they enter, into the row."""
        at = self.at(site)
        entered = self.entered(value[:, None, None])[:, 0].astype(cache.row.dtype)
        entered = jnp.swapaxes(entered, 0, 1)
        start = (at.column, 0, at.group * entered.shape[-1])
        return cache._replace(row=lax.dynamic_update_slice(cache.row, entered, start))

    def at(self, site: Int[Array, ""]) -> Site:
        """Where a site lies."""
        height, width, _ = self.event.shape
        site = jnp.asarray(site, int)  # one type of integer in all places
        return Site(
            site // (self.groups * width),
            site // self.groups % width,
            site % self.groups,
            height,
            width,
        )
