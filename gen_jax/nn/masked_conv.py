"""The masked convolution over rows that PixelCNN and PixelRNN share."""

import flax.linen as nn
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype
from jax import lax
from jaxtyping import Array, Float

from gen_jax.nn.at import At, Row, Site, here
from gen_jax.nn.causal_conv import KERNEL_INIT
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
