"""The network that PixelCNN, Row LSTM and Diagonal BiLSTM share; they differ in its blocks.

A 7x7 convolution with mask A, residual blocks, two masked 1x1 convolutions, and a softmax for each sub-pixel; each of
the last three reads ReLUs (van den Oord, Kalchbrenner and Kavukcuoglu 2016, 1601.06759, table 1).
"""

from typing import Any, ClassVar

import flax.linen as nn
from jaxtyping import Array, Float

from gen_jax.check import require, require_image
from gen_jax.models.autoregressive.raster import Raster, Terms
from gen_jax.nn.at import At
from gen_jax.nn.blocks import show
from gen_jax.nn.causal_conv import HorizontalConv
from gen_jax.nn.masked_conv import MaskedConv
from gen_jax.typing import Dtype


class MaskedStack(Raster):
    """Images (H, W, C) of any number of levels; `features` (h in the paper) split into C groups, so C divides them.

    `dropout` acts on what a block adds to the stream; the paper has none.
    """

    system: ClassVar[str]
    begins_rows: ClassVar[bool] = True

    depth: int = 12
    features: int = 128
    first_kernel: int = 7
    head_features: int = 1024
    dropout: float = 0.0
    dtype: Dtype = None

    def setup(self):
        self.check()
        F, groups, dtype = self.features, self.groups, self.dtype
        self.first = MaskedConv(2 * F, self.first_kernel, groups, strict=True, dtype=dtype)
        self.blocks = [self.block() for _ in range(self.depth)]
        self.drop = nn.Dropout(self.dropout)
        self.hidden = [HorizontalConv(self.head_features, 1, groups, dtype=dtype) for _ in "12"]
        self.logits = HorizontalConv(groups * self.head.size, 1, groups, dtype=dtype)

    def block(self) -> nn.Module:
        """A layer from 2 h features to those that are added to them."""
        raise TypeError(f"{type(self).__name__} does not define its network")

    @property
    def groups(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The channels: each reads those before it in the same pixel."""
        return self.event.shape[-1]

    def horizontal(
        self,
        image: Float[Array, "*sites I"],
        terms: Terms,
        cond: Any,
        train: bool = False,
        at: At = None,
    ) -> Float[Array, "*sites P"]:
        del terms, cond  # no second stack, no classes
        h = self.first(image, at)
        for block in self.blocks:
            h = h + self.drop(block(h, at), deterministic=not train)
            show(self, h)
        for layer in self.hidden:
            h = layer(nn.relu(h), at)
        return self.logits(nn.relu(h), at)

    def check(self) -> None:
        require_image(self.event, self.system)
        require(
            self.depth >= 0 and self.first_kernel % 2 == 1 and self.first_kernel >= 3,
            f"{self.system} needs depth >= 0 and an odd first kernel >= 3",
        )
        require(0 <= self.dropout < 1, f"{self.system} needs dropout in [0, 1), not {self.dropout}")
        F, groups = self.features, self.groups
        require(
            min(F, self.head_features) >= 1 and F % groups == self.head_features % groups == 0,
            f"{self.system} needs features ({F}) and head_features ({self.head_features}) divisible by the {groups}"
            " channels",
        )
