"""VDVAE on scikit-learn's digits (8x8, 17 levels): eight groups of latents at resolutions 1 to 8.

Command: gen-jax train experiments/configs/vd_vae_digits.py
Hardware: 1 CPU core, about ten minutes
Expected: <= 1.75 bits/dim on test, a bound with 100 draws; independent pixels need 2.41
"""

from gen_jax import VDVAE, image
from gen_jax.experiment import Data, Evaluate, Experiment
from gen_jax.optimizer import Adam, WarmupCosine

STEPS = 4000


def experiment() -> Experiment:
    """The best checkpoint by validation guards against overfitting; the rule for skipped steps is the paper's."""
    return Experiment(
        model=VDVAE(
            image(8, 8, levels=17),
            encoder="8x2,8d2,4x2,4d4,1x1",
            decoder="1x1,4m1,4x2,8m4,8x3",
            width=96,
            latent=4,
            bottleneck=0.5,
            mixtures=5,
        ),
        data=Data("digits"),
        optimizer=Adam(
            WarmupCosine(1e-3, 100, STEPS), b1=0.9, b2=0.9, weight_decay=0.01, clip_norm=200.0
        ),
        steps=STEPS,
        batch_size=8,
        ema=0.995,
        skip_above=400.0,
        evaluate=Evaluate(every=500, batch_size=360, draws=100, validation_draws=5),
    )
