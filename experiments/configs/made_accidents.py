"""MADE under 16 masks on accidents (111 binary values, traffic accidents), split 12758/1700/2551.

Command: gen-jax data import accidents accidents.npz; gen-jax train experiments/configs/made_accidents.py
Hardware: 2 CPU cores, about a minute
Expected: 26.60 nats on test, exact
"""

from gen_jax import MADEEnsemble, binary
from gen_jax.experiment import Data, Evaluate, Experiment
from gen_jax.train.optimizer import Adam, WarmupCosine

STEPS = 4000


def experiment() -> Experiment:
    """Each batch under one mask; best checkpoint by validation."""
    return Experiment(
        model=MADEEnsemble(binary(111), hidden=(500,), num_masks=16),
        data=Data("accidents"),
        optimizer=Adam(WarmupCosine(1e-2, 50, STEPS)),
        steps=STEPS,
        batch_size=100,
        ema=0.99,
        evaluate=Evaluate(every=100, batch_size=500),
    )
