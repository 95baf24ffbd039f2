"""NADE on fixed-binarised MNIST (28x28, 2 levels), in a fixed random order.

Command: gen-jax train experiments/configs/nade_binarized_mnist.py
Hardware: one CPU core, 24 minutes
Published: 88.33 nats, NADE with 500 hidden units (Larochelle and Murray 2011; table of Uria et al. 2016, 1605.02226)
Expected: 87.91 nats on test, exact

Optimiser, budget and averaged weights are ours.
"""

from gen_jax import NADE, image
from gen_jax.experiment import Data, Evaluate, Experiment
from gen_jax.optimizer import Adam, WarmupCosine

STEPS = 15_000


def experiment() -> Experiment:
    """500 hidden units, 30 epochs; without weight decay it overfits after eight, at 90.1 nats on validation."""
    return Experiment(
        model=NADE(image(28, 28, levels=2), hidden=500, order_seed=0),
        data=Data("binarized_mnist"),
        optimizer=Adam(WarmupCosine(1e-2, 100, STEPS), weight_decay=0.1),
        steps=STEPS,
        batch_size=100,
        evaluate=Evaluate(every=1000, batch_size=500, examples=2000),
    )
