"""Splits that stay on disk: the same examples, batches, numbers and checksums as in memory, and what is stored."""

import dataclasses
import io
import json
import math

import chex
import jax
import numpy as np
import pytest
import tensorflow_datasets as tfds
import test_loop

from gen_jax import InputError, sharding
from gen_jax.data import prepared, rows
from gen_jax.data.ahead import Ahead
from gen_jax.data.batches import Batches
from gen_jax.data.rows import Rows
from gen_jax.experiment import load_config, overridden
from gen_jax.runs.workdir import WorkDir
from gen_jax.train import loop


@pytest.fixture
def place(data_dir, tmp_path):
    """Digits in another order than the originals, without a stored order, encoded as in earlier versions."""
    from gen_jax.data.builders.common import Builder, numbered

    whole = prepared.load("digits", "train", data_dir)

    class Shuffled(Builder, skip_registration=True):
        name = "digits"

        def _info(self):
            features = {
                "image": tfds.features.Tensor(shape=(8, 8, 1), dtype=np.uint8),
                "index": tfds.features.Scalar(np.int64),
                "label": tfds.features.ClassLabel(num_classes=10),
            }
            return tfds.core.DatasetInfo(
                builder=self,
                features=tfds.features.FeaturesDict(features),
                metadata=tfds.core.MetadataDict(levels=17, num_classes=10),
                disable_shuffling=True,
            )

        def _split_generators(self, dl_manager):
            examples = [*numbered(whole.x[:200], whole.labels[:200])]
            order = np.random.default_rng(0).permutation(200)
            return {"train": self._generate_examples([examples[i] for i in order])}

    Shuffled(data_dir=tmp_path, file_format="array_record").download_and_prepare()
    return tmp_path


def both(place):
    return prepared.load("digits", "train", place), prepared.load("digits", "train", place, 0.0)


def test_examples_on_disk_are_those_in_memory(place):
    """In the order of the originals, whatever that of the records; with classes and checksum, from then on stored."""
    there = prepared.prepared_folder("digits", place) / "order-train.npz"
    assert not there.exists()
    inside, outside = both(place)
    assert isinstance(inside.x, np.ndarray)
    assert isinstance(outside.x, Rows)
    again = prepared.load("digits", "train", place, 0.0)
    assert there.exists()
    for split in (outside, again):
        assert split.x.shape == inside.x.shape
        np.testing.assert_array_equal(split.x[:], inside.x)
        np.testing.assert_array_equal(split.x[np.array([7, 3, 3])], inside.x[[7, 3, 3]])
        np.testing.assert_array_equal(split.labels, inside.labels)
        assert split.checksum == inside.checksum


def test_the_stored_order_is_read_instead_of_the_records(place, monkeypatch):
    """A damaged one, or one of other records, is made again."""
    inside, _ = both(place)
    path = prepared.prepared_folder("digits", place) / "order-train.npz"
    content = path.read_bytes()
    monkeypatch.setattr(rows, "columns", lambda *_: pytest.fail("read all records"))
    assert prepared.load("digits", "train", place, 0.0).checksum == inside.checksum
    monkeypatch.undo()
    flipped = bytearray(content)
    flipped[len(flipped) // 3] ^= 1
    other = io.BytesIO()
    np.savez(other, places=np.arange(100), checksum="x")
    for spoilt in (bytes(flipped), content[:100], b"", other.getvalue()):
        path.write_bytes(spoilt)
        again = prepared.load("digits", "train", place, 0.0)
        np.testing.assert_array_equal(again.x[:], inside.x)
        assert again.checksum == inside.checksum
        assert path.read_bytes() == content


def test_the_order_of_a_large_data_set_is_stored_at_preparation(tmp_path, monkeypatch):
    monkeypatch.setattr(prepared, "MEMORY", 60_000.0)
    folder = prepared.prepare("digits", tmp_path)
    assert [path.name for path in folder.glob("order*")] == ["order-train.npz"]


def test_damaged_records_are_one_sentence(place):
    _, outside = both(place)
    [records] = prepared.prepared_folder("digits", place).glob("*array_record*")
    content = bytearray(records.read_bytes())
    for at in range(1000, len(content), 1000):
        content[at] ^= 1
    records.write_bytes(content)
    with pytest.raises(InputError, match=r"is damaged .*; remove the folder and prepare it again"):
        outside.x[:]


def test_batches_of_rows_are_rows_of_batches(place):
    """On disk and in memory; the noise of greys, and streams in order, too."""
    inside, outside = both(place)
    mine = np.array([1, 2, 5])
    greys = dataclasses.replace(inside, greys=inside.x * 15, x=inside.x * 0)
    for split, other, contiguous in (
        (inside, outside, False),
        (inside, outside, True),
        (greys, greys, False),
    ):
        made = [Batches(s, 6, 3, True, contiguous) for s in (split, other)]
        for step in (0, 40):
            whole = made[0].batch(step)
            part = jax.tree.map(lambda x: x[mine], whole)
            chex.assert_trees_all_equal(made[1].batch(step), whole)
            chex.assert_trees_all_equal(made[1].batch(step, mine), part)


def test_a_batch_is_read_by_one_call(place):
    _, outside = both(place)
    calls = []
    source = outside.x.source

    class Counted:
        def __getitems__(self, keys):
            calls.append(len(keys))
            return source.__getitems__(keys)

    split = dataclasses.replace(outside, x=dataclasses.replace(outside.x, source=Counted()))
    Batches(split, 50, 0).batch(3, np.arange(20))
    assert calls == [20]


def test_reading_ahead_gives_the_same_batches():
    """For steps in order, and for jumps; up to an end; an error comes where its batch is asked for."""
    asked = []

    def make(step):
        asked.append(step)
        if step == 33:
            raise InputError("damaged")
        return step * step

    ahead = Ahead(make)
    assert [ahead(step) for step in (*range(15), 22, 23, 5)] == [
        s * s for s in (*range(15), 22, 23, 5)
    ]
    assert len(asked) == len(set(asked)) + len([s for s in range(5, 16) if s < 15 or s == 15])
    with pytest.raises(InputError, match="damaged"):
        ahead(33)
    assert ahead(34) == 34**2
    few = []
    limited = Ahead(lambda step: few.append(step), end=3)
    for step in range(3):
        limited(step)
    assert sorted(few) == [0, 1, 2]


def test_own_rows_make_the_whole_batch():
    """Devices of one process have all rows; parts of two halves are at the places of the whole."""
    mesh = sharding.device_mesh(16, fsdp=2)
    x = np.arange(2 * 16 * 3).reshape(2, 16, 3)
    rows_ = sharding.own_rows(16, mesh)
    np.testing.assert_array_equal(rows_, np.arange(16))
    placed = sharding.put_own(x[:, rows_], mesh, sharding.STEPS, rows_, 16)
    np.testing.assert_array_equal(placed, x)
    assert placed.sharding.shard_shape(placed.shape) == (2, 2, 3)


SMALL = {
    "gated_pixel_cnn_digits": ("model.depth=1", "model.features=4", "model.head_features=4"),
    "lstm_digits": (),  # its evaluation reads streams in order
}


@pytest.mark.parametrize("name", SMALL)
def test_training_from_disk_has_the_bits_of_training_in_memory(name, data_dir, tmp_path):
    config = load_config(test_loop.CONFIG.with_name(f"{name}.py"))
    sets = ("steps=2", "evaluate.every=2", "batch_size=16", "evaluate.batch_size=64")
    config = overridden(config, [*SMALL[name], *sets])
    states = [
        loop.train(config, WorkDir(tmp_path / str(memory)), data_dir, memory=memory)
        for memory in (math.inf, 0.0)
    ]
    chex.assert_trees_all_equal(*states)
    inside, outside = (WorkDir(tmp_path / name).metrics_rows() for name in ("inf", "0.0"))
    drop = lambda rows: [{k: v for k, v in row.items() if k != "seconds"} for row in rows]  # noqa: E731
    assert drop(inside) == drop(outside)
    assert json.loads((tmp_path / "0.0/config.json").read_text())["machine"]["data"]["checksums"]
