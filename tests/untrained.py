"""Runs of models that nobody has trained: their weights are seeded noise."""

from typing import Any

import jax
from cases import build

from gen_jax.data.prepared import Data
from gen_jax.experiment import Experiment
from gen_jax.runs.run import Trained
from gen_jax.sharding import device_mesh


def run_of(model: Any) -> Trained:
    """A run with the variables of `build`."""
    pure, variables = build(model)
    experiment = Experiment(model=model, data=Data("some"), steps=1, batch_size=8)
    return Trained(experiment, pure, variables, 0, device_mesh(jax.device_count()))
