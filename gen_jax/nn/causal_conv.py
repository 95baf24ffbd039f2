"""The masked convolution over the row so far that Gated PixelCNN and PixelCNN share."""

import flax.linen as nn
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype
from jax import lax
from jaxtyping import Array, Float

from gen_jax.nn.at import At, Row, Site
from gen_jax.ops import conv
from gen_jax.ops.masks import group_mask, put_group, take_group
from gen_jax.typing import Dtype

KERNEL_INIT = nn.initializers.lecun_normal()


class HorizontalConv(nn.Module):
    """Convolution over the pixels to the left and, through a group mask, the own pixel; width 1 is the masked 1x1.

    `strict`: group g of the own pixel is read by groups > g only (mask A), else by groups >= g (mask B). With one
    group a strict own column is all zero and is cropped. The outputs are `splits` sets of `features`, each in group
    order, so that a gate's halves stay aligned. At a site a strict layer is given the pixel before as far as it is
    written, any other the features of the site's group; it keeps the row so far, or of width 1 the own pixel.
    """

    features: int
    width: int
    groups: int = 1
    strict: bool = False
    splits: int = 1
    dtype: Dtype = None

    @property
    def cropped(self) -> bool:
        """The own column is closed: the window ends one pixel to the left."""
        return self.strict and self.groups == 1

    @nn.compact
    def __call__(self, x: Float[Array, "*sites I"], at: At = None) -> Float[Array, "*sites O"]:
        """All sites at once, or the outputs of a site's group."""
        columns, outputs = self.width - self.cropped, self.splits * self.features
        whole = not isinstance(at, Site) or self.strict
        inputs = x.shape[-1] * (1 if whole else self.groups)
        kernel = self.param("kernel", KERNEL_INIT, (columns, inputs, outputs))
        bias = self.param("bias", nn.initializers.zeros, (outputs,))
        x, kernel, bias = promote_dtype(x, kernel, bias, dtype=self.dtype)
        if self.groups > 1:
            mask = group_mask(inputs, self.features, self.groups, self.strict)
            own = jnp.where(jnp.tile(mask, (1, self.splits)), kernel[-1], 0)
            kernel = jnp.concatenate([kernel[:-1], own[None]])
        if at is None:
            return conv.horizontal_conv(x, kernel, self.cropped) + bias
        if isinstance(at, Row):  # nothing to begin
            return x @ kernel[-1] + bias
        group = (at.group, self.groups, self.splits)
        window = self._window(x, inputs, columns, at)
        return conv.horizontal_conv_site(window, take_group(kernel, *group)) + take_group(
            bias, *group
        )

    def _window(self, x, inputs, columns, at):
        """The columns that a site reads (w B I), after x is taken in."""
        if self.width == 1 and not self.strict:
            if self.groups == 1:
                return x[None]
            pixel = self.variable("cache", "pixel", jnp.zeros, (x.shape[0], inputs), x.dtype)
            pixel.value = put_group(pixel.value, x, at.group)
            return pixel.value[None]
        size = (at.width + self.width - 1, x.shape[0], inputs)
        row = self.variable("cache", "row", jnp.zeros, size, x.dtype)
        column, first = at.column, at.group * x.shape[-1]
        if self.strict:
            column, first = at.before.column, 0
        start = (column + self.width - 1, 0, first)
        row.value = lax.dynamic_update_slice(row.value, x[None], start)
        return lax.dynamic_slice_in_dim(row.value, at.column, columns, axis=0)
