"""NADE on accidents (111 binary values, traffic accidents), split 12758/1700/2551.

Command: gen-jax data import accidents accidents.npz; gen-jax train experiments/configs/nade_accidents.py
Hardware: 2 CPU cores, about a minute
Expected: 27.06 nats on test, exact
"""

from gen_jax import NADE, binary
from gen_jax.experiment import Data, Evaluate, Experiment
from gen_jax.train.optimizer import Adam, WarmupCosine

STEPS = 3000


def experiment() -> Experiment:
    """300 hidden units; best checkpoint by validation."""
    return Experiment(
        model=NADE(binary(111), hidden=300),
        data=Data("accidents"),
        optimizer=Adam(WarmupCosine(3e-3, 50, STEPS)),
        steps=STEPS,
        batch_size=100,
        ema=0.99,
        evaluate=Evaluate(every=100, batch_size=500),
    )
