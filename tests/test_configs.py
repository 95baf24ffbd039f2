"""The configs of experiments/configs: each builds its model under the name it has."""

import re

import jax
import jax.numpy as jnp
from cases import labels

from gen_jax import functional
from gen_jax.density import num_parameters
from gen_jax.evaluate.catalogue import CONFIGS, docstring
from gen_jax.experiment import load_config
from gen_jax.train import first_stage


def test_every_config_builds_its_model():
    """Each file of experiments/configs returns an experiment whose model initialises at its data's size."""
    paths = sorted(CONFIGS.glob("*.py"))
    assert paths
    for path in paths:
        experiment = load_config(path)
        assert path.stem.removesuffix("_small") == f"{experiment.system}_{experiment.data.name}"
        event, cond = experiment.model.event, labels(experiment.model, 2)
        x = jnp.zeros((2, *event.shape), float if event.levels is None else jnp.int32)
        shapes = jax.eval_shape(functional(experiment.model).init, jax.random.key(0), x, cond)
        if experiment.first_stage is None:
            assert first_stage.load(experiment) is None  # nothing is asked for
        count = num_parameters(experiment.model, shapes)
        assert count > 0
        stated = re.findall(r"([\d,]+) parameters", "\n".join(docstring(path)))
        assert stated in ([], [f"{count:,}"]), path
