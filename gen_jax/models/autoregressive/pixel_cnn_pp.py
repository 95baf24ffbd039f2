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
from flax.linen.dtypes import promote_dtype
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from gen_jax.check import require
from gen_jax.models.autoregressive.pixelwise import Pixelwise, shifted
from gen_jax.models.autoregressive.raster import Terms
from gen_jax.nn.at import At, Begin, Row, Site
from gen_jax.nn.gated_resnet import GatedBlock
from gen_jax.nn.shifted_conv import LeftConv, Project, ShiftedConv, WeightNorm
from gen_jax.ops import shifted_conv
from gen_jax.typing import Dtype


class Resolution(nn.Module):
    """The U from one resolution on: blocks on the way down, everything coarser, blocks on the way up (figure 2).

    The streams u (rows above) and v (and the own row) pass it one after the other and keep their size; without `upper`
    there is only v. A block of the way up is given what the one at its height on the way down was given (`skips`). A
    coarse site (r, c) exists from the fine site (2 r, 2 c) on.
    """

    features: int
    resnets: int
    resolutions: int
    upper: bool = True
    skips: bool = True
    num_classes: int = 0
    dropout: float = 0.0
    dtype: Dtype = None

    def setup(self):
        """Declare the blocks, one more on the way up where there is a coarser resolution, and that."""
        F, last = self.features, self.resolutions == 1
        options = {
            "upper": self.upper,
            "num_classes": self.num_classes,
            "dropout": self.dropout,
            "dtype": self.dtype,
        }
        self.down = [GatedBlock(F, **options) for _ in range(self.resnets)]
        self.up = [
            GatedBlock(F, skips=self.skips, **options) for _ in range(self.resnets + 1 - last)
        ]
        if not last:
            strided = {"height": 2, "left": 1, "stride": 2, "dtype": self.dtype}
            if self.upper:
                self.down_u = ShiftedConv(F, width=3, **strided)
                self.up_u = Upsample(F, width=3, dtype=self.dtype)
            self.down_v = LeftConv(F, width=2, **strided)
            self.up_v = Upsample(F, width=2, dtype=self.dtype)
            self.coarser = Resolution(
                F, self.resnets, self.resolutions - 1, skips=self.skips, **options
            )

    def vertical(
        self, u: Float[Array, "*sites F"], cond: Int[Array, " B"] | None, train: bool, at: At
    ) -> tuple[Float[Array, "*sites F"], Terms]:
        """The stream u, and what v reads of it: u after each block, here and at coarser resolutions."""
        after, inner = [], ()

        def block_of(block: GatedBlock, u: Array, *skip: Array) -> Array:
            after.append(block.u(u, *skip, cond=cond, train=train, at=at))
            return after[-1]

        def below(u: Array) -> Array:
            nonlocal inner

            def turn(level: Resolution, u: Array) -> tuple[Array, Terms]:
                u, inner = level.coarser.vertical(u, cond, train, at and at.coarser)
                return level.up_u(u, at), inner

            u, inner = coarse(self, "u", turn, self.down_u(u, at), at)
            return self.up_u.pick(u, at)

        return self._through(u, block_of, below), (after, inner)

    def horizontal(
        self,
        v: Float[Array, "*sites F"],
        terms: Terms,
        cond: Int[Array, " B"] | None,
        train: bool,
        at: At,
    ) -> Float[Array, "*sites F"]:
        """The stream v, each block given u after it."""
        after, inner = terms or ((), ())
        after = iter(after)

        def block_of(block: GatedBlock, v: Array, *skip: Array) -> Array:
            term = (next(after),) if self.upper else ()
            return block.v(v, *term, *skip, cond=cond, train=train, at=at)

        def below(v: Array) -> Array:
            def turn(level: Resolution, v: Array) -> Array:
                v = level.coarser.horizontal(v, inner, cond, train, at and at.coarser)
                return level.up_v(v, at)

            up = coarse(self, "v", turn, self.down_v(v, at), at)
            return v if isinstance(at, Begin) else self.up_v.pick(up, at)

        return self._through(v, block_of, below)

    def _through(self, x: Array, block_of: Callable[..., Array], below: Callable) -> Array:
        """Down, below, and up, the same for u and v."""
        passed = [x]
        for block in self.down:
            x = block_of(block, x)
            passed.append(x)
        if self.resolutions == 1:
            passed.pop()
        else:
            x = below(x)
        for block in self.up:
            x = block_of(block, x, passed.pop()) if self.skips else block_of(block, x)
        return x


def coarse(module: nn.Module, name: str, turn: Callable[..., Any], x: Array, at: At) -> Any:
    """turn(module, x) of half the resolution; in steps where a coarse row or pixel begins, else what it gave there.

    What it gave is kept under this name: of a row the last, of sites one for each coarse column.
    """
    if at is None:
        return turn(module, x)
    column = at.column // 2 if isinstance(at, Site) else None

    def body(module: nn.Module, _: Any) -> Array:
        y = turn(module, x)
        if column is not None:
            y = jax.tree.map(
                lambda kept, y: lax.dynamic_update_index_in_dim(kept, y, column, 0),
                module.get_variable("cache", name),
                y,
            )
        if not isinstance(at, Begin):
            module.put_variable("cache", name, y)
        return jnp.array(False)

    if module.has_variable("cache", name):
        nn.while_loop(
            lambda _, opens: opens,  # pyright: ignore[reportArgumentType]  a traced bool
            body,
            module,
            at.opens,
            carry_variables="cache",
            broadcast_variables="params",
        )
    else:  # the cache is being shaped
        y = turn(module, x)
        if column is not None:
            y = jax.tree.map(lambda y: jnp.stack([y] * (at.width // 2)), y)
        if not isinstance(at, Begin):
            module.put_variable("cache", name, y)
    kept = module.get_variable("cache", name, None)
    if column is None:
        return kept
    return jax.tree.map(lambda y: lax.dynamic_index_in_dim(y, column, keepdims=False), kept)


class Upsample(WeightNorm):
    """Shifted transposed convolution of stride 2, a 2 x `width` kernel."""

    width: int = 2

    @nn.compact
    def phases(self, x: Float[Array, "*batch W I"]) -> Float[Array, "*batch W 2 2 O"]:
        """The four pixels below each column of a row."""
        shape = (2, self.width, x.shape[-1], self.features)
        kernel, bias = self.weights(
            shape, lambda kernel: shifted_conv.upsample(x, kernel.astype(x.dtype))
        )
        x, kernel, bias = promote_dtype(x, kernel, bias, dtype=self.dtype)
        return shifted_conv.upsample(x, kernel) + bias

    def __call__(self, x: Float[Array, "*sites I"], at: At = None) -> Float[Array, "*finer O"]:
        """All sites; the two finer rows (2 W B O) of a row; the four finer pixels side by side (B 4_O) of a site."""
        if at is None:
            return shifted_conv.interleave(self.phases(x))
        if isinstance(at, Site):
            return self.phases(x[:, None]).reshape(x.shape[0], -1)
        phases = self.phases(jnp.swapaxes(x, 0, 1))  # B W 2 2 O
        return jnp.transpose(phases, (2, 1, 3, 0, 4)).reshape(2, -1, x.shape[1], self.features)

    @nn.nowrap
    def pick(self, y: Float[Array, "*finer _O"], at: At) -> Float[Array, "*sites O"]:
        """The row or pixel that is meant of those that `__call__` gave."""
        if at is None:
            return y
        if isinstance(at, Row):
            return lax.dynamic_index_in_dim(y, at.row % 2, keepdims=False)
        phase = 2 * (at.row % 2) + at.column % 2
        return lax.dynamic_slice_in_dim(y, phase * self.features, self.features, axis=-1)


Reach = Bool[
    np.ndarray, "_h _w H W"
]  # [r, c] holds the pixels of the image that a feature at (r, c) depends on


def pixels(height: int, width: int) -> Reach:
    """Every pixel reaches itself."""
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


def repeated(reach: Reach, also_next_column: bool = False) -> Reach:
    """Each feature above a 2x2 block of finer ones; the right ones of a block may also read the block to the right."""
    fine = reach.repeat(2, axis=0).repeat(2, axis=1)
    if also_next_column:
        fine[:, 1:-1:2] |= fine[:, 2::2]
    return fine


@functools.cache
def _reach(height, width, resnets, resolutions, two_streams, skips) -> Reach:
    """The receptive fields of v at the output, from the windows alone."""
    upper = [(r, c) for r in (-1, 0) for c in (-1, 0, 1)]
    left = [(r, c) for r in (-1, 0) for c in (-1, 0)]
    image = pixels(height, width)

    def resnet(x, offsets, *aux):
        hidden = window(x, offsets)
        for one in aux:
            hidden = hidden | one
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
            u = None if u is None else repeated(u, also_next_column=True)
            v = repeated(v)
        for _ in range(resnets + (remaining > 1)):
            u, v = block(u, v, passed.pop() if skips else None)
        return u, v

    u = window(image, [(r, c) for r in (-2, -1) for c in (-1, 0, 1)])
    v = window(image, [(-1, -1), (-1, 0), (-1, 1), (0, -1)])
    return resolution(u if two_streams else None, v, resolutions)[1]


class PixelCNNPP(Pixelwise):
    """Images (H, W, C) of any number of levels, H and W divisible by 2^(resolutions - 1).

    `mixtures` None is a softmax head, for one channel. Without `two_streams` the upper stream is missing and with it
    what lies above to the right; without `skips` the tensors passed from the way down to the way up.
    """

    system: ClassVar[str] = "pixel_cnn_pp"

    resnets: int = 5
    resolutions: int = 3
    two_streams: bool = True
    skips: bool = True

    def setup(self):
        """Declare first layers, the U and the output; InputError on sizes that cannot work."""
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
            self.num_classes,
            self.dropout,
            dtype,
        )
        self.out = Project(self.head.size, dtype=dtype)

    def above(
        self,
        image: Float[Array, "*sites C_and_1"],
        cond: Int[Array, " B"] | None,
        train: bool,
        at: At,
    ) -> Terms:
        """The first term of v, and u wherever v reads it."""
        first, terms = self.first_term(image, at), ()
        if self.two_streams:
            u = shifted(self.first_u(image, at), "down", at)
            _, terms = self.finest.vertical(u, cond, train, at)
        return first, terms

    def horizontal(
        self,
        image: Float[Array, "*sites C_and_1"],
        terms: Terms,
        cond: Int[Array, " B"] | None,
        train: bool = False,
        at: At = None,
    ) -> Float[Array, "*sites P"]:
        """The stream v through the U, and the output."""
        first, terms = terms
        v = self.first(image, first, at)
        v = self.finest.horizontal(v, terms, cond, train, at)
        return self.out(nn.elu(v))

    def context(self, site: int) -> Bool[np.ndarray, " sites"]:
        """Where the windows of the two streams reach on the way down and up."""
        H, W, _ = self.event.shape
        graph = _reach(H, W, self.resnets, self.resolutions, self.two_streams, self.skips)
        return graph.reshape(H * W, H * W)[site]

    def check(self) -> None:
        """InputError on events and sizes that cannot work."""
        super().check()
        require(
            min(self.features, self.resnets, self.resolutions) >= 1,
            "pixel_cnn_pp needs features, resnets and resolutions >= 1",
        )
        H, W, _ = self.event.shape
        side = 2 ** (self.resolutions - 1)
        require(
            H % side == W % side == 0,
            f"pixel_cnn_pp of {self.resolutions} resolutions needs sides that {side} divides, not {H}x{W}; pad the"
            " images or take fewer resolutions",
        )
