"""NADE on bnetflix (100 binary values, binarised film ratings), split 15000/2000/3000.

Command: gen-jax data import bnetflix bnetflix.npz; gen-jax train experiments/configs/nade_bnetflix.py
Hardware: 2 CPU cores, about a minute
Expected: 54.76 nats on test, exact
"""

from gen_jax import NADE, binary
from gen_jax.experiment import Data, Evaluate, Experiment
from gen_jax.train.optimizer import Adam, WarmupCosine

STEPS = 3000


def experiment() -> Experiment:
    """300 hidden units; best checkpoint by validation."""
    return Experiment(
        model=NADE(binary(100), hidden=300),
        data=Data("bnetflix"),
        optimizer=Adam(WarmupCosine(3e-3, 50, STEPS)),
        steps=STEPS,
        batch_size=100,
        ema=0.99,
        evaluate=Evaluate(every=100, batch_size=500),
    )
