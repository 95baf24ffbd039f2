"""First-order Markov chain over raster order on scikit-learn's digits: a baseline.

Command: gen-jax train experiments/configs/markov_digits.py
Hardware: 2 CPU cores, seconds
"""

from gen_jax import Markov, image
from gen_jax.experiment import Data, Evaluate, Experiment

STEPS = 13


def experiment() -> Experiment:
    """Exactly one epoch (1,079 = 13 x 83), so that every image is counted once."""
    return Experiment(
        model=Markov(image(8, 8, levels=17)),
        data=Data("digits"),
        steps=STEPS,
        batch_size=83,
        evaluate=Evaluate(every=STEPS, batch_size=500),
    )
