"""Independent pixels on MNIST (28x28 grey, 256 levels): the baseline.

Command: gen-jax train experiments/configs/independent_mnist.py
Hardware: 2 CPU cores, seconds
"""

from gen_jax import Independent, image
from gen_jax.experiment import Data, Evaluate, Experiment

STEPS = 100


def experiment() -> Experiment:
    """Exactly one epoch (50,000 = STEPS x 500), so that every image is counted once."""
    return Experiment(
        model=Independent(image(28, 28)),
        data=Data("mnist"),
        steps=STEPS,
        batch_size=500,
        evaluate=Evaluate(every=STEPS, batch_size=500),
    )
