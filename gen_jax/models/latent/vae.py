"""Variational autoencoder: log p(x) >= E_q log p(x | z) - KL(q(z | x) || p(z)), p(x | z) independent over sites.

The posterior q is Gaussian and reparameterised, and its KL has a closed form (Kingma and Welling 2013, 1312.6114,
equations 3 and 10). A site is one value under a Bernoulli or categorical head, or a pixel under a mixture of logistics.
"""

from typing import ClassVar

from gen_jax.models.latent.factorised import Factorised
from gen_jax.models.latent.losses import KLWeighted


class VAE(KLWeighted, Factorised):
    """The bound with one draw of z; `kl` weights its second term in the loss."""

    system: ClassVar[str] = "vae"

    num_classes: int = 0
