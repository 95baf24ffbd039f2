"""NADE on dna (180 binary values, splice junctions), split 1600/400/1186.

Command: gen-jax data import dna dna.npz; gen-jax train experiments/configs/nade_dna.py
Hardware: 2 CPU cores, about a minute
Expected: 82.19 nats on test, exact
"""

from gen_jax import NADE, binary
from gen_jax.experiment import Data, Evaluate, Experiment
from gen_jax.train.optimizer import Adam, WarmupCosine

STEPS = 1000


def experiment() -> Experiment:
    """Raster order, which suits dna's codes of three bits a base; best checkpoint by validation."""
    return Experiment(
        model=NADE(binary(180), hidden=500),
        data=Data("dna"),
        optimizer=Adam(WarmupCosine(3e-3, 50, STEPS)),
        steps=STEPS,
        batch_size=100,
        ema=0.99,
        evaluate=Evaluate(every=50, batch_size=600),
    )
