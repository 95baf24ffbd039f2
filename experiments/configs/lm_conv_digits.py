"""LMConv on scikit-learn's digits (8x8, 17 levels).

Command: gen-jax train experiments/configs/lm_conv_digits.py
Hardware: 2 CPU cores, about four minutes
Expected: 1.846 bits/dim on test in one order, exact (mean of three seeds)
"""

from gen_jax import LMConv, image
from gen_jax.experiment import Data, Evaluate, Experiment
from gen_jax.optimizer import Adam, WarmupCosine

STEPS = 1800


def experiment() -> Experiment:
    """One residual network a stage, 48 features, ten mixtures, one of eight S-curves a step."""
    return Experiment(
        model=LMConv(image(8, 8, levels=17), features=48, resnets=1),
        data=Data("digits"),
        optimizer=Adam(WarmupCosine(3e-3, 50, STEPS), b2=0.99, clip_norm=1.0),
        steps=STEPS,
        batch_size=16,
        ema=0.99,
        evaluate=Evaluate(every=100, batch_size=360),
    )
