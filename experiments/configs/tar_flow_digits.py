"""TarFlow on scikit-learn's digits (8x8, 17 levels), with variational dequantisation.

Command: gen-jax train experiments/configs/tar_flow_digits.py
Hardware: one CPU core, about ten minutes
Expected: <= 1.86 bits/dim on test, a bound with 100 draws; independent pixels need 2.41
"""

from gen_jax import TarFlow, VariationalDequantizer, image
from gen_jax.experiment import Data, Evaluate, Experiment
from gen_jax.optimizer import Adam, WarmupCosine

STEPS = 2200


def experiment() -> Experiment:
    """Eight maps of the logits of 2x2 patches, two layers in each; dropout against overfitting 1,079 images."""
    noise = VariationalDequantizer(
        features=32, blocks=1, components=4, couplings=2, context=16, dropout=0.2
    )
    return Experiment(
        model=TarFlow(
            image(8, 8, levels=17),
            blocks=8,
            layers=2,
            features=64,
            heads=4,
            alpha=0.05,
            dropout=0.25,
            dequantizer=noise,
        ),
        data=Data("digits"),
        optimizer=Adam(WarmupCosine(4e-3, 100, STEPS), b2=0.95, clip_norm=1.0),
        steps=STEPS,
        batch_size=32,
        ema=0.99,
        evaluate=Evaluate(every=200, batch_size=360, draws=100, validation_draws=5),
    )
