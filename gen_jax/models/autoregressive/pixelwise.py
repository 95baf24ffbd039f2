"""Images whose site is a pixel: its channels share one head, and the first layers are those of PixelCNN++.

PixelSNAIL begins in the same way (Salimans et al. 2017, 1701.05517; Chen et al. 2017, 1712.09763; as in their code).
"""

from typing import ClassVar

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int, Num

from gen_jax.check import require, require_image
from gen_jax.heads import Head, head_for
from gen_jax.models.autoregressive.raster import Raster, Terms
from gen_jax.nn.at import At, Begin, Site, here
from gen_jax.nn.shifted_conv import LeftConv, ShiftedConv
from gen_jax.ops.scaling import to_symmetric
from gen_jax.typing import Dtype


class Pixelwise(Raster):
    """Images (H, W, C) of any number of levels. `mixtures` None is a softmax head, for one channel."""

    system: ClassVar[str]

    num_classes: int = 0  # pyright: ignore[reportIncompatibleVariableOverride]
    features: int = 160
    mixtures: int | None = 10
    dropout: float = 0.5
    dtype: Dtype = None

    def setup(self):
        """Declare the first layers; InputError on sizes that cannot work."""
        self.check()
        self.first_above = ShiftedConv(self.features, height=1, width=3, left=1, dtype=self.dtype)
        self.first_left = LeftConv(self.features, width=1, dtype=self.dtype)

    @property
    def head(self) -> Head:
        """K logistics for all channels of a pixel, or a softmax."""
        return head_for(self.levels, self.event.shape[-1], self.mixtures)

    def entered(self, x: Num[Array, "B H W C"]) -> Float[Array, "B H W C_and_1"]:
        """The scaled image with a channel that is 0 only in the padding."""
        scaled = to_symmetric(x, self.levels)
        return jnp.concatenate([scaled, jnp.ones_like(scaled[..., :1])], axis=-1)

    def above(
        self,
        image: Float[Array, "*sites C_and_1"],
        cond: Int[Array, " B"] | None,
        train: bool,
        at: At,
    ) -> Terms:
        """What the rows above give to the left stream: its first layer, and of an upper stream all that it reads."""
        raise TypeError(f"{type(self).__name__} does not define its network")

    def vertical(
        self,
        image: Float[Array, "*sites C_and_1"],
        cond: Int[Array, " B"] | None,
        train: bool = False,
        at: At = None,
    ) -> Terms:
        """`above`; in steps the layers of the left stream begin their row too."""
        terms = self.above(image, cond, train, at)
        if at is not None:
            self.horizontal(image, terms, cond, train, Begin(at.row, at.height, at.width))
        return terms

    def first_term(self, image: Float[Array, "*sites C_and_1"], at: At) -> Float[Array, "*sites F"]:
        """What a pixel's first layer reads of the rows above: the three pixels above it."""
        return shifted(self.first_above(image, at), "down", at)

    def first(
        self, image: Float[Array, "*sites C_and_1"], term: Float[Array, "*row F"], at: At
    ) -> Float[Array, "*sites F"]:
        """The first layer: besides `first_term` the pixel to the left and the one above that."""
        left = self.first_left(image, at.before if isinstance(at, Site) else at)
        return here(term, at) + shifted(left, "right", at)

    def check(self) -> None:
        """InputError on events and sizes that cannot work."""
        require_image(self.event, self.system)
        require(
            self.mixtures is not None or self.event.shape[-1] == 1,
            f"{self.system} without mixtures has a softmax, which is for one channel; colour needs mixtures",
        )
        require(
            self.mixtures is None or self.mixtures >= 1,
            f"{self.system} needs at least one mixture, not {self.mixtures}",
        )
        require(0 <= self.dropout < 1, f"{self.system} needs dropout in [0, 1), not {self.dropout}")


def shifted(x: Float[Array, "*sites F"], way: str, at: At) -> Float[Array, "*sites F"]:
    """One row "down" or one column "right": the only "mask A" of the networks.

    In steps x is that of the row or pixel before, which is missing where the image begins.
    """
    if at is None:
        axis = 1 if way == "down" else 2
        ahead = [(0, 0)] * x.ndim
        ahead[axis] = (1, 0)
        return lax.slice_in_dim(jnp.pad(x, ahead), 0, x.shape[axis], axis=axis)
    if way == "down":
        return (at.row > 0) * x
    return (at.column > 0) * x if isinstance(at, Site) else x
