"""NADE on pumsb_star (163 binary values, census), split 12262/1635/2452.

Command: gen-jax data import pumsb_star pumsb_star.npz; gen-jax train experiments/configs/nade_pumsb_star.py
Hardware: 2 CPU cores, about a minute
Expected: 22.40 nats on test, exact
"""

from gen_jax import NADE, binary
from gen_jax.experiment import Data, Evaluate, Experiment
from gen_jax.train.optimizer import Adam, WarmupCosine

STEPS = 3000


def experiment() -> Experiment:
    """300 hidden units; best checkpoint by validation."""
    return Experiment(
        model=NADE(binary(163), hidden=300),
        data=Data("pumsb_star"),
        optimizer=Adam(WarmupCosine(3e-3, 50, STEPS)),
        steps=STEPS,
        batch_size=100,
        ema=0.99,
        evaluate=Evaluate(every=100, batch_size=500),
    )
