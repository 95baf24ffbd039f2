"""Glow on CIFAR-10 (32x32 colour, 256 levels), small enough for a CPU.

Command: gen-jax train experiments/configs/glow_cifar10_small.py
Hardware: 2 CPU cores, about half an hour
Published: 3.35 bits/dim on test (Kingma and Dhariwal 2018, 1807.03039), a far larger network and budget
Expected: <= 3.82 bits/dim on validation, a bound of 10 draws
"""

from gen_jax import Glow, Translation, image
from gen_jax.experiment import Data, Evaluate, Experiment
from gen_jax.optimizer import Adam, WarmupCosine

STEPS = 4000


def experiment() -> Experiment:
    """Three scales of eight steps with narrow networks; translations as in the authors' code."""
    return Experiment(
        model=Glow(image(32, 32, channels=3), scales=3, depth=8, width=96, coupling="bounded"),
        data=Data("cifar10"),
        optimizer=Adam(WarmupCosine(1e-3, 200, STEPS), clip_norm=10.0),
        steps=STEPS,
        batch_size=32,
        init_examples=256,
        augment=(Translation(3),),
        ema=0.99,
        evaluate=Evaluate(every=1000, batch_size=100, examples=1000),
    )
