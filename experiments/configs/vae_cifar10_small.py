"""VAE on CIFAR-10 (32x32 colour, 256 levels), small: 64 places of 8 Gaussian latents.

Command: gen-jax train experiments/configs/vae_cifar10_small.py
Hardware: one CPU core, 28 minutes beside other work
Expected: <= 5.20 bits/dim on validation (all 5,000, 10 draws), a bound
Published: 4.51 bits/dim, a bound, at a size that is not stated (van den Oord et al. 2017, 1711.00937, section 4.1)

One of three with the same encoder, decoder, head, data and time: vae_, vq_vae_ and vimco_cifar10_small.
"""

from gen_jax import VAE, GridDecoder, GridEncoder, image
from gen_jax.experiment import Data, Evaluate, Experiment
from gen_jax.optimizer import Adam, WarmupCosine

STEPS = 5000


def experiment() -> Experiment:
    """Validation is on 1,000 of the last 5,000 training images."""
    return Experiment(
        model=VAE(
            image(32, 32, channels=3),
            latent=8,
            grid=(8, 8),
            encoder=GridEncoder((32, 64)),
            decoder=GridDecoder((32, 64)),
            mixtures=5,
        ),
        data=Data("cifar10"),
        optimizer=Adam(WarmupCosine(1e-3, 100, STEPS), clip_norm=1000.0),
        steps=STEPS,
        batch_size=32,
        ema=0.995,
        evaluate=Evaluate(every=1000, batch_size=100, examples=1000, draws=100, validation_draws=5),
    )
