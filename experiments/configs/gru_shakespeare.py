"""GRU on the characters of Tiny Shakespeare: two layers of 128 units; as `lstm_shakespeare.py` except for the cell.

Data: gen-jax data import shakespeare tinyshakespeare.txt --length 50
Command: gen-jax train experiments/configs/gru_shakespeare.py
Hardware: one CPU core, about five minutes
Expected: 2.271 bits/character on test, 2.060 on validation, exact
"""

import dataclasses

import lstm_shakespeare

from gen_jax import GRU, tokens
from gen_jax.experiment import Experiment


def experiment() -> Experiment:
    """Only the cell differs from `lstm_shakespeare.py`."""
    model = GRU(tokens(50, 65), features=128, depth=2, carry=True)
    return dataclasses.replace(lstm_shakespeare.experiment(), model=model)
