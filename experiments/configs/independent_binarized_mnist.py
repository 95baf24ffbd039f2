"""Independent pixels on fixed-binarised MNIST: the baseline.

Command: gen-jax train experiments/configs/independent_binarized_mnist.py
Hardware: 2 CPU cores, seconds
"""

from gen_jax import Independent, image
from gen_jax.experiment import Data, Evaluate, Experiment

STEPS = 100


def experiment() -> Experiment:
    """Exactly one epoch (50,000 = 100 x 500), so that every image is counted once."""
    return Experiment(
        model=Independent(image(28, 28, levels=2)),
        data=Data("binarized_mnist"),
        steps=STEPS,
        batch_size=500,
        evaluate=Evaluate(every=STEPS, batch_size=500),
    )
