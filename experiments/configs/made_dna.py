"""MADE under 64 masks on dna (180 binary values, splice junctions), split 1600/400/1186.

Command: gen-jax data import dna dna.npz; gen-jax train experiments/configs/made_dna.py
Hardware: 2 CPU cores, about a minute
Expected: 78.07 nats on test, exact
"""

from gen_jax import MADEEnsemble, binary
from gen_jax.experiment import Data, Evaluate, Experiment
from gen_jax.train.optimizer import Adam, WarmupCosine

STEPS = 4200


def experiment() -> Experiment:
    """300 epochs; the masks guard against overfitting, and so does the best checkpoint by validation."""
    return Experiment(
        model=MADEEnsemble(binary(180), hidden=(500,), num_masks=64),
        data=Data("dna"),
        optimizer=Adam(WarmupCosine(2e-2, 50, STEPS)),
        steps=STEPS,
        batch_size=100,
        ema=0.99,
        evaluate=Evaluate(every=200, batch_size=400),
    )
