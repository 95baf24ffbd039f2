"""Importance-weighted autoencoder: log p(x) >= E log (1/K sum_k p(x, z_k) / q(z_k | x)), trained for K > 1.

The network is that of a VAE. The gradient goes through the logarithm of the sum, which weights each draw by its
normalised w_k (Burda, Grosse and Salakhutdinov 2015, 1509.00519, equations 8 and 14).
"""

from typing import ClassVar

from gen_jax.models.latent.factorised import Factorised
from gen_jax.models.latent.losses import ImportanceWeighted


class IWAE(ImportanceWeighted, Factorised):
    """`draws`: K in the training loss; evaluation uses `Evaluate.draws`. `estimator`: of its gradient."""

    system: ClassVar[str] = "iwae"

    num_classes: int = 0
