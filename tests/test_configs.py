"""The configs of experiments/configs: each builds its model under the name it has."""

import re
import runpy

import jax
import jax.numpy as jnp
import pytest
from cases import conditions

from gen_jax import functional
from gen_jax.density import num_parameters
from gen_jax.experiment import config_name, load_config
from gen_jax.included import config_paths, docstring
from gen_jax.train import first_stage


def test_there_is_a_config_for_each_system_and_more():
    assert len(config_paths()) > 60


@pytest.mark.parametrize("path", config_paths().values(), ids=config_paths())
def test_a_config_builds_its_model(path):
    """It is an experiment whose model initialises at its data's size, with the number of parameters that it states."""
    experiment = load_config(path)
    file, name = config_name(path)
    kinds = "_any_order|_two_units|_uniform|_wasserstein"
    own = f"{experiment.system}({kinds})?_{experiment.data.name}(_small)?"
    assert re.fullmatch(own, name or file.stem)
    event, cond = experiment.model.event, conditions(experiment.model, 2)
    x = jnp.zeros((2, *event.shape), float if event.levels is None else jnp.int32)
    shapes = jax.eval_shape(functional(experiment.model).init, jax.random.key(0), x, cond)
    if experiment.first_stage is None:
        assert first_stage.load(experiment) is None  # nothing is asked for
    count = num_parameters(experiment.model, shapes)
    assert count > 0
    stated = re.findall(r"([\d,]+) parameters", "\n".join(docstring(file)))
    assert stated in ([], [f"{count:,}"])


def test_a_file_of_several_experiments_describes_each():
    """Names missing from the docstring would be missing from `gen-jax list`; names without a config would not load."""
    pairs = [config_name(path) for path in config_paths().values()]
    for file in {file for file, _ in pairs}:
        named = {name for other, name in pairs if other == file}
        if named != {""}:
            experiments = runpy.run_path(str(file), run_name=file.stem)["experiments"]
            assert {*experiments()} == named
