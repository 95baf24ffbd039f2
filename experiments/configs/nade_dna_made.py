"""NADE on dna (180 binary values), split 1400/600/1186 as in the papers of NADE and MADE.

Command: gen-jax data import dna_made dna_made.npz; gen-jax train experiments/configs/nade_dna_made.py
Hardware: 2 CPU cores, about half a minute
Published: 84.81 nats (Germain et al. 2015, 1502.03509, table 4)
Expected: 82.87 nats on test, exact

Optimiser, budget and averaged weights are ours.
"""

from gen_jax import NADE, binary
from gen_jax.experiment import Data, Evaluate, Experiment
from gen_jax.train.optimizer import Adam, WarmupCosine

STEPS = 1000


def experiment() -> Experiment:
    """Raster order, which suits dna's codes of three bits a base; best checkpoint by validation."""
    return Experiment(
        model=NADE(binary(180), hidden=500),
        data=Data("dna_made"),
        optimizer=Adam(WarmupCosine(3e-3, 50, STEPS)),
        steps=STEPS,
        batch_size=100,
        ema=0.99,
        evaluate=Evaluate(every=50, batch_size=600),
    )
