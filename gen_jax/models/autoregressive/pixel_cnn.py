"""PixelCNN: log p(x) = sum_i log p(x_i | x_<i) over pixels in raster order, R then G then B in a pixel.

One stack of masked convolutions, mask A first and mask B after, in residual blocks of 1x1, 3x3, 1x1, and a softmax for
each sub-pixel; it does not see a cone to the upper right (van den Oord, Kalchbrenner and Kavukcuoglu 2016, 1601.06759,
section 3 and table 1).
"""

from typing import ClassVar

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from flax.linen.dtypes import promote_dtype
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Num

from gen_jax.check import require, require_image
from gen_jax.models.autoregressive.raster import Raster, Terms
from gen_jax.nn.at import At, Row, Site, here
from gen_jax.nn.blocks import show
from gen_jax.nn.causal_conv import KERNEL_INIT, HorizontalConv
from gen_jax.ops.convolution import convolve
from gen_jax.ops.masks import group_mask, take_group
from gen_jax.ops.shifted_conv import row_taps, site_taps
from gen_jax.typing import Dtype


class MaskedConv(nn.Module):
    """A kernel x kernel convolution (odd) over rows above, columns to the left and the pixel itself.

    Group g of a pixel is read by groups > g of the same pixel if `strict` (mask A), else by groups >= g (mask B).
    Weights exist only where the mask is open, except between groups. At a site a strict layer is given the pixel
    written last, any other layer the features of the site's group. It keeps the rows of its window; at a row it
    computes and keeps the share of the rows above in the whole row.
    """

    features: int
    kernel: int
    groups: int = 1
    strict: bool = False
    dtype: Dtype = None

    @nn.compact
    def __call__(self, x: Float[Array, "*sites I"], at: At = None) -> Float[Array, "*sites O"]:
        side, F = self.kernel // 2, self.features
        columns = side + (not (self.strict and self.groups == 1))  # of the site's row
        one_group = isinstance(at, Site) and not self.strict
        inputs = x.shape[-1] * (self.groups if one_group else 1)
        above = self.param("above", KERNEL_INIT, (side, self.kernel, inputs, F))
        own = self.param("own", KERNEL_INIT, (columns, inputs, F))
        bias = self.param("bias", nn.initializers.zeros, (F,))
        x, above, own, bias = promote_dtype(x, above, own, bias, dtype=self.dtype)
        if self.groups > 1:
            mask = group_mask(inputs, F, self.groups, self.strict)
            own = own.at[-1].set(jnp.where(mask, own[-1], 0))
        if at is None:
            closed = jnp.pad(own, ((0, self.kernel - columns), (0, 0), (0, 0)))
            kernel = jnp.concatenate([above, closed[None]])
            return convolve(x, kernel, ((side, 0), (side, side))) + bias
        batch = x.shape[-2]
        size = (side, at.width + 2 * side, batch, inputs)  # row r is kept at r % side
        rows = self.variable("cache", "rows", jnp.zeros, size, x.dtype)
        table = self.variable("cache", "table", jnp.zeros, (at.width, batch, F), x.dtype)

        def put(values: Array, row: Array, column: Array | int, first: Array | int) -> None:
            start = (row % side, column + side, 0, first)
            rows.value = lax.dynamic_update_slice(rows.value, values, start)

        if isinstance(at, Row):
            if self.strict:  # the last pixel of the row above has not been put yet
                put(x[None], at.row - 1, 0, 0)
            before = [rows.value[(at.row + i) % side] for i in range(side)]
            taps = (row_taps(row, kernel) for row, kernel in zip(before, above, strict=True))
            table.value = sum(taps, start=bias)
            return table.value
        place, first = (at, at.group * x.shape[-1]) if one_group else (at.before, 0)
        put(x[None, None], place.row, place.column, first)
        start, size = (at.row % side, at.column, 0, 0), (1, columns, batch, inputs)
        window = lax.dynamic_slice(rows.value, start, size)[0]
        share = site_taps(window, take_group(own, at.group, self.groups))
        return here(table.value, at, self.groups) + share


class ResidualBlock(nn.Module):
    """x + W relu(K * relu(V relu(x))), all masked: 2 F to F, 3x3, F to 2 F."""

    features: int
    groups: int
    dtype: Dtype = None

    def setup(self):
        F, groups = self.features, self.groups
        self.squeeze = HorizontalConv(F, 1, groups, dtype=self.dtype)
        self.spatial = MaskedConv(F, 3, groups, dtype=self.dtype)
        self.expand = HorizontalConv(2 * F, 1, groups, dtype=self.dtype)

    def __call__(
        self, x: Float[Array, "*sites two_F"], at: At = None
    ) -> Float[Array, "*sites two_F"]:
        hidden = nn.relu(self.squeeze(nn.relu(x), at))
        return x + self.expand(nn.relu(self.spatial(hidden, at)), at)


class PixelCNN(Raster):
    """Images (H, W, C) of any number of levels; `features` (h in the paper) split into C groups, so C divides them."""

    system: ClassVar[str] = "pixel_cnn"
    begins_rows: ClassVar[bool] = True

    depth: int = 15
    features: int = 128
    first_kernel: int = 7
    head_features: int = 1024
    dtype: Dtype = None

    def setup(self):
        self.check()
        F, groups, dtype = self.features, self.groups, self.dtype
        self.first = MaskedConv(2 * F, self.first_kernel, groups, strict=True, dtype=dtype)
        self.blocks = [ResidualBlock(F, groups, dtype) for _ in range(self.depth)]
        self.hidden = [HorizontalConv(self.head_features, 1, groups, dtype=dtype) for _ in "12"]
        self.logits = HorizontalConv(groups * self.head.size, 1, groups, dtype=dtype)

    @property
    def groups(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The channels: each reads those before it in the same pixel."""
        return self.event.shape[-1]

    def horizontal(
        self,
        image: Float[Array, "*sites I"],
        terms: Terms,
        cond: Num[Array, "B *K"] | None,
        train: bool = False,
        at: At = None,
    ) -> Float[Array, "*sites P"]:
        del terms, cond, train  # no second stack, no classes, no noise
        h = self.first(image, at)
        for block in self.blocks:
            h = block(h, at)
            show(self, h)
        for layer in self.hidden:
            h = layer(nn.relu(h), at)
        return self.logits(nn.relu(h), at)

    def sees(
        self, up: Int[np.ndarray, "H W"], right: Int[np.ndarray, "H W"]
    ) -> Bool[np.ndarray, "H W"]:
        """All but the blind spot: beyond the first kernel each block reaches one row up and one column to the right."""
        side = self.first_kernel // 2
        reach = side + self.depth
        by_first = np.maximum(1, up - self.depth)  # rows by the first kernel, the others by blocks
        above = (up > 0) & (up <= reach) & (right <= side + up - by_first)
        return (above | ((up == 0) & (right < 0))) & (right >= -reach)

    def check(self) -> None:
        require_image(self.event, self.system)
        require(
            self.depth >= 0 and self.first_kernel % 2 == 1 and self.first_kernel >= 3,
            "pixel_cnn needs depth >= 0 and an odd first kernel >= 3",
        )
        F, groups = self.features, self.groups
        require(
            min(F, self.head_features) >= 1 and F % groups == self.head_features % groups == 0,
            f"pixel_cnn needs features ({F}) and head_features ({self.head_features}) divisible by the {groups}"
            " channels",
        )
