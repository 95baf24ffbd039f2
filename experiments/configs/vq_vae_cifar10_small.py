"""VQ-VAE on CIFAR-10 (32x32 colour, 256 levels), small: 64 codes of 512 under a uniform prior.

Command: gen-jax train experiments/configs/vq_vae_cifar10_small.py
Hardware: 2 CPU cores, about 20 minutes by its number of operations
Expected: <= 5.211 bits/dim on validation, a bound
Published: 4.67 bits/dim, a bound, at a size that is not stated (van den Oord et al. 2017, 1711.00937, section 4.1)

One of three with the same encoder, decoder, head, data and time: vae_, vq_vae_ and vimco_cifar10_small.
"""

from gen_jax import VQVAE, image
from gen_jax.experiment import Data, Evaluate, Experiment
from gen_jax.optimizer import Adam, WarmupCosine

STEPS = 5000


def experiment() -> Experiment:
    """Validation is on 1,000 of the last 5,000 training images."""
    return Experiment(
        model=VQVAE(
            image(32, 32, channels=3),
            strided=(32, 64),
            codes=512,
            size=64,
            mixtures=5,
            restart=0.01,
        ),
        data=Data("cifar10"),
        optimizer=Adam(WarmupCosine(1e-3, 100, STEPS), clip_norm=1.0),
        steps=STEPS,
        batch_size=32,
        ema=0.995,
        evaluate=Evaluate(every=1000, batch_size=100, examples=1000),
    )
