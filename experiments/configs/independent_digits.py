"""Independent pixels on scikit-learn's digits: the baseline.

Command: gen-jax train experiments/configs/independent_digits.py
Hardware: 2 CPU cores, seconds
"""

from gen_jax import Independent, image
from gen_jax.experiment import Data, Evaluate, Experiment

STEPS = 13


def experiment() -> Experiment:
    """Exactly one epoch (1,079 = 13 x 83), so that every image is counted once."""
    return Experiment(
        model=Independent(image(8, 8, levels=17)),
        data=Data("digits"),
        steps=STEPS,
        batch_size=83,
        evaluate=Evaluate(every=STEPS, batch_size=500),
    )
