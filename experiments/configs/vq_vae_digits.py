"""VQ-VAE on scikit-learn's digits (8x8, 17 levels): 2x2 codes of 64.

Command: gen-jax train experiments/configs/vq_vae_digits.py
Hardware: 2 CPU cores, about a minute
Expected: <= 2.15 bits/dim on test, a bound with a uniform prior of the codes; measured 2.113
"""

from gen_jax import VQVAE, image
from gen_jax.experiment import Data, Evaluate, Experiment
from gen_jax.optimizer import Adam, WarmupCosine

STEPS = 1200


def experiment() -> Experiment:
    """Only 1,079 images: small networks, a fast moving average of the codes, best checkpoint by validation."""
    return Experiment(
        model=VQVAE(
            image(8, 8, levels=17),
            strided=(32, 64),
            residual=32,
            codes=64,
            size=16,
            mixtures=5,
            decay=0.95,
            restart=0.1,
        ),
        data=Data("digits"),
        optimizer=Adam(WarmupCosine(2e-3, 50, STEPS), clip_norm=1.0),
        steps=STEPS,
        batch_size=64,
        ema=0.98,
        evaluate=Evaluate(every=100, batch_size=360),
    )
