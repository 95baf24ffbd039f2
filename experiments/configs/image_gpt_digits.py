"""Image GPT on scikit-learn's digits (8x8), the 17 grey levels as tokens.

Command: gen-jax train experiments/configs/image_gpt_digits.py
Hardware: 2 CPU cores, about three minutes
Expected: 1.939 bits/dim on test, exact (mean of three seeds)
"""

from gen_jax import ImageGPT, image
from gen_jax.experiment import Data, Evaluate, Experiment
from gen_jax.optimizer import Adam, WarmupCosine

STEPS = 1500


def experiment() -> Experiment:
    """Six blocks of 96 features; dropout against overfitting 1,079 images."""
    return Experiment(
        model=ImageGPT(image(8, 8, levels=17), layers=6, features=96, heads=4, dropout=0.3),
        data=Data("digits"),
        optimizer=Adam(WarmupCosine(2e-3, 100, STEPS), b2=0.95, clip_norm=1.0),
        steps=STEPS,
        batch_size=16,
        ema=0.99,
        evaluate=Evaluate(every=100, batch_size=360),
    )
