"""Autoregressive models of images whose site is a pixel: its channels share one head and one causal first layer.

The first layer and the padded image with its channel of ones are those of PixelCNN++ (Salimans et al. 2017,
1701.05517); PixelSNAIL begins in the same way.
"""

from typing import ClassVar

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int, Num

from gen_jax.errors import InputError
from gen_jax.heads import Head, head_for
from gen_jax.models.autoregressive.base import Autoregressive
from gen_jax.nn.shifted_conv import ShiftedConv
from gen_jax.ops.scaling import to_symmetric
from gen_jax.typing import Dtype


class Pixelwise(Autoregressive):
    """Images (H, W, C) of any number of levels. `mixtures` None is a softmax head, for one channel."""

    system: ClassVar[str]
    takes_reals: ClassVar[bool] = True

    num_classes: int = 0  # pyright: ignore[reportIncompatibleVariableOverride]
    features: int = 160
    mixtures: int | None = 10
    dropout: float = 0.5
    dtype: Dtype = None

    def setup(self):
        """Declare the first layer; InputError on sizes that cannot work."""
        shape, name = self.event.shape, self.system
        if len(shape) != 3:
            raise InputError(f"{name} is a model of images (H, W, C), not of {shape}")
        if self.mixtures is None and shape[2] > 1:
            raise InputError(
                f"{name} without mixtures has a softmax, which is for one channel; colour needs mixtures"
            )
        if self.mixtures is not None and self.mixtures < 1:
            raise InputError(f"{name} needs at least one mixture, not {self.mixtures}")
        if not 0 <= self.dropout < 1:
            raise InputError(f"{name} needs dropout in [0, 1), not {self.dropout}")
        self.first_above = ShiftedConv(self.features, height=1, width=3, left=1, dtype=self.dtype)
        self.first_left = ShiftedConv(self.features, height=2, width=1, dtype=self.dtype)

    @property
    def head(self) -> Head:
        """K logistics for all channels of a pixel, or a softmax."""
        return head_for(self.levels, self.event.shape[-1], self.mixtures)

    @property
    def sites(self) -> Int[np.ndarray, "sites V"]:
        """A site is a pixel with all its channels."""
        return np.arange(self.event.size).reshape(-1, self.event.shape[-1])

    @property
    def cache_dtype(self) -> jnp.dtype:
        """The type of kept activations."""
        return jnp.dtype(self.dtype) if self.dtype is not None else jnp.result_type(float)

    def place(self, site: Int[Array, ""]) -> tuple[Int[Array, ""], Int[Array, ""]]:
        """Row and column of a site."""
        return site // self.event.shape[1], site % self.event.shape[1]

    def with_ones(self, x: Num[Array, "B H W C"]) -> Float[Array, "B H W C_and_1"]:
        """The scaled image with a channel that is 0 only in the padding."""
        scaled = to_symmetric(x, self.levels)
        return jnp.concatenate([scaled, jnp.ones_like(scaled[..., :1])], axis=-1)

    def first(self, image: Float[Array, "B H W C_and_1"]) -> Float[Array, "B H W F"]:
        """What each pixel first sees: three pixels above it, and the one to its left with the one above that."""
        return shifted(self.first_above(image), axis=1) + shifted(self.first_left(image), axis=2)

    def first_site(
        self,
        image: Float[Array, "rows_H columns_W B C_and_1"],
        row: Int[Array, ""],
        column: Int[Array, ""],
    ) -> Float[Array, "B F"]:
        """`first` at one pixel of a kept image."""
        start = (row + 1, column, 0, 0)
        above, own = lax.dynamic_slice(image, start, (2, 3, *image.shape[2:]))
        v = (row > 0) * self.first_above.above(above)[0]
        return v + (column > 0) * self.first_left.above(above[:1], own[:1])[0]

    def empty_image(self, n: int) -> Float[Array, "rows_H columns_W B C_and_1"]:
        """The image to keep, two rows above and a column at each side: zeros, ones in the last channel."""
        H, W, C = self.event.shape
        return jnp.zeros((H + 2, W + 2, n, C + 1)).at[2:, 1:-1, :, C].set(1)

    def put_pixel(
        self,
        image: Float[Array, "rows_H columns_W B C_and_1"],
        site: Int[Array, ""],
        scaled: Float[Array, "B C"],
    ) -> Float[Array, "rows_H columns_W B C_and_1"]:
        """The kept image with one pixel written."""
        row, column = self.place(site)
        start = (row + 2, column + 1, 0, 0)
        return lax.dynamic_update_slice(image, scaled.astype(image.dtype)[None, None], start)


def shifted(x: Float[Array, "B H W F"], axis: int) -> Float[Array, "B H W F"]:
    """One row down or one column right: the only "mask A" of the networks."""
    ahead = [(0, 0)] * x.ndim
    ahead[axis] = (1, 0)
    return lax.slice_in_dim(jnp.pad(x, ahead), 0, x.shape[axis], axis=axis)
