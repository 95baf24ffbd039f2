"""MADE under 16 masks on pumsb_star (163 binary values, census), split 12262/1635/2452.

Command: gen-jax data import pumsb_star pumsb_star.npz; gen-jax train experiments/configs/made_pumsb_star.py
Hardware: 2 CPU cores, about a minute
Expected: 21.86 nats on test, exact
"""

from gen_jax import MADEEnsemble, binary
from gen_jax.experiment import Data, Evaluate, Experiment
from gen_jax.train.optimizer import Adam, WarmupCosine

STEPS = 4000


def experiment() -> Experiment:
    """Each batch under one mask; best checkpoint by validation."""
    return Experiment(
        model=MADEEnsemble(binary(163), hidden=(500,), num_masks=16),
        data=Data("pumsb_star"),
        optimizer=Adam(WarmupCosine(1e-2, 50, STEPS)),
        steps=STEPS,
        batch_size=100,
        ema=0.99,
        evaluate=Evaluate(every=100, batch_size=500),
    )
