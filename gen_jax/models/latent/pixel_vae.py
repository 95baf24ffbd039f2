"""Pixel-VAE: a VAE whose p(x | z) = prod_i p(x_i | x_<i, z) is a Gated PixelCNN with a term V z in every gate.

Such a decoder can model x without z. The bound is then tight at q(z | x) = p(z), which is posterior collapse (Gulrajani
et al. 2016, 1611.05013; van den Oord et al. 2016, 1606.05328, section 2.4; Chen et al. 2016, 1611.02731, section 2).
"""

from typing import ClassVar

import jax
from jaxtyping import Array, Int, Integer

from gen_jax.models.autoregressive.gated_pixel_cnn import GatedPixelCNN
from gen_jax.models.latent.base import State
from gen_jax.models.latent.encoded import Encoded
from gen_jax.models.latent.losses import KLWeighted
from gen_jax.typing import Dtype, Nats, PRNGKey, Scalar


class PixelVAE(KLWeighted, Encoded):
    """The fields from `depth` on are those of the decoder, a `GatedPixelCNN`; `kl` weights the KL in the loss."""

    system: ClassVar[str] = "pixel_vae"

    depth: int = 5
    features: int = 64
    first_kernel: int = 7
    kernel: int = 3
    head_features: int = 64
    dropout: float = 0.0
    dtype: Dtype = None
    num_classes: int = 0

    def setup(self):
        super().setup()
        self.decoder = GatedPixelCNN(
            self.event,
            num_classes=self.num_classes,
            vector=self.latent,
            depth=self.depth,
            features=self.features,
            first_kernel=self.first_kernel,
            kernel=self.kernel,
            head_features=self.head_features,
            dropout=self.dropout,
            dtype=self.dtype,
        )

    @property
    def given(self) -> GatedPixelCNN:
        return self.decoder

    def log_likelihood(
        self, x: Integer[Array, "B *event"], state: State, train: bool = False
    ) -> Nats:
        return self.decoder.log_prob_sites(x, state, train).sum(axis=-1)

    def draw(
        self, state: State, key: PRNGKey, temperature: float | Scalar = 1.0
    ) -> Int[Array, "B *event"]:
        return self.decoder.sample(key, len(jax.tree.leaves(state)[0]), state, temperature)
