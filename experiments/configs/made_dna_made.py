"""MADE under 64 masks on dna (180 binary values), split 1400/600/1186 as in the papers of NADE and MADE.

Command: gen-jax data import dna_made dna_made.npz; gen-jax train experiments/configs/made_dna_made.py
Hardware: 2 CPU cores, about a minute
Published: 79.66 nats, MADE with mask sampling; 83.63 with one mask (Germain et al. 2015, 1502.03509, table 4)
Expected: 79.02 nats on test, exact

Optimiser, budget and averaged weights are ours.
"""

from gen_jax import MADEEnsemble, binary
from gen_jax.experiment import Data, Evaluate, Experiment
from gen_jax.train.optimizer import Adam, WarmupCosine

STEPS = 4200


def experiment() -> Experiment:
    """300 epochs; the masks guard against overfitting, and so does the best checkpoint by validation."""
    return Experiment(
        model=MADEEnsemble(binary(180), hidden=(500,), num_masks=64),
        data=Data("dna_made"),
        optimizer=Adam(WarmupCosine(2e-2, 50, STEPS)),
        steps=STEPS,
        batch_size=100,
        ema=0.99,
        evaluate=Evaluate(every=200, batch_size=600),
    )
