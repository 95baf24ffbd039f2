"""VQ-VAE on CIFAR-10 (32x32 colour, 256 levels): 8x8x10 codes of 512.

Command: gen-jax train experiments/configs/vq_vae_cifar10.py
Hardware: one accelerator, about a day
Published: 4.67 bits/dim with its prior (van den Oord et al. 2017, 1711.00937, section 4.1)
Expected: the first stage of vq_vae_prior_cifar10; not run here
"""

from gen_jax import VQVAE, image
from gen_jax.experiment import Data, Evaluate, Experiment
from gen_jax.train.optimizer import Adam


def experiment() -> Experiment:
    """Layers, codes, batch, rate and steps are the paper's; it leaves open how ten codes share a place, and p(x | z).

    Here each has its own 64 outputs of the encoder, all share one codebook, and p is a mixture of ten logistics.
    """
    return Experiment(
        model=VQVAE(
            image(32, 32, channels=3),
            strided=(256, 256),
            residual=256,
            codes=512,
            groups=10,
            mixtures=10,
            restart=0.01,
        ),
        data=Data("cifar10"),
        optimizer=Adam(2e-4),
        steps=250_000,
        batch_size=128,
        ema=0.99,
        evaluate=Evaluate(every=5000, batch_size=128),
    )
