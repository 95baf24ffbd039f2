"""GRU on scikit-learn's digits (8x8, 17 levels), pixels in raster order; as `lstm_digits.py` except for the cell.

Command: gen-jax train experiments/configs/gru_digits.py
Hardware: 2 CPU cores
Expected: about 1.90 bits/dim on test, exact
"""

import dataclasses

import lstm_digits

from gen_jax import GRU, image
from gen_jax.experiment import Experiment


def experiment() -> Experiment:
    """One layer of GRU cells."""
    model = GRU(image(8, 8, levels=17), features=128, depth=1, dropout=0.3)
    return dataclasses.replace(lstm_digits.experiment(), model=model)
