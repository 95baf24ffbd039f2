"""LMConv for completions of any part, on fixed-binarised MNIST (28x28, 2 levels).

Command: gen-jax train experiments/configs/lm_conv_any_order_binarized_mnist.py
Hardware: 2 CPU cores, about 15 minutes
Expected: a few nats above `lm_conv_binarized_mnist` in one order, exact; not run yet
"""

from lm_conv_any_order_digits import with_any_order
from lm_conv_binarized_mnist import experiment as on_curves

from gen_jax.experiment import Experiment


def experiment() -> Experiment:
    """One of 24 orders a step, as for digits."""
    return with_any_order(on_curves())
