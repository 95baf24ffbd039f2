"""VQ-VAE-2: log p(x) >= log p(t(x)) + log p(b(x) | t(x)) + log p(x | t(x), b(x)), codes t and b in two grids.

The encoder reduces x to the features of the bottom grid, and these to the smaller top grid, whose codes t are chosen
first. The bottom codes b are chosen from the same features joined with the decoded top codes. The decoder reads both
grids (Razavi, van den Oord and Vinyals 2019, 1906.00446, section 3.1 and algorithm 1). `VQVAE2Prior` is the second
stage: p(t), p(b | t) (section 3.2 and algorithm 2).

The paper minimises squared errors of x, which are no likelihood. Here p(x | t, b) is a mass: independent sites, or an
autoregressive model.
"""

from collections.abc import Sequence
from typing import Any, ClassVar

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Integer

from gen_jax.check import require
from gen_jax.models.autoregressive.base import Autoregressive
from gen_jax.models.latent.vq_vae import VQVAE, Quantised, quantised
from gen_jax.models.latent.vq_vae_prior import CodePriors
from gen_jax.nn.conv import Conv, ConvTranspose
from gen_jax.nn.grids import GridDecoder, GridEncoder
from gen_jax.ops import vq


class VQVAE2(VQVAE):
    """`strided` lead from x to the bottom grid, `top` from there to the top grid; each entry halves the sides.

    All other fields are those of a `VQVAE`, for both grids and their codebooks. A `likelihood` is given the vectors of
    the top grid, then those of the bottom grid.
    """

    system: ClassVar[str] = "vq_vae_2"
    names: ClassVar[tuple[str, ...]] = ("top", "bottom")
    books: ClassVar[tuple[str, ...]] = ("top_codebook", "bottom_codebook")

    top: tuple[int, ...] = (128,)

    def setup(self):
        self.check()
        self.top_codebook, self.bottom_codebook = self.new_codebook(), self.new_codebook()
        numbers, one = self.groups * self.size, (1,) * len(self.sides)
        self.bottom_encoder = GridEncoder(self.strided, self.blocks, self.residual)
        self.top_encoder = GridEncoder(self.top, self.blocks, self.residual, numbers)
        self.top_decoder = GridDecoder(self.top, self.blocks, self.residual)
        self.outputs = Conv(numbers, one)
        if self.likelihood is None:
            window = (4,) * len(self.sides)
            self.upsample = [ConvTranspose(numbers, window, stride=2) for _ in self.top]
            self.decoder = GridDecoder(self.strided, self.blocks, self.residual)

    @property
    def halvings(self) -> tuple[int, ...]:
        return (*self.strided, *self.top)

    @property
    def grids(self) -> tuple[tuple[int, ...], ...]:
        (bottom,) = super().grids
        return tuple(side // 2 ** len(self.top) for side in bottom), bottom

    def quantise(self, x: Integer[Array, "B *event"]) -> tuple[Quantised, ...]:
        small, large = self.grids
        numbers, parts = self.groups * self.size, (self.groups, self.size)
        features = self.bottom_encoder(self.scaled(x))
        outputs = self.top_encoder(features).reshape(len(x), *small, *parts)
        top = quantised(self.top_codebook, outputs)
        vectors = vq.straight_through(top.outputs, top.vectors).reshape(len(x), *small, numbers)
        both = jnp.concatenate([self.top_decoder(vectors, large, numbers), features], axis=-1)
        outputs = self.outputs(both).reshape(len(x), *large, *parts)
        return top, quantised(self.bottom_codebook, outputs)

    def features(self, vectors: Sequence[Array]) -> Float[Array, "B *grid F"]:
        """The top grid's vectors, brought to the sides of the bottom grid, and the bottom grid's."""
        top, bottom = (
            part.reshape(len(part), *grid, -1)
            for part, grid in zip(vectors, self.grids, strict=True)
        )
        for k, up in enumerate(self.upsample):
            top = up(nn.relu(top) if k else top)
        return jnp.concatenate([top, bottom], axis=-1)

    def check(self) -> None:
        require(bool(self.top), f"{self.system} halves the bottom grid at least once")
        super().check()


class VQVAE2Prior(CodePriors):
    """`top`: any autoregressive model of the top codes of a `VQVAE2`, such as one with attention.

    `bottom`: one of the bottom codes given the top codes.
    """

    system: ClassVar[str] = "vq_vae_2_prior"

    top: Autoregressive
    bottom: Autoregressive

    @property
    def priors(self) -> dict[str, Any]:
        return {"top": self.top, "bottom": self.bottom}
