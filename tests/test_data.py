"""Prepared data sets against their originals, batches as a function of (seed, step), refusals."""

import shutil

import numpy as np
import pytest
from sklearn.datasets import load_digits

from gen_jax import InputError, image
from gen_jax.data import prepared
from gen_jax.data.batches import Batches, take
from gen_jax.data.prepared import Split

REMAINDERS = {"train": (0, 1, 2), "validation": (3,), "test": (4,)}
COUNTS = {"train": 1079, "validation": 359, "test": 359}


def numbered(count: int) -> Split:
    """A split whose example i holds the value i in its two pixels."""
    x = np.repeat(np.arange(count, dtype=np.uint8), 2).reshape(count, 1, 2, 1)
    labels = (np.arange(count) % 3).astype(np.int32)
    return Split("numbered", "1.0.0", "train", x, labels, image(1, 2), 3)


@pytest.mark.parametrize("name", COUNTS)
def test_digits_are_those_of_scikit_learn(data_dir, name):
    """Image i of scikit-learn lies in the split of i mod 5, bit for bit and in order."""
    flat, labels = load_digits(return_X_y=True)
    mine = np.isin(np.arange(len(flat)) % 5, REMAINDERS[name])
    split = prepared.load("digits", name, data_dir)
    assert len(split) == COUNTS[name] == mine.sum()
    assert split.x.dtype == np.uint8
    np.testing.assert_array_equal(split.x, flat[mine].reshape(-1, 8, 8, 1))
    np.testing.assert_array_equal(split.labels, labels[mine])
    assert split.labels.dtype == np.int32
    assert (split.dataset, split.version, split.split) == ("digits", "1.0.0", name)
    assert (split.event, split.num_classes) == (image(8, 8, levels=17), 10)
    assert split.x.max() == 16


def test_preparing_twice_changes_nothing(data_dir):
    folder = prepared.prepared_folder("digits", data_dir)
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert prepared.prepare("digits", data_dir) == folder
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before
    assert prepared.prepared_names(data_dir) == ["digits"]


def test_the_environment_names_the_folder(data_dir, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(data_dir))
    assert prepared.default_data_dir() == data_dir
    assert prepared.prepared_names() == ["digits"]
    assert len(prepared.load("digits", "test")) == 359
    monkeypatch.setenv("TFDS_DATA_DIR", "")
    assert prepared.default_data_dir().name == "tensorflow_datasets"


def test_the_newest_version_is_read(data_dir, tmp_path):
    for version in ("9.0.0", "10.0.0"):
        shutil.copytree(data_dir / "digits" / "1.0.0", tmp_path / "digits" / version)
    assert prepared.prepared_folder("digits", tmp_path).name == "10.0.0"


def test_a_batch_is_a_function_of_seed_and_step():
    split = numbered(23)
    one, other = Batches(split, 5, seed=3), Batches(split, 5, seed=3)
    forwards = [one.indices(step) for step in range(40)]
    backwards = [other.indices(step) for step in reversed(range(40))][::-1]
    np.testing.assert_array_equal(forwards, backwards)
    np.testing.assert_array_equal(Batches(split, 5, seed=3).batch(31)["x"], one.batch(31)["x"])
    assert len({tuple(indices) for indices in forwards}) == 40


@pytest.mark.parametrize(("count", "batch_size"), [(23, 5), (7, 3), (10, 10), (12, 4), (9, 8)])
def test_every_epoch_is_a_permutation(count, batch_size):
    """Also where the batch size does not divide the examples, so that a batch spans two epochs."""
    batches = Batches(numbered(count), batch_size, seed=1)
    steps = -(-4 * count // batch_size)
    seen = np.concatenate([batches.indices(step) for step in range(steps)])
    epochs = seen[: 4 * count].reshape(4, count)
    np.testing.assert_array_equal(np.sort(epochs, axis=1), np.tile(np.arange(count), (4, 1)))
    assert len({tuple(epoch) for epoch in epochs}) == 4
    assert np.any(epochs[0] != np.arange(count))


def test_seeds_differ():
    split = numbered(100)
    orders = {tuple(Batches(split, 50, seed).indices(0)) for seed in range(8)}
    assert len(orders) == 8


def test_a_batch_holds_the_examples_of_its_indices():
    batches = Batches(numbered(23), 6, seed=2, conditional=True)
    indices, batch = batches.indices(4), batches.batch(4)
    np.testing.assert_array_equal(batch["x"], np.stack([indices, indices], 1)[:, None, :, None])
    np.testing.assert_array_equal(batch["cond"], indices % 3)
    assert batch["x"].dtype == np.uint8
    assert Batches(numbered(23), 6, seed=2).batch(4)["cond"] is None


def test_what_initialises_a_model_is_the_first_batches():
    batches = Batches(numbered(23), 6, seed=2)
    np.testing.assert_array_equal(batches.first()["x"], batches.batch(0)["x"])
    for examples, count in ((6, 1), (7, 2), (23, 4), (1000, 4)):
        expected = np.concatenate([batches.batch(step)["x"] for step in range(count)])
        np.testing.assert_array_equal(batches.first(examples)["x"], expected)
        assert batches.first(examples)["cond"] is None


def test_take_gives_labels_to_conditional_models_only():
    split, rows = numbered(5), np.array([4, 0, 4])
    np.testing.assert_array_equal(take(split, rows, True)["cond"], [1, 0, 1])
    np.testing.assert_array_equal(take(split, rows, True)["x"][:, 0, 1, 0], [4, 0, 4])
    assert take(split, rows, False)["cond"] is None


def test_a_batch_larger_than_the_split_is_refused():
    with pytest.raises(InputError, match="batch_size 24 exceeds the 23 examples of train"):
        Batches(numbered(23), 24, seed=0)
    np.testing.assert_array_equal(np.sort(Batches(numbered(23), 23, 0).indices(0)), np.arange(23))


def test_an_unknown_split_names_the_near_one(data_dir):
    with pytest.raises(InputError) as refusal:
        prepared.load("digits", "tset", data_dir)
    message = "unknown split 'tset' (did you mean test?); digits has test, train, validation"
    assert str(refusal.value) == message


def test_an_unknown_set_names_the_near_one(tmp_path):
    with pytest.raises(InputError) as refusal:
        prepared.prepare("digitz", tmp_path)
    assert "unknown data set 'digitz' (did you mean digits?)" in str(refusal.value)
    assert "binarized_mnist" in str(refusal.value)
    assert list(tmp_path.iterdir()) == []


def test_a_set_that_is_not_prepared_says_how_to(tmp_path):
    with pytest.raises(InputError) as refusal:
        prepared.load("digits", "test", tmp_path)
    assert f"'digits' is not prepared in {tmp_path}" in str(refusal.value)
    assert f"`gen-jax data prepare digits --data-dir {tmp_path}`" in str(refusal.value)
    assert prepared.prepared_names(tmp_path) == []


def truncated(path):
    path.write_bytes(path.read_bytes()[:-100])


def cut_to_nothing(path):
    path.write_bytes(b"")


def flipped(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def deleted(path):
    path.unlink()


def garbled(path):
    path.write_text("{")


def not_utf8(path):
    path.write_bytes(b"\xff" + path.read_bytes())


def a_list(path):
    path.write_text('["levels"]')


@pytest.mark.parametrize(
    ("file", "damage"),
    [
        ("digits-test.array_record-00000-of-00001", truncated),
        ("digits-test.array_record-00000-of-00001", cut_to_nothing),
        ("digits-test.array_record-00000-of-00001", flipped),
        ("digits-test.array_record-00000-of-00001", deleted),
        ("metadata.json", deleted),
        ("features.json", deleted),
        ("dataset_info.json", garbled),
        ("features.json", not_utf8),
        ("metadata.json", a_list),
    ],
)
def test_a_damaged_set_is_refused(data_dir, tmp_path, file, damage):
    shutil.copytree(data_dir / "digits", tmp_path / "digits")
    folder = prepared.prepared_folder("digits", tmp_path)
    damage(folder / file)
    with pytest.raises(InputError) as refusal:
        prepared.load("digits", "test", tmp_path)
    assert f"the prepared data set at {folder} is damaged" in str(refusal.value)
    assert "prepare it again" in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_damage_to_one_split_leaves_the_others(data_dir, tmp_path):
    shutil.copytree(data_dir / "digits", tmp_path / "digits")
    deleted(tmp_path / "digits" / "1.0.0" / "digits-train.array_record-00000-of-00001")
    expected = prepared.load("digits", "test", data_dir).x
    np.testing.assert_array_equal(prepared.load("digits", "test", tmp_path).x, expected)
