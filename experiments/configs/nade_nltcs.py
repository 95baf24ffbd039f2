"""NADE on nltcs (16 binary values, the National Long Term Care Survey), split 16181/2157/3236.

Command: gen-jax data import nltcs nltcs.npz; gen-jax train experiments/configs/nade_nltcs.py
Hardware: 2 CPU cores, about a minute
Expected: 6.02 nats on test, exact
"""

from gen_jax import NADE, binary
from gen_jax.experiment import Data, Evaluate, Experiment
from gen_jax.train.optimizer import Adam, WarmupCosine

STEPS = 3000


def experiment() -> Experiment:
    """100 hidden units; best checkpoint by validation."""
    return Experiment(
        model=NADE(binary(16), hidden=100),
        data=Data("nltcs"),
        optimizer=Adam(WarmupCosine(3e-3, 50, STEPS)),
        steps=STEPS,
        batch_size=100,
        ema=0.99,
        evaluate=Evaluate(every=100, batch_size=500),
    )
