"""Discrete VAE on scikit-learn's digits (8x8, 17 levels), trained by VIMCO: 2x2 codes of 64, as VQ-VAE's.

Command: gen-jax train experiments/configs/vimco_digits.py
Hardware: 2 CPU cores, about two minutes
"""

from gen_jax import DiscreteVAE, GridDecoder, GridEncoder, image
from gen_jax.experiment import Data, Evaluate, Experiment
from gen_jax.optimizer import Adam, WarmupCosine

STEPS = 2400


def experiment() -> Experiment:
    """The networks of vq_vae_digits; the best checkpoint by validation guards against overfitting."""
    return Experiment(
        model=DiscreteVAE(
            image(8, 8, levels=17),
            latent=1,
            levels=64,
            size=16,
            grid=(2, 2),
            encoder=GridEncoder((32, 64), hidden=32),
            decoder=GridDecoder((32, 64), hidden=32),
            mixtures=5,
            draws=5,
        ),
        data=Data("digits"),
        optimizer=Adam(WarmupCosine(1e-3, 50, STEPS), clip_norm=10.0),
        steps=STEPS,
        batch_size=32,
        ema=0.99,
        evaluate=Evaluate(every=200, batch_size=360, draws=1000, validation_draws=20),
    )
