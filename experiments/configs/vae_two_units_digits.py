"""VAE on scikit-learn's digits (8x8, 17 levels) with two latent units, whose plane the report shows.

Command: gen-jax train experiments/configs/vae_two_units_digits.py
Hardware: 2 CPU cores, about two minutes
"""

from gen_jax import VAE, image
from gen_jax.experiment import Data, Evaluate, Experiment
from gen_jax.nn.encoders import ConvDecoder, ConvEncoder
from gen_jax.optimizer import Adam, WarmupCosine

STEPS = 1600


def experiment() -> Experiment:
    """With only 1,079 images, the best checkpoint by validation guards against overfitting."""
    return Experiment(
        model=VAE(
            image(8, 8, levels=17),
            latent=2,
            encoder=ConvEncoder((32, 64)),
            decoder=ConvDecoder((64, 32)),
            mixtures=5,
        ),
        data=Data("digits"),
        optimizer=Adam(WarmupCosine(3e-3, 50, STEPS)),
        steps=STEPS,
        batch_size=32,
        ema=0.99,
        evaluate=Evaluate(every=100, batch_size=360, draws=1000, validation_draws=20),
    )
