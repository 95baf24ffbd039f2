"""MADE under 16 masks on nips (500 binary values, words of 400 articles), split 400/100/1240.

Command: gen-jax data import nips nips.npz; gen-jax train experiments/configs/made_nips.py
Hardware: 2 CPU cores, about half a minute
Published: 277.28 nats, MADE with mask sampling; 280.25 with one mask (Germain et al. 2015, 1502.03509, table 4)
Expected: 276.38 nats on test, exact

Optimiser, budget and averaged weights are ours.
"""

from gen_jax import MADEEnsemble, binary
from gen_jax.experiment import Data, Evaluate, Experiment
from gen_jax.train.optimizer import Adam, WarmupCosine

STEPS = 600


def experiment() -> Experiment:
    """400 examples are few: strong weight decay, 16 masks, best checkpoint by validation."""
    return Experiment(
        model=MADEEnsemble(binary(500), hidden=(500,), num_masks=16),
        data=Data("nips"),
        optimizer=Adam(WarmupCosine(3e-3, 50, STEPS), weight_decay=3.0),
        steps=STEPS,
        batch_size=100,
        ema=0.99,
        evaluate=Evaluate(every=25, batch_size=100),
    )
