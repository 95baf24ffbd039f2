"""Gated PixelCNN over the 8x8x10 codes of a VQ-VAE, on CIFAR-10 (32x32 colour, 256 levels).

Command: gen-jax train experiments/configs/vq_vae_prior_cifar10.py
Hardware: one accelerator, about a day after vq_vae_cifar10
Published: 4.67 bits/dim, a bound (van den Oord et al. 2017, 1711.00937, section 4.1, which does not say which prior)
Expected: a bound below that of vq_vae_cifar10, whose prior is uniform; not run here

63,983,204 parameters. Sizes, dropout, optimiser and steps are ours: the paper gives none for its PixelCNN over codes.
45,000 of the 50,000 training images.
"""

from vq_vae_cifar10 import experiment as first_stage

from gen_jax import GatedPixelCNN, VQVAEPrior
from gen_jax.experiment import Data, Evaluate, Experiment
from gen_jax.optimizer import Adam


def experiment() -> Experiment:
    """The ten codes of a place are in order: each depends on the previous ones."""
    first = first_stage().model
    return Experiment(
        model=VQVAEPrior(
            first=first,
            prior=GatedPixelCNN(
                first.code_event,
                depth=12,
                features=320,
                kernel=5,
                head_features=640,
                dropout=0.1,
                embedding=32,
            ),
        ),
        data=Data("cifar10"),
        optimizer=Adam(3e-4, clip_norm=1.0),
        steps=100_000,
        batch_size=64,
        ema=0.9995,
        evaluate=Evaluate(every=5000, batch_size=128),
        first_stage="runs/vq_vae_cifar10",
    )
