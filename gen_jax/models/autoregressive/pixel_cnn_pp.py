"""PixelCNN++: log p(x) = sum_i log p(x_i | x_<i) over pixels in raster order, each pixel a mixture of logistics.

Two streams of shifted convolutions, strided down and up again with skips between equal resolutions, weight
normalisation, dropout, one discretised mixture of logistics for the channels of a pixel, class-conditional (Salimans,
Karpathy, Chen and Kingma 2017, 1701.05517; layers as in their code).
"""

import functools
from typing import Any, ClassVar, NamedTuple

import flax.linen as nn
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Num

from gen_jax.errors import InputError
from gen_jax.models.pixelwise import Pixelwise, shifted
from gen_jax.nn.once import once
from gen_jax.nn.resolutions import Resolution, ResolutionCache
from gen_jax.nn.shifted_conv import Project, ShiftedConv
from gen_jax.ops import reach
from gen_jax.ops.scaling import to_symmetric


class Cache(NamedTuple):
    """The padded image with its channel of ones, what the resolutions keep, the classes."""

    image: Float[Array, "rows_H columns_W B C_and_1"]
    resolutions: ResolutionCache
    cond: Any


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
        """Declare first layers, resolutions and output; InputError on sizes that cannot work."""
        super().setup()
        self._check()
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

    def _check(self):
        shape, side = self.event.shape, 2 ** max(self.resolutions - 1, 0)
        if min(self.features, self.resnets, self.resolutions) < 1:
            raise InputError("pixel_cnn_pp needs features, resnets and resolutions >= 1")
        if shape[0] % side or shape[1] % side:
            raise InputError(
                f"pixel_cnn_pp of {self.resolutions} resolutions needs sides that {side} divides, not"
                f" {shape[0]}x{shape[1]}; pad the images or take fewer resolutions"
            )

    def __call__(
        self,
        x: Num[Array, "B H W C"],
        cond: Int[Array, " B"] | None = None,
        train: bool = False,
    ) -> Float[Array, "B sites P"]:
        """Parameters of every pixel's distribution, all at once."""
        image = self.with_ones(x)
        u = shifted(self.first_u(image), axis=1) if self.two_streams else None
        _, v = self.finest(u, self.first(image), cond, train)
        return self.out(nn.elu(v)).reshape(x.shape[0], self.num_sites, -1)

    def context(self, site: int) -> Bool[np.ndarray, " sites"]:
        """Where the windows of the two streams reach on the way down and up."""
        H, W, _ = self.event.shape
        graph = _reach(H, W, self.resnets, self.resolutions, self.two_streams, self.skips)
        return graph.reshape(H * W, H * W)[site]

    def init_cache(self, n: int, cond: Int[Array, " B"] | None = None) -> Cache:
        """Zeros: what the parallel form pads with; ones in the last channel of the image."""
        resolutions = self.finest.init_cache(self.event.shape[1], n, self.cache_dtype)
        return Cache(self.empty_image(n), resolutions, cond)

    def step(self, cache: Cache, site: Int[Array, ""]) -> tuple[Cache, Float[Array, "B P"]]:
        """One pixel; at the first of a row also what the row's sites owe to the rows above."""
        row, column = self.place(site)

        def turn(model: PixelCNNPP, kept: ResolutionCache) -> ResolutionCache:
            above = lax.dynamic_slice_in_dim(cache.image, row, 2)
            u = (row > 0) * model.first_u.above(*above) if model.two_streams else None
            return model.finest.begin_row(kept, u, row, cache.cond)[0]

        kept = once(turn, self, column == 0, cache.resolutions)
        v = self.first_site(cache.image, row, column)
        kept, v = self.finest.site(kept, v, row, column)
        return cache._replace(resolutions=kept), self.out(nn.elu(v))

    def write(self, cache: Cache, site: Int[Array, ""], value: Int[Array, "B C"]) -> Cache:
        """Put the scaled values into the padded image."""
        scaled = to_symmetric(value, self.levels)
        return cache._replace(image=self.put_pixel(cache.image, site, scaled))


@functools.cache
def _reach(height, width, resnets, resolutions, two_streams, skips) -> reach.Reach:
    """The receptive fields of v at the output, from the windows alone."""
    upper = [(r, c) for r in (-1, 0) for c in (-1, 0, 1)]
    left = [(r, c) for r in (-1, 0) for c in (-1, 0)]
    image = reach.pixels(height, width)

    def resnet(x, offsets, *aux):
        hidden = reach.window(x, offsets)
        for one in aux:
            hidden = hidden | one
        return x | reach.window(hidden, offsets)

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
            low = None if u is None else reach.window(u, upper, stride=2)
            u, v = resolution(low, reach.window(v, left, stride=2), remaining - 1)
            u = None if u is None else reach.repeated(u, also_next_column=True)
            v = reach.repeated(v)
        for _ in range(resnets + (remaining > 1)):
            u, v = block(u, v, passed.pop() if skips else None)
        return u, v

    u = reach.window(image, [(r, c) for r in (-2, -1) for c in (-1, 0, 1)])
    v = reach.window(image, [(-1, -1), (-1, 0), (-1, 1), (0, -1)])
    return resolution(u if two_streams else None, v, resolutions)[1]
