"""First-order Markov chain over raster order on fixed-binarised MNIST: a baseline.

Command: gen-jax train experiments/configs/markov_binarized_mnist.py
Hardware: 2 CPU cores, seconds
"""

from gen_jax import Markov, image
from gen_jax.experiment import Data, Evaluate, Experiment

STEPS = 100


def experiment() -> Experiment:
    """Exactly one epoch (50,000 = 100 x 500), so that every image is counted once."""
    return Experiment(
        model=Markov(image(28, 28, levels=2)),
        data=Data("binarized_mnist"),
        steps=STEPS,
        batch_size=500,
        evaluate=Evaluate(every=STEPS, batch_size=500),
    )
