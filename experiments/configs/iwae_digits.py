"""IWAE with 50 draws on scikit-learn's digits (8x8, 17 levels): dense, 16 latent units, mixture of logistics per pixel.

Command: gen-jax train experiments/configs/iwae_digits.py
Hardware: 2 CPU cores, about two minutes
"""

from gen_jax import IWAE, image
from gen_jax.experiment import Data, Evaluate, Experiment
from gen_jax.nn.encoders import DenseDecoder, DenseEncoder
from gen_jax.optimizer import Adam, WarmupCosine

STEPS = 4000


def experiment() -> Experiment:
    """The best checkpoint by validation guards against overfitting."""
    return Experiment(
        model=IWAE(
            image(8, 8, levels=17),
            latent=16,
            encoder=DenseEncoder((200, 200)),
            decoder=DenseDecoder((200, 200)),
            mixtures=5,
        ),
        data=Data("digits"),
        optimizer=Adam(WarmupCosine(1e-3, 50, STEPS)),
        steps=STEPS,
        batch_size=32,
        ema=0.99,
        evaluate=Evaluate(every=200, batch_size=360, draws=1000, validation_draws=20),
    )
