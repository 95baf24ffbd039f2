"""PixelCNN++: log p(x) = sum_i log p(x_i | x_<i) over pixels in raster order, each pixel a mixture of logistics.

Two streams of shifted convolutions, strided down and up again with skips between equal resolutions, weight
normalisation, dropout, one discretised mixture of logistics for the channels of a pixel, class-conditional (Salimans,
Karpathy, Chen and Kingma 2017, 1701.05517; layers as in their code).
"""

import functools
from collections.abc import Callable, Iterable
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float

from gen_jax.check import require
from gen_jax.conditions import Cond, parts_of
from gen_jax.models.autoregressive.pixelwise import Pixelwise, shifted
from gen_jax.models.autoregressive.raster import Terms
from gen_jax.nn.at import At, Row, Site, placed
from gen_jax.nn.blocks import show
from gen_jax.nn.conditioning import Context, MapReader, Maps
from gen_jax.nn.gated_resnet import GatedBlock
from gen_jax.nn.repeated import after, repeated, through
from gen_jax.nn.shifted_conv import LeftConv, Project, ShiftedConv, Upsample
from gen_jax.typing import Dtype, Event


class Resolution(nn.Module):
    """The U from one resolution on: blocks on the way down, everything coarser, blocks on the way up (figure 2).

    The streams u (rows above) and v (also columns to the left) pass it one after the other and keep their shape;
    without `upper` there is only v. With `skips` each block on the way up also reads the input of the block at its
    height on the way down. If it is `mapped`, all blocks also read a map of the condition at this resolution. A coarse
    site (r, c) is computed at the fine site (2 r, 2 c). `scan`, `remat`: of the blocks of a way (`nn/repeated.py`).
    """

    features: int
    resnets: int
    resolutions: int
    upper: bool = True
    skips: bool = True
    mapped: bool = False
    num_classes: int = 0
    dropout: float = 0.0
    dtype: Dtype = None
    scan: bool = False
    remat: bool = False

    def setup(self):
        F, last = self.features, self.resolutions == 1
        options = {
            "upper": self.upper,
            "mapped": self.mapped,
            "num_classes": self.num_classes,
            "dropout": self.dropout,
            "dtype": self.dtype,
        }
        make = functools.partial(GatedBlock, F, **options)
        self.down = repeated(make, self.resnets, self.scan)
        self.back = self.resnets + 1 - last  # number of blocks on the way up
        self.up = repeated(functools.partial(make, skips=self.skips), self.back, self.scan)
        if not last:
            strided = {"height": 2, "left": 1, "stride": 2, "dtype": self.dtype}
            if self.upper:
                self.down_u = ShiftedConv(F, width=3, **strided)
                self.up_u = Upsample(F, width=3, dtype=self.dtype)
            self.down_v = LeftConv(F, width=2, **strided)
            self.up_v = Upsample(F, width=2, dtype=self.dtype)
            sizes = {"features": F, "resnets": self.resnets, "resolutions": self.resolutions - 1}
            ways = {"skips": self.skips, "scan": self.scan, "remat": self.remat}
            self.coarser = Resolution(**sizes, **ways, **options)

    def vertical(
        self, u: Float[Array, "*sites F"], cond: Context, train: bool, at: At
    ) -> tuple[Float[Array, "*sites F"], Terms]:
        """The stream u, and its value after every block, here and at coarser resolutions: v reads all of them."""
        options = {"cond": cond.vector, "train": train, "at": at}
        near, coarser_terms = self._near(cond, at), ()
        walk = functools.partial(through, remat=self.remat, steps=at is not None)

        def one(block: GatedBlock, u: Array, *before: Array) -> tuple[Array, Array]:
            u = block.u(u, *before, *near, **options)
            return u, u

        first = u
        u, down = walk(self.down, self.resnets, one, u)
        if self.resolutions > 1:

            def below(level: Resolution, u: Array) -> tuple[Array, Terms]:
                u, terms = level.coarser.vertical(u, cond.coarser, train, at and at.coarser)
                return level.up_u(u, at), terms

            u, coarser_terms = coarse(self, "u", below, self.down_u(u, at), at)
            u = self.up_u.pick(u, at)
        passed = [after(first, down)[self.back - 1 :: -1]] if self.skips else []
        u, up = walk(self.up, self.back, one, u, *passed)
        return u, (down, up, coarser_terms)

    def horizontal(
        self,
        v: Float[Array, "*sites F"],
        terms: Terms,
        cond: Context,
        train: bool,
        at: At,
    ) -> Float[Array, "*sites F"]:
        """The stream v; each block also reads u after that block."""
        options = {"cond": cond.vector, "train": train, "at": at}
        near = self._near(cond, at)
        u_down, u_up, coarser_terms = terms or ((), (), ())
        walk = functools.partial(through, remat=self.remat, steps=at is not None)

        def one(block: GatedBlock, v: Array, *aux: Array) -> tuple[Array, Array]:
            v = block.v(v, *aux, *near, **options)
            return v, v

        first, u = v, [u_down] if terms else []
        v, down = walk(self.down, self.resnets, one, v, *u)
        for passed in down:
            show(self, passed)
        if self.resolutions > 1:

            def below(level: Resolution, v: Array) -> Array | None:
                at_coarser = at and at.coarser
                v = level.coarser.horizontal(v, coarser_terms, cond.coarser, train, at_coarser)
                return None if isinstance(at, Row) else level.up_v(v, at)

            finer = coarse(self, "v", below, self.down_v(v, at), at)
            v = v if isinstance(at, Row) else self.up_v.pick(finer, at)
        aux = [u_up] if terms else []
        if self.skips:
            aux.append(after(first, down)[self.back - 1 :: -1])
        v, up = walk(self.up, self.back, one, v, *aux)
        for passed in up:
            show(self, passed, "_up")
        return v

    def _near(self, cond: Context, at: At) -> list[Float[Array, "*sites M"]]:
        return [placed(cond.maps[0], at)] if self.mapped else []


def coarse(module: nn.Module, name: str, below: Callable[..., Any], x: Array, at: At) -> Any:
    """below(module, x), a computation at half the resolution.

    In steps it runs at the first fine row or pixel of a coarse one. Its result is kept under `name` for the other fine
    ones: at a row the last result, at a site one for each coarse column.
    """
    if at is None:
        return below(module, x)
    first = not module.has_variable("cache", name)  # in `init_cache` there are no results yet

    def run(module: nn.Module, _: Any) -> Array:
        y = below(module, x)
        if isinstance(at, Site):
            if first:
                row = jax.tree.map(lambda y: jnp.stack([y] * (at.width // 2)), y)
            else:
                row = module.get_variable("cache", name)
            put = functools.partial(lax.dynamic_update_index_in_dim, index=at.column // 2, axis=0)
            y = jax.tree.map(put, row, y)
        if y is not None:
            module.put_variable("cache", name, y)
        return jnp.array(False)

    if first:
        run(module, None)
    else:
        begins = at.row % 2 == 0
        if isinstance(at, Site):
            begins &= at.column % 2 == 0
        nn.while_loop(
            lambda _, begins: begins,  # pyright: ignore[reportArgumentType]  a traced bool
            run,
            module,
            begins,
            carry_variables="cache",
            broadcast_variables="params",
        )
    results = module.get_variable("cache", name, None)
    if isinstance(at, Row):
        return results
    cut = functools.partial(lax.dynamic_index_in_dim, index=at.column // 2, keepdims=False)
    return jax.tree.map(cut, results)


# [r, c] holds the pixels of the image that a feature at (r, c) depends on
Reach = Bool[np.ndarray, "_h _w H W"]


def pixels(height: int, width: int) -> Reach:
    """The image itself: each pixel depends on that pixel."""
    return np.eye(height * width, dtype=bool).reshape(height, width, height, width)


def window(reach: Reach, offsets: Iterable[tuple[int, int]], stride: int = 1) -> Reach:
    """y[r, c] reads x[stride r + dr, stride c + dc] for all offsets inside the image."""
    height, width = reach.shape[0] // stride, reach.shape[1] // stride
    out = np.zeros((height, width, *reach.shape[2:]), bool)
    for dr, dc in offsets:
        rows, columns = stride * np.arange(height) + dr, stride * np.arange(width) + dc
        r = np.flatnonzero((rows >= 0) & (rows < reach.shape[0]))
        c = np.flatnonzero((columns >= 0) & (columns < reach.shape[1]))
        out[np.ix_(r, c)] |= reach[np.ix_(rows[r], columns[c])]
    return out


def enlarged(reach: Reach, also_next_column: bool = False) -> Reach:
    """Each feature for a 2x2 block of finer ones; the right column of a block may also read the next block."""
    fine = reach.repeat(2, axis=0).repeat(2, axis=1)
    if also_next_column:
        fine[:, 1:-1:2] |= fine[:, 2::2]
    return fine


@functools.cache
def _reach(height, width, resnets, resolutions, two_streams, skips) -> Reach:
    """The pixels that v depends on at the output, from the windows alone."""
    upper = [(r, c) for r in (-1, 0) for c in (-1, 0, 1)]
    left = [(r, c) for r in (-1, 0) for c in (-1, 0)]
    image = pixels(height, width)

    def resnet(x, offsets, *aux):
        hidden = window(x, offsets)
        for other in aux:
            hidden = hidden | other
        return x | window(hidden, offsets)

    def block(u, v, skip):
        skip_u, skip_v = ((skip[0],), (skip[1],)) if skip else ((), ())
        if u is None:
            return None, resnet(v, left, *skip_v)
        u = resnet(u, upper, *skip_u)
        return u, resnet(v, left, u, *skip_v)

    def resolution(u, v, remaining):
        passed = [(u, v)]
        for _ in range(resnets):
            u, v = block(u, v, None)
            passed.append((u, v))
        if remaining == 1:
            passed.pop()
        else:
            low = None if u is None else window(u, upper, stride=2)
            u, v = resolution(low, window(v, left, stride=2), remaining - 1)
            u = None if u is None else enlarged(u, also_next_column=True)
            v = enlarged(v)
        for _ in range(resnets + (remaining > 1)):
            u, v = block(u, v, passed.pop() if skips else None)
        return u, v

    u = window(image, [(r, c) for r in (-2, -1) for c in (-1, 0, 1)])
    v = window(image, [(-1, -1), (-1, 0), (-1, 1), (0, -1)])
    return resolution(u if two_streams else None, v, resolutions)[1]


class PixelCNNPP(Pixelwise):
    """Images (H, W, C) of any number of levels, H and W divisible by 2^(resolutions - 1).

    `mixtures` None is a softmax head, for one channel. Without `two_streams` there is no upper stream, and pixels above
    to the right are not read. Without `skips` no tensors pass from the way down to the way up. `scan`: the blocks of a
    resolution are compiled as one, and their parameters stacked; `remat`: only their inputs are kept for the gradient.
    """

    system: ClassVar[str] = "pixel_cnn_pp"

    resnets: int = 5
    resolutions: int = 3
    two_streams: bool = True
    skips: bool = True
    maps: tuple[Event, ...] = ()
    reader: MapReader = MapReader()
    scan: bool = False
    remat: bool = False

    def setup(self):
        super().setup()
        F, dtype = self.features, self.dtype
        if self.two_streams:
            self.first_u = ShiftedConv(F, height=2, width=3, left=1, dtype=dtype)
        self.finest = Resolution(
            F,
            self.resnets,
            self.resolutions,
            self.two_streams,
            self.skips,
            bool(self.maps),
            self.num_classes,
            self.dropout,
            dtype,
            self.scan,
            self.remat,
        )
        self.read_maps = Maps(self.reader, dtype)
        self.out = Project(self.head.size, dtype=dtype)

    @property
    def conditions(self) -> tuple[Event, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The maps."""
        return self.maps

    def read(self, cond: Cond, train: bool = False) -> Context:
        label, values = parts_of(self, cond)
        maps = self.read_maps(values, self.maps, self.event, train) if values else ()
        return Context(label, maps)

    def vertical(
        self,
        image: Float[Array, "*sites C_and_1"],
        cond: Context,
        train: bool = False,
        at: Row | None = None,
    ) -> Terms:
        """The term of v's first layer, and u after every block."""
        first, terms = super().vertical(image, cond, train, at), ()
        if self.two_streams:
            u = shifted(self.first_u(image, at), "down", at)
            _, terms = self.finest.vertical(u, cond, train, at)
        return first, terms

    def horizontal(
        self,
        image: Float[Array, "*sites C_and_1"],
        terms: Terms,
        cond: Context,
        train: bool = False,
        at: At = None,
    ) -> Float[Array, "*sites P"]:
        first, terms = terms
        v = self.first(image, first, at)
        v = self.finest.horizontal(v, terms, cond, train, at)
        return self.out(nn.elu(v))

    def context(self, site: int) -> Bool[np.ndarray, " sites"]:
        """All pixels that a path through the windows of the two streams leads from."""
        H, W, _ = self.event.shape
        graph = _reach(H, W, self.resnets, self.resolutions, self.two_streams, self.skips)
        return graph.reshape(H * W, H * W)[site]

    def check(self) -> None:
        super().check()
        require(
            min(self.features, self.resnets, self.resolutions) >= 1,
            "pixel_cnn_pp needs features, resnets and resolutions >= 1",
        )
        self.reader.check(self.maps, self.event, self.resolutions)
        H, W, _ = self.event.shape
        side = 2 ** (self.resolutions - 1)
        require(
            H % side == W % side == 0,
            f"pixel_cnn_pp of {self.resolutions} resolutions needs sides that {side} divides, not {H}x{W}; pad the"
            " images or take fewer resolutions",
        )
