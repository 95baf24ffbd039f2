"""Masked convolutions as modules: `__call__` over the image, `row` or `site` over a window kept by the caller."""

import flax.linen as nn
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype
from jaxtyping import Array, Float, Int

from gen_jax.ops import conv
from gen_jax.ops.masks import group_mask, take_group
from gen_jax.typing import Dtype

KERNEL_INIT = nn.initializers.lecun_normal()


class VerticalConv(nn.Module):
    """Convolution over the rows above (and, unless strict, the own row); all of them are earlier, so no mask."""

    features: int
    height: int
    width: int
    strict: bool = False
    dtype: Dtype = None

    def _weights(self, x):
        shape = (self.height, self.width, x.shape[-1], self.features)
        kernel = self.param("kernel", KERNEL_INIT, shape)
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        return promote_dtype(x, kernel, bias, dtype=self.dtype)

    @nn.compact
    def __call__(self, x: Float[Array, "B H W I"]) -> Float[Array, "B H W O"]:
        """All rows at once."""
        x, kernel, bias = self._weights(x)
        return conv.vertical_conv(x, kernel, self.strict) + bias

    @nn.compact
    def row(self, window: Float[Array, "B h W I"]) -> Float[Array, "B W O"]:
        """One row from the `height` rows that it reads."""
        window, kernel, bias = self._weights(window)
        return conv.vertical_conv_row(window, kernel) + bias


class HorizontalConv(nn.Module):
    """Convolution over the pixels to the left and, through a group mask, the own pixel; width 1 is the masked 1x1.

    `strict`: group g of the own pixel is read by groups > g only (mask A), else by groups >= g (mask B). With one
    group a strict own column is all zero and is cropped. The outputs are `splits` sets of `features`, each in group
    order, so that a gate's halves stay aligned.
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

    @property
    def columns(self) -> int:
        """Number of columns that a window must hold."""
        return self.width - self.cropped

    def _weights(self, x):
        inputs, outputs = x.shape[-1], self.splits * self.features
        kernel = self.param("kernel", KERNEL_INIT, (self.columns, inputs, outputs))
        bias = self.param("bias", nn.initializers.zeros, (outputs,))
        x, kernel, bias = promote_dtype(x, kernel, bias, dtype=self.dtype)
        if self.groups > 1:
            mask = group_mask(inputs, self.features, self.groups, self.strict)
            own = jnp.where(jnp.tile(mask, (1, self.splits)), kernel[-1], 0)
            kernel = jnp.concatenate([kernel[:-1], own[None]])
        return x, kernel, bias

    @nn.compact
    def __call__(self, x: Float[Array, "B H W I"]) -> Float[Array, "B H W O"]:
        """All sites at once."""
        x, kernel, bias = self._weights(x)
        return conv.horizontal_conv(x, kernel, self.cropped) + bias

    @nn.compact
    def site(
        self, window: Float[Array, "B w I"], group: Int[Array, ""]
    ) -> Float[Array, "B O_of_group"]:
        """The outputs of one group at one pixel, from the `columns` columns that it reads."""
        window, kernel, bias = self._weights(window)
        kernel = take_group(kernel, group, self.groups, self.splits)
        return conv.horizontal_conv_site(window, kernel) + take_group(
            bias, group, self.groups, self.splits
        )
