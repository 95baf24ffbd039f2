"""Autoencoder on scikit-learn's digits (8x8, 17 levels): dense, a code of 16 numbers; squared error, no likelihood.

Command: gen-jax train experiments/configs/autoencoder_digits.py
Hardware: 2 CPU cores, about a minute
"""

from gen_jax import Autoencoder, image
from gen_jax.experiment import Data, Evaluate, Experiment
from gen_jax.nn.encoders import DenseDecoder, DenseEncoder
from gen_jax.optimizer import Adam, WarmupCosine

STEPS = 4000


def experiment() -> Experiment:
    """Validation logs the squared error per image and per pixel, for values in [0, 1]."""
    return Experiment(
        model=Autoencoder(
            image(8, 8, levels=17),
            latent=16,
            encoder=DenseEncoder((200, 200)),
            decoder=DenseDecoder((200, 200)),
        ),
        data=Data("digits"),
        optimizer=Adam(WarmupCosine(1e-3, 50, STEPS)),
        steps=STEPS,
        batch_size=32,
        ema=0.99,
        evaluate=Evaluate(every=500, batch_size=360),
    )
