"""Discrete VAE (VIMCO) on CIFAR-10 (32x32 colour, 256 levels), small: 64 places of 9 bits, a learned independent prior.

Command: gen-jax train experiments/configs/vimco_cifar10_small.py
Hardware: 2 CPU cores, about 20 minutes; 38 on one core beside other work
Expected: <= 6.08 bits/dim on validation (all 5,000, 10 draws), a bound; still falling at the last step
Published: 5.14 bits/dim, a bound, at a size that is not stated (van den Oord et al. 2017, 1711.00937, section 4.1)

One of three with the same encoder, decoder, head, data and time: vae_, vq_vae_ and vimco_cifar10_small. The 9 bits of
a place stand for the 512 codes of VQ-VAE. One variable of 512 values collapses: codes drawn at random give the
decoder nothing to begin with.
"""

from gen_jax import DiscreteVAE, GridDecoder, GridEncoder, image
from gen_jax.experiment import Data, Evaluate, Experiment
from gen_jax.optimizer import Adam, WarmupCosine

STEPS = 3000


def experiment() -> Experiment:
    """Validation is on 1,000 of the last 5,000 training images."""
    return Experiment(
        model=DiscreteVAE(
            image(32, 32, channels=3),
            latent=9,
            levels=2,
            size=64,
            grid=(8, 8),
            encoder=GridEncoder((32, 64)),
            decoder=GridDecoder((32, 64)),
            mixtures=5,
            draws=2,
        ),
        data=Data("cifar10"),
        optimizer=Adam(WarmupCosine(2e-3, 100, STEPS), clip_norm=1000.0),
        steps=STEPS,
        batch_size=32,
        ema=0.995,
        evaluate=Evaluate(every=1000, batch_size=100, examples=1000, draws=100, validation_draws=5),
    )
