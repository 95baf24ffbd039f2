"""What PixelCNN++ and PixelSNAIL share: a site is a pixel, its channels have one head, and the first layers.

(Salimans et al. 2017, 1701.05517; Chen et al. 2017, 1712.09763; layers as in their code.)
"""

from typing import ClassVar

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Num

from gen_jax.check import require, require_image
from gen_jax.conditions import Cond, label_of
from gen_jax.heads import Head, head_for
from gen_jax.models.autoregressive.raster import Raster, Terms
from gen_jax.nn.at import At, Row, Site, here
from gen_jax.nn.conditioning import Context
from gen_jax.nn.shifted_conv import LeftConv, ShiftedConv
from gen_jax.ops.scaling import to_symmetric
from gen_jax.typing import Dtype


class Pixelwise(Raster):
    """Images (H, W, C) of any number of levels. `mixtures` None is a softmax head, for one channel."""

    system: ClassVar[str]
    begins_rows: ClassVar[bool] = True

    num_classes: int = 0  # pyright: ignore[reportIncompatibleVariableOverride]
    features: int = 160
    mixtures: int | None = 10
    dropout: float = 0.5
    dtype: Dtype = None

    def setup(self):
        self.check()
        self.first_above = ShiftedConv(self.features, height=1, width=3, left=1, dtype=self.dtype)
        self.first_left = LeftConv(self.features, width=1, dtype=self.dtype)

    @property
    def head(self) -> Head:
        """A mixture of K logistics over all channels of a pixel, or a softmax."""
        return head_for(self.levels, self.event.shape[-1], self.mixtures)

    def to_input(self, x: Num[Array, "B H W C"]) -> Float[Array, "B H W C_and_1"]:
        """The scaled image and a channel of ones, by which the network can tell pixels from padding."""
        scaled = to_symmetric(x, self.levels)
        return jnp.concatenate([scaled, jnp.ones_like(scaled[..., :1])], axis=-1)

    def read(self, cond: Cond, train: bool = False) -> Context:
        del train  # nothing is dropped
        return Context(label_of(cond))

    def vertical(
        self,
        image: Float[Array, "*sites C_and_1"],
        cond: Context,
        train: bool = False,
        at: Row | None = None,
    ) -> Terms:
        """The term of the first layer, which reads the three pixels above a pixel; a subclass may add others."""
        return shifted(self.first_above(image, at), "down", at)

    def first(
        self, image: Float[Array, "*sites C_and_1"], term: Float[Array, "*row F"], at: At
    ) -> Float[Array, "*sites F"]:
        """The first layer: its term from the rows above, the pixel to the left, and the pixel above that one."""
        left = self.first_left(image, at.before if isinstance(at, Site) else at)
        return here(term, at) + shifted(left, "right", at)

    def check(self) -> None:
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
    """x moved one row "down" or one column "right", with zeros at the edge: the only "mask A" of the networks.

    In steps x belongs to the row or pixel before already; only the zeros at the edge remain to be put in.
    """
    if at is None:
        axis = 1 if way == "down" else 2
        ahead = [(0, 0)] * x.ndim
        ahead[axis] = (1, 0)
        return lax.slice_in_dim(jnp.pad(x, ahead), 0, x.shape[axis], axis=axis)
    if way == "down":
        return (at.row > 0) * x
    return (at.column > 0) * x if isinstance(at, Site) else x
