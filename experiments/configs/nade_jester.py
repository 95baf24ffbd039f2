"""NADE on jester (100 binary values, binarised ratings of jokes), split 9000/1000/4116.

Command: gen-jax data import jester jester.npz; gen-jax train experiments/configs/nade_jester.py
Hardware: 2 CPU cores, about a minute
Expected: 51.57 nats on test, exact
"""

from gen_jax import NADE, binary
from gen_jax.experiment import Data, Evaluate, Experiment
from gen_jax.train.optimizer import Adam, WarmupCosine

STEPS = 3000


def experiment() -> Experiment:
    """300 hidden units; best checkpoint by validation."""
    return Experiment(
        model=NADE(binary(100), hidden=300),
        data=Data("jester"),
        optimizer=Adam(WarmupCosine(3e-3, 50, STEPS)),
        steps=STEPS,
        batch_size=100,
        ema=0.99,
        evaluate=Evaluate(every=100, batch_size=500),
    )
