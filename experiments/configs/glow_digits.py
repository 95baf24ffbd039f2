"""Glow on scikit-learn's digits (8x8, 17 levels), with variational dequantisation.

Command: gen-jax train experiments/configs/glow_digits.py
Hardware: 1 CPU core, about two minutes
Expected: <= 1.87 bits/dim on test, a bound with 100 draws; independent pixels need 2.41
"""

from gen_jax import Glow, VariationalDequantizer, image
from gen_jax.experiment import Data, Evaluate, Experiment
from gen_jax.optimizer import Adam, WarmupCosine

STEPS = 500


def experiment() -> Experiment:
    """Two scales of 16 steps, of the logits of dequantised values; weight decay against overfitting 1,079 images."""
    noise = VariationalDequantizer(
        features=32, blocks=1, components=4, couplings=2, context=16, dropout=0.2
    )
    return Experiment(
        model=Glow(
            image(8, 8, levels=17), scales=2, depth=16, width=64, alpha=0.05, dequantizer=noise
        ),
        data=Data("digits"),
        optimizer=Adam(
            WarmupCosine(4e-3, 100, STEPS), clip_norm=10.0, weight_decay=1.0, decay="matrices"
        ),
        steps=STEPS,
        batch_size=64,
        ema=0.99,
        evaluate=Evaluate(every=100, batch_size=360, draws=100, validation_draws=5),
    )
