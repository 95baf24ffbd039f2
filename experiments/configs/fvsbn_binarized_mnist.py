"""Fully visible sigmoid belief net on fixed-binarised MNIST.

Command: gen-jax train experiments/configs/fvsbn_binarized_mnist.py
Hardware: 2 CPU cores, about half a minute
"""

from gen_jax import FVSBN, image
from gen_jax.experiment import Data, Evaluate, Experiment
from gen_jax.optimizer import Adam, WarmupCosine

STEPS = 6000


def experiment() -> Experiment:
    """Twelve epochs are enough, since the problem is convex."""
    return Experiment(
        model=FVSBN(image(28, 28, levels=2)),
        data=Data("binarized_mnist"),
        optimizer=Adam(WarmupCosine(5e-3, 100, STEPS)),
        steps=STEPS,
        batch_size=100,
        evaluate=Evaluate(every=500, batch_size=500),
    )
