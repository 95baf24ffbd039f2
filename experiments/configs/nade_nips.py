"""NADE on nips (500 binary values, words of 400 articles), split 400/100/1240.

Command: gen-jax data import nips nips.npz; gen-jax train experiments/configs/nade_nips.py
Hardware: 2 CPU cores, about half a minute
Published: 273.08 nats (Germain et al. 2015, 1502.03509, table 4)
Expected: 272.98 nats on test, exact

Optimiser, budget and averaged weights are ours.
"""

from gen_jax import NADE, binary
from gen_jax.experiment import Data, Evaluate, Experiment
from gen_jax.train.optimizer import Adam, WarmupCosine

STEPS = 600


def experiment() -> Experiment:
    """A random order and small batches; overfits after a dozen epochs, so the best checkpoint by validation counts."""
    return Experiment(
        model=NADE(binary(500), hidden=500, order_seed=0),
        data=Data("nips"),
        optimizer=Adam(WarmupCosine(3e-3, 50, STEPS)),
        steps=STEPS,
        batch_size=20,
        ema=0.99,
        evaluate=Evaluate(every=20, batch_size=100),
    )
