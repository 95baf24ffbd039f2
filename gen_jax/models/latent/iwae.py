"""Importance-weighted autoencoder: log p(x) >= E log (1/K sum_k p(x, z_k) / q(z_k | x)), trained for K > 1.

The network is that of a VAE. The gradient goes through the logarithm of the sum, which weights each draw by its
normalised w_k (Burda, Grosse and Salakhutdinov 2015, 1509.00519, equations 8 and 14).
"""

from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Integer

from gen_jax.density import bits_per_dim
from gen_jax.models.latent.vae import Factorised
from gen_jax.ops.importance import importance_weighted_bound
from gen_jax.typing import Metrics, PRNGKey, Scalar


class IWAE(Factorised):
    """`draws`: K in the training loss; evaluation uses `Evaluate.draws`."""

    system: ClassVar[str] = "iwae"

    draws: int = 50

    def loss(
        self, x: Integer[Array, "B *event"], key: PRNGKey, cond: Array | None = None
    ) -> tuple[Scalar, Metrics]:
        """Mean of the negative bound with `draws` importance samples, nats an example."""
        del cond  # no classes
        noise = self.noise(key, jnp.arange(self.draws), len(x))
        likelihood, ratio = self.log_weights(x, *self.encode(x), noise, train=True)
        nats = -jnp.mean(importance_weighted_bound(likelihood + ratio))
        metrics = {"reconstruction": -jnp.mean(likelihood), "kl": -jnp.mean(ratio)}
        return nats, {**metrics, "bits_per_dim": bits_per_dim(nats, self.event)}
