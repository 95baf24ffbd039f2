"""VQ-VAE-2 on scikit-learn's digits (8x8, 17 levels): 2x2 top codes and 4x4 bottom codes, each of 16.

Command: gen-jax train experiments/configs/vq_vae_2_digits.py
Hardware: 2 CPU cores, about a minute
Expected: <= 2.606 bits/dim on test, a bound
"""

from gen_jax import VQVAE2, image
from gen_jax.experiment import Data, Evaluate, Experiment
from gen_jax.optimizer import Adam, WarmupCosine

STEPS = 1200


def experiment() -> Experiment:
    """As vq_vae_digits, with the codes in two grids."""
    return Experiment(
        model=VQVAE2(
            image(8, 8, levels=17),
            strided=(32,),
            top=(64,),
            residual=32,
            codes=16,
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
