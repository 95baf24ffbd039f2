"""Independent pixels on CIFAR-10 (32x32 colour, 256 levels): the baseline.

Command: gen-jax train experiments/configs/independent_cifar10.py
Hardware: 2 CPU cores, seconds
"""

from gen_jax import Independent, image
from gen_jax.experiment import Data, Evaluate, Experiment

STEPS = 90


def experiment() -> Experiment:
    """Exactly one epoch (45,000 = STEPS x 500), so that every image is counted once."""
    return Experiment(
        model=Independent(image(32, 32, channels=3)),
        data=Data("cifar10"),
        steps=STEPS,
        batch_size=500,
        evaluate=Evaluate(every=STEPS, batch_size=500),
    )
