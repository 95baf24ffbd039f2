"""PixelCNN: log p(x) = sum_i log p(x_i | x_<i) over pixels in raster order, R then G then B in a pixel.

One stack of masked convolutions, mask A first and mask B after, in residual blocks of 1x1, 3x3, 1x1, and a softmax for
each sub-pixel; it does not see a cone to the upper right (van den Oord, Kalchbrenner and Kavukcuoglu 2016, 1601.06759,
section 3 and table 1).
"""

from typing import ClassVar

import flax.linen as nn
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from gen_jax.models.autoregressive.masked_stack import MaskedStack
from gen_jax.nn.at import At
from gen_jax.nn.causal_conv import HorizontalConv
from gen_jax.nn.masked_conv import MaskedConv
from gen_jax.typing import Dtype


class ResidualBlock(nn.Module):
    """W relu(K * relu(V relu(x))), all masked: 2 F to F, 3x3, F to 2 F."""

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
        return self.expand(nn.relu(self.spatial(hidden, at)), at)


class PixelCNN(MaskedStack):
    """Images (H, W, C) of any number of levels; `features` (h in the paper) split into C groups, so C divides them."""

    system: ClassVar[str] = "pixel_cnn"

    depth: int = 15

    def block(self) -> nn.Module:
        return ResidualBlock(self.features, self.groups, self.dtype)

    def sees(
        self, up: Int[np.ndarray, "H W"], right: Int[np.ndarray, "H W"]
    ) -> Bool[np.ndarray, "H W"]:
        """All but the blind spot: beyond the first kernel each block reaches one row up and one column to the right."""
        side = self.first_kernel // 2
        reach = side + self.depth
        by_first = np.maximum(1, up - self.depth)  # rows by the first kernel, the others by blocks
        above = (up > 0) & (up <= reach) & (right <= side + up - by_first)
        return (above | ((up == 0) & (right < 0))) & (right >= -reach)
