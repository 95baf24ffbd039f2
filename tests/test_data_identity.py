"""A run knows its data: another set of the same name is refused, and so are classes of other names."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
from test_cli import CONFIG, TINY, call, own_cache, succeed  # noqa: F401  a fixture

from gen_jax.data import prepared
from gen_jax.runs.run import load_run

SETTINGS = [f"--set={one}" for one in (*TINY.split(), "model.num_classes=2", "data.name=tiny")]


def bring(place, flip=False, classes=("cats", "dogs"), name="tiny"):
    """Replace the data set by seeded noise with named classes."""
    shutil.rmtree(place / name, ignore_errors=True)
    rng = np.random.default_rng(0)
    import PIL.Image

    for split, count in (("train", 12), ("valid", 8), ("test", 8)):
        for i in range(count):
            folder = place / "source" / split / classes[i % 2]
            folder.mkdir(parents=True, exist_ok=True)
            x = rng.integers(0, 17, (8, 8)).astype(np.uint8)
            PIL.Image.fromarray(16 - x if flip else x).save(folder / f"{i}.png")
    succeed("data", "import", name, place / "source", "--levels", 17, "--data-dir", place)
    shutil.rmtree(place / "source")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("data")
    bring(place)
    train(place)
    return place


def train(place, status=0):
    where = ("--workdir", place / "run", "--data-dir", place)
    found, _, err = call("train", CONFIG, *SETTINGS, *where)
    assert found == status, err
    return err


def test_the_checksum_is_of_examples_classes_and_their_order(place):
    split = prepared.load("tiny", "train", place)
    assert split.class_names == ("cats", "dogs")
    assert split.checksum == prepared.load("tiny", "train", place).checksum
    changes = {
        "x": split.x[::-1],
        "labels": split.labels[::-1],
        "rest": (1,),
        "class_names": ("dogs", "cats"),
    }
    sums = {dataclasses.replace(split, **{name: value}).checksum for name, value in changes.items()}
    assert len(sums - {split.checksum}) == 4


def test_a_replaced_set_is_refused_when_training_goes_on_and_when_judged(place):
    known = json.loads((place / "run" / "config.json").read_text())["machine"]["data"]
    assert known["class_names"] == ["cats", "dogs"]
    succeed("evaluate", place / "run", "--data-dir", place)
    bring(place, flip=True)
    try:
        refused = train(place, status=2)
        assert "started on another data set tiny: the examples of train and validation" in refused
        status, _, err = call("evaluate", place / "run", "--data-dir", place)
        assert status == 2
        assert "is not the one that" in err
        assert "the examples of validation have changed; --data tiny evaluates" in err
        succeed("evaluate", place / "run", "--data", "tiny", "--data-dir", place)
    finally:
        bring(place)
    assert "is not the one" not in train(place)


def test_classes_of_other_names_are_no_classes_of_the_model(place):
    bring(place, classes=("apes", "bees"), name="zoo")
    status, _, err = call("evaluate", place / "run", "--data", "zoo", "--data-dir", place)
    assert status == 2
    assert "the model's classes are cats, dogs, those of zoo are apes, bees" in err


def test_runs_from_before_it_was_recorded_go_on(place):
    config = place / "run" / "config.json"
    before = config.read_text()
    record = json.loads(before)
    del record["machine"]["data"], record["machine"]["precision"]
    config.write_text(json.dumps(record))
    try:
        train(place)
        assert load_run(place / "run").step
    finally:
        config.write_text(before)


def test_another_matrix_precision_draws_other_bits(place, monkeypatch):
    import jax

    with jax.default_matmul_precision("bfloat16"):
        refused = train(place, status=2)
    assert "JAX_DEFAULT_MATMUL_PRECISION unset, which is bfloat16 now" in refused
