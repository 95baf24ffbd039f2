"""The masked convolution over a row of pixels that Gated PixelCNN and PixelCNN share."""

import flax.linen as nn
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype
from jax import lax
from jaxtyping import Array, Float

from gen_jax.nn.at import At, Row, Site
from gen_jax.ops.convolution import convolve
from gen_jax.ops.masks import group_mask, put_group, take_group
from gen_jax.ops.shifted_conv import site_taps
from gen_jax.typing import Dtype

KERNEL_INIT = nn.initializers.lecun_normal()


class HorizontalConv(nn.Module):
    """Convolution over the `width` - 1 pixels to the left and, through a group mask, the pixel itself.

    Group g of a pixel is read by groups > g of the same pixel if `strict` (mask A), else by groups >= g (mask B). With
    one group mask A closes the whole column, which is cropped. `width` 1 is the masked 1x1 convolution. The outputs are
    `splits` sets of `features`, each in group order, so that the halves of a gate stay aligned.

    At a site a strict layer is given the pixel written last, any other layer the features of the site's group. It keeps
    the row so far, or with `width` 1 the pixel so far.
    """

    features: int
    width: int
    groups: int = 1
    strict: bool = False
    splits: int = 1
    dtype: Dtype = None

    @nn.compact
    def __call__(self, x: Float[Array, "*sites I"], at: At = None) -> Float[Array, "*sites O"]:
        cropped = self.strict and self.groups == 1
        columns, outputs = self.width - cropped, self.splits * self.features
        one_group = isinstance(at, Site) and not self.strict
        inputs = x.shape[-1] * (self.groups if one_group else 1)
        kernel = self.param("kernel", KERNEL_INIT, (columns, inputs, outputs))
        bias = self.param("bias", nn.initializers.zeros, (outputs,))
        x, kernel, bias = promote_dtype(x, kernel, bias, dtype=self.dtype)
        if self.groups > 1:
            mask = group_mask(inputs, self.features, self.groups, self.strict)
            last = jnp.where(jnp.tile(mask, (1, self.splits)), kernel[-1], 0)
            kernel = jnp.concatenate([kernel[:-1], last[None]])
        if at is None:
            padding = (columns, -1) if cropped else (columns - 1, 0)
            return convolve(x, kernel[None], ((0, 0), padding)) + bias
        if isinstance(at, Row):
            return x @ kernel[-1] + bias  # of a whole row, if `width` is 1; else without meaning
        if self.width == 1 and not self.strict:
            window = x[None]
            if self.groups > 1:
                pixel = self.variable("cache", "pixel", jnp.zeros, (x.shape[0], inputs), x.dtype)
                pixel.value = put_group(pixel.value, x, at.group)
                window = pixel.value[None]
        else:
            size = (at.width + self.width - 1, x.shape[0], inputs)
            row = self.variable("cache", "row", jnp.zeros, size, x.dtype)
            place, first = (at, at.group * x.shape[-1]) if one_group else (at.before, 0)
            start = (place.column + self.width - 1, 0, first)
            row.value = lax.dynamic_update_slice(row.value, x[None], start)
            window = lax.dynamic_slice_in_dim(row.value, at.column, columns, axis=0)
        kernel, bias = (take_group(w, at.group, self.groups, self.splits) for w in (kernel, bias))
        return site_taps(window, kernel) + bias
