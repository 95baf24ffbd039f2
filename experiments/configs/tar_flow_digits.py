"""TarFlow on scikit-learn's digits (8x8, 17 levels).

Command: gen-jax train experiments/configs/tar_flow_digits.py
Hardware: one CPU core, about three minutes
Expected: <= 1.99 bits/dim on test, a bound with 100 draws; independent pixels need 2.41
"""

from gen_jax import TarFlow, image
from gen_jax.experiment import Data, Evaluate, Experiment
from gen_jax.optimizer import Adam, WarmupCosine

STEPS = 2000


def experiment() -> Experiment:
    """Four maps of the logits of 2x2 patches, two layers in each; dropout against overfitting 1,079 images."""
    return Experiment(
        model=TarFlow(
            image(8, 8, levels=17),
            blocks=4,
            layers=2,
            features=64,
            heads=4,
            alpha=0.05,
            dropout=0.1,
        ),
        data=Data("digits"),
        optimizer=Adam(WarmupCosine(2e-3, 100, STEPS), b2=0.95, clip_norm=1.0),
        steps=STEPS,
        batch_size=32,
        ema=0.99,
        evaluate=Evaluate(every=200, batch_size=360, draws=100, validation_draws=5),
    )
