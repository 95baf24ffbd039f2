"""Distribution augmentation of the Sparse Transformer on scikit-learn's digits (8x8, 17 levels).

Command: gen-jax train experiments/configs/dist_aug_digits.py
Hardware: 2 CPU cores, about three minutes
Expected: about 1.9 bits/dim on test, exact; `sparse_transformer_digits` is the same network without it
"""

import dataclasses

from sparse_transformer_digits import experiment as without

from gen_jax import DistAug, Rotation, Transposition
from gen_jax.experiment import Experiment


def experiment() -> Experiment:
    """The eight rotations and reflections of a square."""
    plain = without()
    model = DistAug(plain.model.event, plain.model, (Rotation(), Transposition()))
    return dataclasses.replace(plain, model=model)
