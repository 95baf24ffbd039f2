"""NADE on mushrooms (112 binary values), split 2000/500/5624.

Command: gen-jax data import mushrooms mushrooms.npz; gen-jax train experiments/configs/nade_mushrooms.py
Hardware: 2 CPU cores, about half a minute
Published: 9.81 nats (Germain et al. 2015, 1502.03509, table 4)
Expected: 9.73 nats on test, exact

Optimiser, budget and averaged weights are ours.
"""

from gen_jax import NADE, binary
from gen_jax.experiment import Data, Evaluate, Experiment
from gen_jax.train.optimizer import Adam, WarmupCosine

STEPS = 1500


def experiment() -> Experiment:
    """75 epochs in raster order; best checkpoint by validation."""
    return Experiment(
        model=NADE(binary(112), hidden=500),
        data=Data("mushrooms"),
        optimizer=Adam(WarmupCosine(1e-2, 50, STEPS)),
        steps=STEPS,
        batch_size=100,
        ema=0.99,
        evaluate=Evaluate(every=50, batch_size=500),
    )
