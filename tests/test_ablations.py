"""The ablations: every variant says exactly what it changes, and the runner trains each run once."""

import json
import math
import runpy

import jax
import jax.numpy as jnp
import pytest

from gen_jax import InputError, functional
from gen_jax.config_tree import differences, from_tree, to_tree
from gen_jax.data import prepared
from gen_jax.density import num_parameters
from gen_jax.experiment import load_config, replace
from gen_jax.included import CONFIGS, SOURCE
from gen_jax.runs.run import load_run
from gen_jax.runs.workdir import WorkDir
from gen_jax.train import loop, seeds

FOLDER = SOURCE / "experiments" / "ablations"
PROGRAM = runpy.run_path(str(FOLDER / "run.py"), run_name="run")
TABLES = runpy.run_path(str(SOURCE / "experiments" / "tables.py"), run_name="tables")
CHANGES, DATASETS, IN_ZOO = PROGRAM["CHANGES"], PROGRAM["DATASETS"], PROGRAM["IN_ZOO"]
CASES = [(variant, dataset) for variant in CHANGES for dataset in DATASETS]
TINY = ("steps=4", "batch_size=8", "evaluate.every=2", "evaluate.batch_size=64")
TINY += ("evaluate.examples=64", "optimizer.learning_rate.warmup=1")


def test_recorded_rows_are_of_these_variants():
    """They also name the same changes. Those of the zoo's runs are recorded together or not at all."""
    for dataset in DATASETS:
        path = SOURCE / "experiments" / "results" / f"ablations_{dataset}.json"
        rows = json.loads(path.read_text())["rows"]
        recorded = {row["variant"]: row["change"] for row in rows}
        assert recorded in (CHANGES, PROGRAM["changes"](dataset))


@pytest.mark.parametrize(("variant", "dataset"), CASES)
def test_a_config_is_its_base_with_the_stated_change(variant, dataset):
    """Each also initialises at its data's size, survives JSON and takes a seed."""
    path = PROGRAM["config_path"](variant, dataset)
    experiment = load_config(path, ["seed=1"])
    assert (experiment.data.name, experiment.seed) == (dataset, 1)
    assert from_tree(json.loads(json.dumps(to_tree(experiment)))) == experiment
    x = jnp.zeros((2, *experiment.model.event.shape), jnp.int32)
    shapes = jax.eval_shape(functional(experiment.model).init, jax.random.key(0), x)
    assert num_parameters(experiment.model, shapes) > 0

    base = load_config(PROGRAM["config_path"]("pixel_cnn_pp", dataset), ["seed=1"])
    stated = CHANGES[variant]
    if stated == "model":
        [line] = differences(to_tree(base), to_tree(experiment))
        assert line.startswith("model: ")
        assert experiment.system == variant
        return
    for override in stated.split() if stated != "none" else ():
        assert replace(base, override) != base
        base = replace(base, override)
    assert experiment == base


def test_distribution_augmentation_changes_nothing_else():
    plain, augmented = (load_config(PROGRAM["config_path"](name, "digits")) for name in IN_ZOO)
    [line] = differences(to_tree(plain), to_tree(augmented))
    assert line.startswith("model: ")
    assert augmented.model.base == plain.model
    assert [transform.name for transform in augmented.model.transforms] == [
        "rotation",
        "transposition",
    ]


def blocks(model) -> int:
    """Residual networks on the way down and up."""
    return (2 * model.resnets + 1) * model.resolutions - 1


@pytest.mark.parametrize("dataset", DATASETS)
def test_without_strides_there_are_as_many_residual_networks(dataset):
    full, flat = (
        load_config(PROGRAM["config_path"](variant, dataset)).model
        for variant in ("pixel_cnn_pp", "no_strides")
    )
    assert blocks(full) == blocks(flat)


@pytest.mark.slow
def test_the_runner_trains_each_run_once(tmp_path, data_dir, monkeypatch):
    runs, variants = tmp_path / "runs", ("gated_pixel_cnn",)
    out = tmp_path / "results"
    out.mkdir()
    small = [*TINY, "model.depth=1", "model.features=2", "model.head_features=2"]
    monkeypatch.setitem(PROGRAM["ablate"].__globals__, "SEEDS", (0, 1))

    def ablate(overrides):
        return PROGRAM["ablate"]("digits", runs, out, variants, overrides, data_dir)

    path = ablate(small)
    assert path == out / "ablations_digits.json"
    found = json.loads(path.read_text())
    assert (found["ablation"], found["steps"], found["batch_size"]) == ("digits", 4, 8)
    assert (found["test_examples"], found["train_examples"]) == (359, 1000)
    assert {"device", "cpu", "threads", "git", "dirty"} <= found.keys()
    assert [row["variant"] for row in found["rows"]] == list(variants)
    for row in found["rows"]:
        values = row["bits_per_dim"]
        assert len(set(values)) == 2
        assert row["mean"] == pytest.approx(sum(values) / 2)
        assert 0 < row["seed_deviation"] < max(values) - min(values)
        assert 0 < row["stderr"] < row["train_bits_per_dim"]
        assert row["parameters"] > 0
        assert row["seconds"] > 0

    def untouched(*args):
        raise AssertionError("trained again")

    before = path.read_text()
    with monkeypatch.context() as patch:
        patch.setattr(seeds, "train", untouched)
        assert ablate(small) == path
    assert path.read_text() == before

    with pytest.raises(InputError, match=r"steps: 4 -> 6"):
        ablate([*small, "steps=6"])
    assert path.read_text() == before
    assert len(list(runs.iterdir())) == 2
    assert WorkDir(runs / "gated_pixel_cnn_digits_1").experiment().seed == 1

    monkeypatch.setitem(TABLES["ablations"].__globals__, "RESULTS", out)
    [row] = found["rows"]
    table = TABLES["ablations"]().splitlines()
    assert len(table) == 5
    cell = f"{row['mean']:.4f} ± {row['seed_deviation']:.4f}"
    assert table[2].startswith(f"| `gated_pixel_cnn` | `model` | {cell} |")
    assert table[2].endswith("| - | - | - | - |")
    assert TABLES["table"](of_vectors=False).count("\n") == 1  # no result file among them


def test_finished_runs_of_the_zoo_are_read(tmp_path, data_dir, monkeypatch):
    """They get a record of their own with the number on train; the rows of other variants stay, but for `steps`."""
    names = PROGRAM["ablate"].__globals__
    monkeypatch.setitem(names, "SEEDS", (0, 1))
    monkeypatch.setitem(names, "IN_ZOO", {"independent": "model"})
    small, zoo = (*TINY[:2], "evaluate.every=2"), tmp_path / "zoo"
    for seed in (0, 1):
        experiment = load_config(CONFIGS / "independent_digits.py", [*small, f"seed={seed}"])
        loop.train(experiment, WorkDir(zoo / f"independent_{seed}"), data_dir)
        (zoo / f"independent_{seed}" / "judged.json").write_text("{}")  # of the zoo

    def untouched(experiment, workdir, data_dir):
        assert workdir.checkpoints.is_dir()

    monkeypatch.setattr(seeds, "train", untouched)
    other = {"variant": "pixel_cnn", "change": "model", "mean": 2.0}
    file = tmp_path / "ablations_digits.json"
    shared = dict.fromkeys(("test_examples", "train_examples", "batch_size", "device"), 7)
    shared |= dict.fromkeys(("cpu", "threads", "git", "dirty"), 7)
    file.write_text(json.dumps({"ablation": "digits", **shared, "steps": 1000, "rows": [other]}))
    runs = tmp_path / "runs"
    PROGRAM["ablate"]("digits", runs, tmp_path, ("independent",), small, data_dir, zoo)
    found = json.loads(file.read_text())
    assert found["steps"] == [1000, 4]
    assert not runs.exists()
    assert found["rows"][0] == other
    row, expected = found["rows"][1], []
    assert (row["variant"], row["change"]) == ("independent", "model")
    train = prepared.load("digits", "train", data_dir)
    for seed in (0, 1):
        run = load_run(zoo / f"independent_{seed}")
        x = jnp.asarray(train.x[:1000])
        expected.append(-float(jnp.mean(run.model.log_prob(run.variables, x))) / 64 / math.log(2))
        assert (zoo / f"independent_{seed}" / "judged.json").read_text() == "{}"
    assert row["train_bits_per_dim"] == pytest.approx(sum(expected) / 2, rel=1e-5)
    assert row["train_bits_per_dim"] != pytest.approx(row["mean"], rel=1e-4)


def test_a_set_that_is_not_prepared_costs_a_sentence(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    monkeypatch.setattr("sys.argv", ["run.py", "mnist", "--runs", str(tmp_path / "runs")])
    monkeypatch.setattr("gen_jax.runtime.set_up", lambda: None)
    assert PROGRAM["main"]() == 0
    done = capsys.readouterr()
    assert done.out == ""
    assert done.err.startswith("no ablations on mnist: data set 'mnist' is not prepared in ")
    assert not (tmp_path / "runs").exists()
