"""MADE under 16 masks on nltcs (16 binary values, the National Long Term Care Survey), split 16181/2157/3236.

Command: gen-jax data import nltcs nltcs.npz; gen-jax train experiments/configs/made_nltcs.py
Hardware: 2 CPU cores, about a minute
Expected: 5.99 nats on test, exact
"""

from gen_jax import MADEEnsemble, binary
from gen_jax.experiment import Data, Evaluate, Experiment
from gen_jax.train.optimizer import Adam, WarmupCosine

STEPS = 4000


def experiment() -> Experiment:
    """Each batch under one mask; best checkpoint by validation."""
    return Experiment(
        model=MADEEnsemble(binary(16), hidden=(500,), num_masks=16),
        data=Data("nltcs"),
        optimizer=Adam(WarmupCosine(1e-2, 50, STEPS)),
        steps=STEPS,
        batch_size=100,
        ema=0.99,
        evaluate=Evaluate(every=100, batch_size=500),
    )
