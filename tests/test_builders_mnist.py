"""The MNISTs from a few images: every container, the three binary versions, damage."""

import gzip
from pathlib import Path

import numpy as np
import pytest
from originals import (
    MNIST,
    RNG,
    assert_split,
    idx,
    npz,
    originals,
    prepare,
    refusal_of,
    small_mnist,
)

from gen_jax import image
from gen_jax.data import dynamic, prepared
from gen_jax.data.batches import Batches, take
from gen_jax.data.builders import BUILDERS, mnist

IMAGES, LABELS = mnist.FILES["train"] + ".gz", mnist.FILES["train_labels"] + ".gz"


@pytest.fixture(autouse=True)
def small(monkeypatch):
    small_mnist(monkeypatch)


def mnist_source(kind: str, folder: Path) -> Path:
    folder.mkdir()
    if kind == "npz":
        return npz(folder / "any.npz", **MNIST)
    if kind == "npz in a folder":
        npz(folder / "mnist.npz", **MNIST)
        return folder
    if kind == "other types":
        wide = {name: array.astype(np.int64) for name, array in MNIST.items()}
        return npz(folder / "any.npz", **{**wide, "test": wide["test"].reshape(20, 784)})
    for name, file in mnist.FILES.items():
        content = idx(MNIST[name])
        if kind == "idx.gz":
            (folder / f"{file}.gz").write_bytes(gzip.compress(content))
        else:
            (folder / file).write_bytes(content)
    return folder


@pytest.mark.parametrize("kind", ["idx", "idx.gz", "npz", "npz in a folder", "other types"])
def test_mnist_is_the_original_whatever_the_container(tmp_path, kind):
    data = tmp_path / "data"
    prepare("mnist", data, mnist_source(kind, tmp_path / "originals"))
    images, labels = MNIST["train"], MNIST["train_labels"]
    assert_split("mnist", "train", data, images[:50], labels[:50])
    assert_split("mnist", "validation", data, images[50:], labels[50:])
    split = assert_split("mnist", "test", data, MNIST["test"], MNIST["test_labels"])
    assert (split.event, split.num_classes) == (image(28, 28), 10)
    assert (split.version, split.greys, split.x.dtype) == ("1.0.0", None, np.uint8)
    assert [path.name for path in data.iterdir()] == ["mnist"]


def test_thresholded_mnist_is_one_above_127(tmp_path):
    prepare("thresholded_mnist", tmp_path, npz(tmp_path / "x.npz", **MNIST))
    assert {127, 128} <= set(MNIST["train"][:50].ravel())
    split = assert_split("thresholded_mnist", "train", tmp_path, MNIST["train"][:50] >= 128)
    assert split.event == image(28, 28, levels=2)


@pytest.fixture
def greys(tmp_path):
    """The train split of dynamic MNIST, prepared in `tmp_path`."""
    prepare("dynamic_mnist", tmp_path, npz(tmp_path / "x.npz", **MNIST))
    return prepared.load("dynamic_mnist", "train", tmp_path)


def test_dynamic_mnist_stores_greys_of_train_and_one_draw_of_the_rest(greys, tmp_path):
    np.testing.assert_array_equal(greys.greys[..., 0], MNIST["train"][:50])
    np.testing.assert_array_equal(greys.x, dynamic.binarised(greys.greys, dynamic.FIXED_DRAW))
    np.testing.assert_array_equal(greys.labels, MNIST["train_labels"][:50])
    assert greys.event == image(28, 28, levels=2)
    validation, test = (
        dynamic.binarised(MNIST["train"][50:], (0, 1)),
        dynamic.binarised(MNIST["test"], (0, 2)),
    )
    assert assert_split("dynamic_mnist", "validation", tmp_path, validation).greys is None
    assert assert_split("dynamic_mnist", "test", tmp_path, test).greys is None


def test_batches_of_greys_are_draws_by_seed_and_step(greys):
    batches = Batches(greys, 50, seed=3, conditional=True)  # a batch is an epoch
    drawn = [batches.batch(step)["x"] for step in (0, 1)]
    np.testing.assert_array_equal(drawn[1], Batches(greys, 50, seed=3).batch(1)["x"])
    rows = batches.indices(1)
    np.testing.assert_array_equal(drawn[1], dynamic.binarised(greys.greys[rows], (3, 1)))
    np.testing.assert_array_equal(batches.batch(1)["cond"], greys.labels[rows])
    first, second = (x[np.argsort(batches.indices(step))] for step, x in enumerate(drawn))
    assert 0.3 < np.mean(first != second) < 0.37  # 2 p (1 - p) over uniform p: 1/3
    other = Batches(greys, 50, seed=4)
    assert np.any(other.batch(0)["x"][np.argsort(other.indices(0))] != first)
    np.testing.assert_array_equal(take(greys, rows, False)["x"], greys.x[rows])


def test_a_draw_is_bernoulli_of_grey_over_255():
    """All 256 greys: within five standard deviations of each mean, the ends exact, pixels independent."""
    greys, count = np.arange(256, dtype=np.uint8), 20_000
    drawn = dynamic.binarised(np.broadcast_to(greys, (count, 256)), (1, 2))
    assert set(np.unique(drawn)) == {0, 1}
    p = greys / 255
    assert np.all(np.abs(drawn.mean(0) - p) <= 5 * np.sqrt(p * (1 - p) / count))
    assert drawn[:, 0].max() == 0
    assert drawn[:, 255].min() == 1
    assert abs(np.corrcoef(drawn[:, 100], drawn[:, 101])[0, 1]) < 5 / np.sqrt(count)


def rewritten(change):
    """The idx file inside the gzip, changed."""

    def damage(path: Path):
        path.write_bytes(gzip.compress(change(gzip.decompress(path.read_bytes()))))

    return damage


flipped = rewritten(lambda b: b[:-1] + bytes([b[-1] ^ 1]))


@pytest.mark.parametrize(
    ("file", "damage", "words"),
    [
        (IMAGES, Path.unlink, "no such file"),
        (IMAGES, lambda path: path.write_bytes(path.read_bytes()[:-200]), "damaged gzip file"),
        (IMAGES, rewritten(lambda b: b[:-1]), "is truncated: shape (60, 28, 28) needs 47040 bytes"),
        (IMAGES, flipped, "is not the published original"),
        (LABELS, flipped, "is not the published original"),
        (
            LABELS,
            rewritten(lambda b: idx(MNIST["test_labels"])),
            "shape (60,), but is uint8 (20,)",
        ),
    ],
)
def test_a_damaged_idx_file_is_refused_by_name(tmp_path, file, damage, words):
    source = mnist_source("idx.gz", tmp_path / "originals")
    damage(source / file)
    message = refusal_of("mnist", tmp_path / "data", source)
    assert str(source / file.removesuffix(".gz")) in message
    assert words in message


def test_sources_that_are_none(tmp_path):
    data, path = tmp_path / "data", tmp_path / "x.npz"
    path.write_bytes(b"no zip archive at all")
    assert f"{path} is not a readable .npz file" in refusal_of("mnist", data, path)
    assert "no such file: /no/where" in refusal_of("mnist", data, "/no/where")
    (tmp_path / "file.gz").write_bytes(b"")
    assert "name the folder" in refusal_of("mnist", data, tmp_path / "file.gz")
    npz(path, **{name: MNIST[name] for name in ("train", "test")})
    words = f"{path} has no array 'train_labels'; its arrays: test, train"
    assert words in refusal_of("mnist", data, path)
    npz(path, **{**MNIST, "test": MNIST["test"][::-1]})
    words = f"{path}: array 'test' is not the published original"
    assert words in refusal_of("mnist", data, path)
    assert "needs no --source" in refusal_of("digits", data, path)


def test_a_refusal_leaves_what_was_prepared(tmp_path):
    source = mnist_source("idx.gz", tmp_path / "originals")
    prepare("mnist", tmp_path / "data", source)
    (source / IMAGES).unlink()
    assert IMAGES in refusal_of("thresholded_mnist", tmp_path / "data", source)


BINARY = {key: RNG.integers(0, 2, (4, 28, 28, 1), np.uint8) for key in ("train", "valid", "test")}


@pytest.mark.parametrize("kind", ["npz", "amat"])
def test_binarized_mnist_reads_both_forms(tmp_path, monkeypatch, kind):
    """Text files of rows of 0 and 1 separated by blanks, or one .npz."""
    monkeypatch.setattr(BUILDERS["binarized_mnist"], "ORIGINALS", originals(BINARY))
    for key, rows in BINARY.items():
        np.savetxt(tmp_path / f"binarized_mnist_{key}.amat", rows.reshape(4, -1), fmt="%d")
    packed = npz(tmp_path / "x.npz", **{key: rows.squeeze() for key, rows in BINARY.items()})
    prepare("binarized_mnist", tmp_path / "data", packed if kind == "npz" else tmp_path)
    for name, key in (("train", "train"), ("validation", "valid"), ("test", "test")):
        split = assert_split("binarized_mnist", name, tmp_path / "data", BINARY[key])
        assert (split.event, split.labels) == (image(28, 28, levels=2), None)


@pytest.mark.parametrize(
    ("train", "words"),
    [
        (np.zeros((3, 784), np.uint8), "array 'train' should be integers of shape (4,"),
        (2 * BINARY["train"], "array 'train' is not the published original"),
        (BINARY["train"] / 2, "array 'train' should be integers"),
    ],
)
def test_binarized_mnist_refuses_other_arrays(tmp_path, monkeypatch, train, words):
    monkeypatch.setattr(BUILDERS["binarized_mnist"], "ORIGINALS", originals(BINARY))
    path = npz(tmp_path / "x.npz", **{**BINARY, "train": train})
    assert words in refusal_of("binarized_mnist", tmp_path, path)
    missing = tmp_path / "binarized_mnist_train.amat"
    assert f"no such file: {missing} or" in refusal_of("binarized_mnist", tmp_path, tmp_path)
