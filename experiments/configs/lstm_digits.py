"""LSTM on scikit-learn's digits (8x8, 17 levels), pixels in raster order.

Command: gen-jax train experiments/configs/lstm_digits.py
Hardware: 2 CPU cores
Expected: about 1.88 bits/dim on test, exact
"""

from gen_jax import LSTM, image
from gen_jax.experiment import Data, Evaluate, Experiment
from gen_jax.optimizer import Adam, WarmupCosine

STEPS = 1800


def experiment() -> Experiment:
    """One layer of LSTM cells."""
    return Experiment(
        model=LSTM(image(8, 8, levels=17), features=128, depth=1, dropout=0.3),
        data=Data("digits"),
        optimizer=Adam(WarmupCosine(3e-3, 50, STEPS), clip_norm=1.0),
        steps=STEPS,
        batch_size=16,
        ema=0.99,
        evaluate=Evaluate(every=100, batch_size=360),
    )
