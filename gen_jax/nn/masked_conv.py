"""The masked convolution of PixelCNN: rows above, columns to the left, earlier channels of the own pixel.

Weights exist only where the mask is open, the channels' groups apart; in a stack of them a cone to the upper right
stays unseen (van den Oord, Kalchbrenner and Kavukcuoglu 2016, 1601.06759, figure 2).
"""

import flax.linen as nn
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype
from jaxtyping import Array, Float, Int

from gen_jax.nn.causal_conv import KERNEL_INIT
from gen_jax.ops import conv
from gen_jax.ops.convolution import convolve
from gen_jax.ops.masks import group_mask, take_group
from gen_jax.ops.shifted_conv import row_taps
from gen_jax.typing import Dtype


class MaskedConv(nn.Module):
    """A kernel x kernel convolution (odd); `strict` is mask A (own pixel: earlier groups), else mask B (and own)."""

    features: int
    kernel: int
    groups: int = 1
    strict: bool = False
    dtype: Dtype = None

    @property
    def columns(self) -> int:
        """Number of columns of the own row that are read; a closed own column is left out."""
        return self.kernel // 2 + (not (self.strict and self.groups == 1))

    def _weights(self, x):
        rows, inputs, F = self.kernel // 2, x.shape[-1], self.features
        above = self.param("above", KERNEL_INIT, (rows, self.kernel, inputs, F))
        own = self.param("own", KERNEL_INIT, (self.columns, inputs, F))
        bias = self.param("bias", nn.initializers.zeros, (F,))
        x, above, own, bias = promote_dtype(x, above, own, bias, dtype=self.dtype)
        if self.groups > 1:
            mask = group_mask(inputs, F, self.groups, self.strict)
            own = own.at[-1].set(jnp.where(mask, own[-1], 0))
        return x, above, own, bias

    @nn.compact
    def __call__(self, x: Float[Array, "B H W I"]) -> Float[Array, "B H W O"]:
        """All sites at once."""
        x, above, own, bias = self._weights(x)
        closed = jnp.pad(own, ((0, self.kernel - self.columns), (0, 0), (0, 0)))
        kernel = jnp.concatenate([above, closed[None]])
        side = self.kernel // 2
        padding = ((side, 0), (side, side))
        return convolve(x, kernel, padding) + bias

    @nn.compact
    def above(self, *rows: Float[Array, "W_padded B I"]) -> Float[Array, "W B O"]:
        """The share of the rows above, padded on both sides, and the bias."""
        _, above, _, bias = self._weights(rows[0])
        taps = (row_taps(row.astype(above.dtype), above[i]) for i, row in enumerate(rows))
        return sum(taps, start=bias)

    @nn.compact
    def site(
        self, window: Float[Array, "B columns I"], group: Int[Array, ""]
    ) -> Float[Array, "B O_of_group"]:
        """The share of the own row for one group at one pixel."""
        window, _, own, _ = self._weights(window)
        return conv.horizontal_conv_site(window, take_group(own, group, self.groups))
