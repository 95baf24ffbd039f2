"""Variational autoencoder: log p(x) >= E_q log p(x | z) - KL(q(z | x) || p(z)), p(x | z) independent over sites.

Gaussian posterior, reparameterised, KL in closed form (Kingma and Welling 2013, 1312.6114, equations 3 and 10). A site
is a value under a Bernoulli or categorical head, or a pixel under a mixture of logistics.
"""

import math

import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Integer

from gen_jax.heads import Head, LogisticMixture, head_for
from gen_jax.models.evidence import GaussianLatent
from gen_jax.models.latent.kl_term import KLWeighted
from gen_jax.nn.encoders import ConvDecoder, DenseDecoder
from gen_jax.typing import Nats, PRNGKey, Scalar


class Factorised(GaussianLatent):
    """log p(x | z) = sum over sites of log p(x_site | z), all parameters from one network.

    `mixtures` None is the head of one value: Bernoulli for two levels, else a softmax.
    """

    decoder: DenseDecoder | ConvDecoder = DenseDecoder()
    mixtures: int | None = None

    @property
    def values(self) -> int:
        """Values of a site: a pixel's channels under a mixture, else one."""
        return self.event.shape[-1] if self.mixtures and len(self.event.shape) == 3 else 1

    @property
    def head(self) -> Head:
        """The distribution of a site's values."""
        levels = self.event.levels or 2
        if self.mixtures is None:
            return head_for(levels)
        return LogisticMixture(levels, self.values, self.mixtures)

    def decode(self, z: Float[Array, "B Z"]) -> Float[Array, "B sites P"]:
        """Parameters of every site."""
        shape, head = self.event.shape, self.head
        positions = shape[:2] if len(shape) == 3 else shape
        sites = self.event.size // self.values
        outputs = sites // math.prod(positions) * head.size
        return self.decoder(z, positions, outputs).reshape(len(z), sites, head.size)

    def log_likelihood(
        self, x: Integer[Array, "B *event"], z: Float[Array, "B Z"], train: bool = False
    ) -> Nats:
        """Sum over the sites."""
        del train  # no dropout
        values = x.reshape(len(x), -1, self.values)
        return jnp.sum(self.head.log_prob(self.decode(z), values), axis=-1)

    def draw(
        self, z: Float[Array, "B Z"], key: PRNGKey, temperature: float | Scalar = 1.0
    ) -> Int[Array, "B *event"]:
        """Every site on its own."""
        x = self.head.sample(self.decode(z), key, temperature)
        return x.reshape(len(z), *self.event.shape)


class VAE(KLWeighted, Factorised):
    """The bound of one draw; `kl` weights its second term in the loss."""
