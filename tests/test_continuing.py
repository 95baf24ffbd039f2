"""Training that begins with the weights of another model, and training for longer than planned."""

import dataclasses
import json
import shutil

import jax
import pytest
from test_fitted import same

import gen_jax
from gen_jax import (
    Adam,
    Data,
    Evaluate,
    Experiment,
    GatedPixelCNN,
    InputError,
    WarmupCosine,
    fingerprint,
    image,
)
from gen_jax.data import prepared
from gen_jax.experiment import lengthened, overridden
from gen_jax.reproduce.reproduce import reproduce
from gen_jax.runs import results
from gen_jax.runs.checkpoint import Checkpoints
from gen_jax.runs.run import load_run
from gen_jax.runs.splits import load_split
from gen_jax.runs.workdir import WorkDir
from gen_jax.train import loop
from gen_jax.train.program import Program

MODEL = GatedPixelCNN(image(8, 8, levels=17), depth=1, features=4, head_features=4, first_kernel=3)
SHORT = Experiment(
    model=MODEL,
    data=Data("digits"),
    steps=8,
    batch_size=16,
    optimizer=Adam(WarmupCosine(1e-2, 2)),
    ema=0.9,
    evaluate=Evaluate(every=4, batch_size=64, examples=64),
)
LONG = dataclasses.replace(SHORT, steps=16)


@pytest.fixture(scope="module")
def short(tmp_path_factory, data_dir):
    """A finished run, and its last state."""
    folder = tmp_path_factory.mktemp("continuing") / "short"
    state = loop.train(SHORT, WorkDir(folder), data_dir)
    return folder, jax.device_get(state)


@pytest.fixture(scope="module")
def longer(short, tmp_path_factory, data_dir):
    """The run trained for longer, in a copy of its folder, and its last state."""
    folder = tmp_path_factory.mktemp("longer") / "run"
    shutil.copytree(short[0], folder)
    state = loop.train(LONG, WorkDir(folder), data_dir)
    return folder, jax.device_get(state)


def test_a_longer_run_takes_up_the_state_under_the_new_schedule(short, longer, data_dir):
    """The bits of the program of 16 steps from the state at step 8."""
    program = Program(LONG, load_split(LONG, "train", data_dir))
    state = jax.tree.map(lambda x, like: jax.device_put(x, like.sharding), short[1], program.like)
    for step in range(8, 16, 4):
        state, _ = program.steps(state, step, 4)
    assert same(state, longer[1])
    assert not same(state.params, short[1].params)


def test_nothing_saved_is_lost(short, longer):
    """Metrics, the best checkpoint so far and the former experiment stay; the same command then has nothing to do."""
    before, after = WorkDir(short[0]), WorkDir(longer[0])
    assert after.metrics.read_text().startswith(before.metrics.read_text())
    assert [row["step"] for row in after.metrics_rows() if row["split"] == "validation"] == [
        4,
        8,
        12,
        16,
    ]
    checkpoints = Checkpoints(after.checkpoints, read_only=True)
    assert checkpoints.steps()[-2:] == [12, 16]
    checkpoints.close()
    assert after.experiment() == LONG
    assert after.lengthened == [{"step": 8, "experiment": before.read()["experiment"]}]
    assert {**after.read(), "experiment": 0, "lengthened": 0} == {
        **before.read(), "experiment": 0, "lengthened": 0,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"steps": 4}, "steps: 16 -> 4"),
        ({"steps": 32, "batch_size": 8}, "batch_size: 16 -> 8; steps: 16 -> 32"),
        ({"steps": 32, "optimizer": Adam(1e-3)}, r"optimizer\.learning_rate"),
    ],
)
def test_only_the_end_may_change(longer, data_dir, changes, words):
    with pytest.raises(InputError, match=f"holds another config.*{words}"):
        loop.train(dataclasses.replace(LONG, **changes), WorkDir(longer[0]), data_dir)


def test_a_schedule_with_a_length_is_lengthened_with_the_steps():
    """`--set steps` resizes it, in the config as in the folder."""
    fixed = dataclasses.replace(SHORT, optimizer=Adam(WarmupCosine(1e-2, 2, 8)))
    longer = overridden(fixed, ["steps=16"])
    assert longer.optimizer.learning_rate.steps == 16
    assert lengthened(fixed, longer)
    assert not lengthened(longer, fixed)
    assert not lengthened(fixed, dataclasses.replace(longer, seed=1))
    patient = dataclasses.replace(fixed.evaluate, patience=3)
    assert lengthened(fixed, dataclasses.replace(fixed, evaluate=patient))


@pytest.mark.slow
def test_a_longer_run_is_reproduced(longer, data_dir, tmp_path):
    """By training for the former steps first."""
    run = load_run(longer[0])
    split = prepared.load("digits", "test", data_dir)
    record = results.record(run, split, run.likelihoods()(run.variables, split))
    path = tmp_path / "result.json"
    path.write_text(json.dumps(record))
    again = reproduce(path, tmp_path / "again", data_dir, "test")
    assert again["same_bits"], again["rows"]
    assert WorkDir(tmp_path / "again").lengthened == record["lengthened"]
    path.write_text(json.dumps({**record, "lengthened": [{"step": 8}]}))
    with pytest.raises(InputError, match="its field lengthened is damaged"):
        reproduce(path, tmp_path / "other", data_dir, "test")


def test_training_begins_with_the_weights_of_another_model(short, data_dir, tmp_path):
    """At rate 0 they stay: in `fit` from a folder or a value, and in a run, which later needs the folder no more."""
    digits = prepared.load("digits", "train", data_dir).x
    first = gen_jax.load(short[0])
    still = {"steps": 1, "optimizer": Adam(0.0), "batch_size": 16}
    assert same(gen_jax.fit(MODEL, digits, init_from=short[0], **still).variables, first.variables)
    again = gen_jax.fit(MODEL, digits, init_from=first, **still)
    assert same(again.variables, first.variables)
    assert again.trained.experiment.init_from == "a model in memory"
    assert again.machine["init_from"] == fingerprint.of_variables(first.variables)
    copy = tmp_path / "first"
    shutil.copytree(short[0], copy)
    tuned = dataclasses.replace(SHORT, optimizer=Adam(0.0), init_from=str(copy), steps=2, seed=5)
    state = loop.train(tuned, workdir := WorkDir(tmp_path / "run"), data_dir)
    assert same(state.params, first.variables["params"])
    assert same(state.ema, first.variables["params"])
    assert int(jax.tree.leaves(state.opt_state)[0]) == 2
    assert workdir.read()["machine"]["init_from"] == again.machine["init_from"]
    shutil.rmtree(copy)
    more = loop.train(dataclasses.replace(tuned, steps=3), workdir, data_dir)
    assert (int(more.step), same(more.ema, state.ema)) == (3, True)


def test_weights_that_do_not_fit_are_refused(short, data_dir, tmp_path):
    digits = prepared.load("digits", "train", data_dir).x[:32]
    wider = dataclasses.replace(MODEL, head_features=5)
    settings = {"steps": 1, "batch_size": 16}
    with pytest.raises(
        InputError, match=r"do not fit gated_pixel_cnn.*\(4,\) -> \(5,\)"
    ) as refusal:
        gen_jax.fit(wider, digits, init_from=short[0], **settings)
    assert str(refusal.value).startswith(f"init_from: the weights of {short[0]}")
    with pytest.raises(InputError, match="init_from: nowhere is not a work directory"):
        gen_jax.fit(MODEL, digits, init_from="nowhere", **settings)
    experiment = dataclasses.replace(SHORT, init_from="nowhere")
    with pytest.raises(InputError, match="init_from: nowhere"):
        loop.train(experiment, WorkDir(tmp_path / "run"), data_dir)
    assert not (tmp_path / "run").exists()
