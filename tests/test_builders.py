"""Builders against originals of a few images: every container, damage, downloads, and what a failure leaves behind."""

import functools
import gzip
import hashlib
import http.server
import io
import logging
import pickle
import re
import subprocess
import sys
import tarfile
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tensorflow_datasets.core.download.checksums import UrlInfo

from gen_jax import InputError, image
from gen_jax.cli import main, parser
from gen_jax.data import dynamic, prepared
from gen_jax.data.batches import Batches, take
from gen_jax.data.builders import BUILDERS, cifar10, mnist
from gen_jax.data.builders.originals import Original, read_npz

RNG = np.random.default_rng(0)
MNIST = {
    "train": RNG.integers(0, 256, (60, 28, 28), np.uint8),
    "train_labels": RNG.integers(0, 10, 60, np.uint8),
    "test": RNG.integers(0, 256, (20, 28, 28), np.uint8),
    "test_labels": RNG.integers(0, 10, 20, np.uint8),
}
CIFAR = {
    "train": RNG.integers(0, 256, (50, 32, 32, 3), np.uint8),
    "train_labels": RNG.integers(0, 10, 50, np.uint8),
    "test": RNG.integers(0, 256, (10, 32, 32, 3), np.uint8),
    "test_labels": RNG.integers(0, 10, 10, np.uint8),
}


def originals(arrays) -> dict:
    return {
        name: Original(array.shape, hashlib.sha256(array.tobytes()).hexdigest())
        for name, array in arrays.items()
    }


def idx(array) -> bytes:
    header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    return header + array.tobytes()


def png(pixels) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "png")
    return buffer.getvalue()


def npz(path, **arrays) -> Path:
    np.savez_compressed(path, **arrays)
    return path


def tree(folder: Path) -> dict:
    return {
        str(path.relative_to(folder)): path.stat().st_mtime_ns if path.is_file() else None
        for path in folder.rglob("*")
    }


def prepare(name, data_dir, source):
    return prepared.prepare(name, data_dir, None if source is None else str(source))


def refusal_of(name, data_dir, source) -> str:
    """The one sentence; the data folder is what it was."""
    before, was_there = tree(data_dir), data_dir.exists()
    with pytest.raises(InputError) as refusal:
        prepare(name, data_dir, source)
    assert (tree(data_dir), data_dir.exists()) == (before, was_there)
    assert "\n" not in str(refusal.value)
    return str(refusal.value)


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """MNIST of 50 / 10 / 20 images and CIFAR-10 of 45 / 5 / 10, but where a test takes the fixture `real`."""
    monkeypatch.setattr(mnist.Mnist, "ORIGINALS", originals(MNIST))
    monkeypatch.setattr(mnist.Mnist, "VALIDATION", 10)
    monkeypatch.setattr(
        cifar10.Cifar10,
        "ORIGINALS",
        originals({name: CIFAR[name] for name in ("train", "train_labels")}),
    )
    monkeypatch.setattr(cifar10.Cifar10, "VALIDATION", 5)
    monkeypatch.setattr(cifar10.Cifar10, "TEST_SHAPE", CIFAR["test"].shape)
    content = records("test")
    blob = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
    monkeypatch.setattr(cifar10.Cifar10, "TEST_BLOB", blob)


def idx_folder(folder: Path, zipped: bool) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, file in mnist.FILES.items():
        content = idx(MNIST[name])
        if zipped:
            (folder / f"{file}.gz").write_bytes(gzip.compress(content))
        else:
            (folder / file).write_bytes(content)
    return folder


@pytest.fixture
def digits28(tmp_path) -> Path:
    """Folder of the four gzipped idx files."""
    return idx_folder(tmp_path / "originals", zipped=True)


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
    return idx_folder(folder, zipped=kind == "idx.gz")


@pytest.mark.parametrize("kind", ["idx", "idx.gz", "npz", "npz in a folder", "other types"])
def test_mnist_is_the_original_whatever_the_container(tmp_path, kind):
    prepare("mnist", tmp_path / "data", mnist_source(kind, tmp_path / "originals"))
    for name, key, rows in (
        ("train", "train", slice(50)),
        ("validation", "train", slice(50, 60)),
        ("test", "test", slice(20)),
    ):
        split = prepared.load("mnist", name, tmp_path / "data")
        np.testing.assert_array_equal(split.x, MNIST[key][rows, ..., None])
        np.testing.assert_array_equal(split.labels, MNIST[f"{key}_labels"][rows])
        assert (split.event, split.num_classes) == (image(28, 28), 10)
        assert (split.version, split.greys, split.x.dtype) == ("1.0.0", None, np.uint8)
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["mnist"]


def test_thresholded_mnist_is_one_above_127(tmp_path):
    prepare("thresholded_mnist", tmp_path, npz(tmp_path / "x.npz", **MNIST))
    split = prepared.load("thresholded_mnist", "train", tmp_path)
    assert {127, 128} <= set(MNIST["train"][:50].ravel())
    np.testing.assert_array_equal(split.x[..., 0], MNIST["train"][:50] >= 128)
    assert split.event == image(28, 28, levels=2)


def test_dynamic_mnist_stores_greys_of_train_and_one_draw_of_the_rest(tmp_path):
    prepare("dynamic_mnist", tmp_path, npz(tmp_path / "x.npz", **MNIST))
    load = functools.partial(prepared.load, "dynamic_mnist", data_dir=tmp_path)
    train = load("train")
    np.testing.assert_array_equal(train.greys[..., 0], MNIST["train"][:50])
    np.testing.assert_array_equal(train.x, dynamic.draw(train.greys, dynamic.FIXED_DRAW))
    assert train.event == image(28, 28, levels=2)
    for name, greys, seed in (
        ("validation", MNIST["train"][50:], (0, 1)),
        ("test", MNIST["test"], (0, 2)),
    ):
        assert load(name).greys is None
        np.testing.assert_array_equal(load(name).x[..., 0], dynamic.draw(greys, seed))
    np.testing.assert_array_equal(load("train").labels, MNIST["train_labels"][:50])


def test_batches_of_greys_are_draws_by_seed_and_step(tmp_path):
    prepare("dynamic_mnist", tmp_path, npz(tmp_path / "x.npz", **MNIST))
    train = prepared.load("dynamic_mnist", "train", tmp_path)
    batches = Batches(train, 50, seed=3, conditional=True)  # a batch is an epoch
    drawn = [batches.batch(step)["x"] for step in (0, 1)]
    again = Batches(train, 50, seed=3).batch(1)["x"]
    np.testing.assert_array_equal(drawn[1], again)
    rows = batches.indices(1)
    np.testing.assert_array_equal(drawn[1], dynamic.draw(train.greys[rows], (3, 1)))
    np.testing.assert_array_equal(batches.batch(1)["cond"], train.labels[rows])
    first, second = (x[np.argsort(batches.indices(step))] for step, x in enumerate(drawn))
    assert 0.3 < np.mean(first != second) < 0.37  # 2 p (1 - p) over uniform p: 1/3
    other = Batches(train, 50, seed=4)
    assert np.any(other.batch(0)["x"][np.argsort(other.indices(0))] != first)
    np.testing.assert_array_equal(take(train, rows, False)["x"], train.x[rows])


def test_a_draw_is_bernoulli_of_grey_over_255():
    """All 256 greys: within five standard deviations of each mean, the ends exact, pixels independent."""
    greys, count = np.arange(256, dtype=np.uint8), 20_000
    drawn = dynamic.draw(np.broadcast_to(greys, (count, 256)), (1, 2))
    assert set(np.unique(drawn)) == {0, 1}
    p = greys / 255
    assert np.all(np.abs(drawn.mean(0) - p) <= 5 * np.sqrt(p * (1 - p) / count))
    assert drawn[:, 0].max() == 0
    assert drawn[:, 255].min() == 1
    assert abs(np.corrcoef(drawn[:, 100], drawn[:, 101])[0, 1]) < 5 / np.sqrt(count)


IMAGES, LABELS = mnist.FILES["train"] + ".gz", mnist.FILES["train_labels"] + ".gz"


def rewritten(change):
    """The idx file inside the gzip, changed."""

    def damage(path: Path):
        path.write_bytes(gzip.compress(change(gzip.decompress(path.read_bytes()))))

    return damage


@pytest.mark.parametrize(
    ("file", "damage", "words"),
    [
        (IMAGES, Path.unlink, "no such file"),
        (IMAGES, lambda path: path.write_bytes(path.read_bytes()[:-200]), "cannot be read"),
        (IMAGES, lambda path: path.write_bytes(b""), "is no idx file of bytes: it begins with"),
        (IMAGES, rewritten(lambda b: b[:-1]), "holds 47039 bytes, its header says 47040"),
        (IMAGES, rewritten(lambda b: b"\0\0\x0d" + b[3:]), "begins with 00 00 0d 03"),
        (IMAGES, rewritten(lambda b: b[:-1] + bytes([b[-1] ^ 1])), "is not the published original"),
        (LABELS, rewritten(lambda b: b[:-1] + bytes([b[-1] ^ 1])), "is not the published original"),
        (
            LABELS,
            rewritten(lambda b: idx(MNIST["test_labels"])),
            "shape (60,), it holds uint8 (20,)",
        ),
    ],
)
def test_a_damaged_idx_file_is_refused_by_name(digits28, tmp_path, file, damage, words):
    damage(digits28 / file)
    message = refusal_of("mnist", tmp_path / "data", digits28)
    assert str(digits28 / file.removesuffix(".gz")) in message
    assert words in message


def test_sources_that_are_none(tmp_path, digits28):
    data = tmp_path / "data"
    (tmp_path / "x.npz").write_bytes(b"no zip archive at all")
    assert "x.npz is no readable .npz file" in refusal_of("mnist", data, tmp_path / "x.npz")
    assert "no such file: /no/where" in refusal_of("mnist", data, "/no/where")
    assert "give the folder" in refusal_of("mnist", data, digits28 / IMAGES)
    npz(tmp_path / "x.npz", **{name: MNIST[name] for name in ("train", "test")})
    message = refusal_of("mnist", data, tmp_path / "x.npz")
    assert f"{tmp_path / 'x.npz'} has no array 'train_labels'; its arrays: test, train" in message
    npz(tmp_path / "x.npz", **{**MNIST, "test": MNIST["test"][::-1]})
    message = refusal_of("mnist", data, tmp_path / "x.npz")
    assert f"{tmp_path / 'x.npz'}: array 'test' is not the published original" in message
    assert "needs no --source" in refusal_of("digits", data, digits28)


def test_a_failure_leaves_what_was_prepared(tmp_path, digits28):
    prepare("mnist", tmp_path / "data", digits28)
    (digits28 / IMAGES).unlink()
    assert IMAGES in refusal_of("thresholded_mnist", tmp_path / "data", digits28)


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format, *args):
        pass


@pytest.fixture
def served(digits28, monkeypatch):
    """Mnist's URL is a local server that holds the four files, with their size and SHA-256 as published."""
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Quiet, directory=str(digits28))
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/"
    monkeypatch.setattr(mnist.Mnist, "URL", url)
    infos = {
        url + path.name: UrlInfo(
            path.stat().st_size, hashlib.sha256(path.read_bytes()).hexdigest(), path.name
        )
        for path in digits28.iterdir()
    }
    monkeypatch.setattr(mnist.Mnist, "url_infos", infos)
    yield url
    server.shutdown()
    server.server_close()


def test_a_download_is_kept_and_used_again(served, tmp_path, monkeypatch):
    prepare("mnist", tmp_path, None)
    split = prepared.load("mnist", "test", tmp_path)
    np.testing.assert_array_equal(split.x, MNIST["test"][..., None])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["downloads", "mnist", "originals"]
    kept = [path for path in (tmp_path / "downloads").rglob("*.gz")]
    assert sorted(path.read_bytes() for path in kept) == sorted(
        path.read_bytes() for path in (tmp_path / "originals").iterdir()
    )
    for path in (tmp_path / "originals").iterdir():
        path.unlink()  # the server has nothing any more
    for path in (tmp_path / "mnist" / "1.0.0").iterdir():
        path.unlink()
    prepare("mnist", tmp_path, None)
    np.testing.assert_array_equal(prepared.load("mnist", "test", tmp_path).x, split.x)


def test_a_download_that_is_another_file_is_refused(served, tmp_path, digits28):
    rewritten(lambda b: b[:-1] + bytes([b[-1] ^ 1]))(digits28 / IMAGES)
    message = refusal_of("mnist", tmp_path / "data", None)
    assert f"cannot download {served}{IMAGES} (what came is not the published file)" in message
    assert "--source PATH" in message


def test_a_download_that_is_not_there_is_refused(served, tmp_path, digits28, monkeypatch):
    (digits28 / IMAGES).unlink()
    message = refusal_of("mnist", tmp_path / "data", None)
    assert f"cannot download {served}{IMAGES}" in message
    assert "404" in message
    monkeypatch.setattr(mnist.Mnist, "URL", "http://127.0.0.1:9/")  # nobody listens
    message = refusal_of("mnist", tmp_path / "data", None)
    assert f"http://127.0.0.1:9/{IMAGES} (the connection failed); if you have the file" in message


def test_every_url_has_a_published_checksum():
    urls = {url for builder in BUILDERS.values() for url in builder.url_infos}
    assert all(len(info.checksum) == 64 for info in mnist.Mnist.url_infos.values())
    for name, builder in BUILDERS.items():
        if name not in ("digits",):
            assert any(url.startswith(builder.URL) for url in urls), name
    for name in ("fashion_mnist", "mnist"):
        for file in mnist.FILES.values():
            assert f"{BUILDERS[name].URL}{file}.gz" in urls
    for name in ("imagenet_resized_32", "imagenet_resized_64"):
        assert all(BUILDERS[name].URL + file in urls for file in BUILDERS[name].FILES)
    for side in (32, 64):
        for key in ("train", "valid"):
            assert f"http://image-net.org/small/{key}_{side}x{side}.tar" in urls


def records(key: str) -> bytes:
    planes = CIFAR[key].transpose(0, 3, 1, 2).reshape(len(CIFAR[key]), -1)
    return np.concatenate([CIFAR[f"{key}_labels"][:, None], planes], axis=1).tobytes()


def cifar_source(kind: str, folder: Path, test: bool = True) -> Path:
    if kind == "npz":
        kept = CIFAR if test else {k: v for k, v in CIFAR.items() if k.startswith("train")}
        return npz(folder / "cifar10.npz", **kept)
    batches = folder / cifar10.FOLDER
    batches.mkdir(parents=True)
    content, size = records("train"), 10 * 3073
    for i, name in enumerate(cifar10.TRAIN_FILES):
        (batches / name).write_bytes(content[i * size : (i + 1) * size])
    if test:
        (batches / cifar10.TEST_FILE).write_bytes(records("test"))
    (batches / "batches.meta.txt").write_text("airplane\n")
    if kind in ("batches", "parent"):
        return batches if kind == "batches" else folder
    with tarfile.open(folder / cifar10.ARCHIVE, "w:gz") as archive:
        archive.add(batches, cifar10.FOLDER)
    return folder if kind == "archive in a folder" else folder / cifar10.ARCHIVE


@pytest.mark.parametrize("kind", ["npz", "batches", "parent", "archive", "archive in a folder"])
def test_cifar10_is_the_original_whatever_the_container(tmp_path, kind):
    prepare("cifar10", tmp_path / "data", cifar_source(kind, tmp_path))
    for name, key, rows in (
        ("train", "train", slice(45)),
        ("validation", "train", slice(45, 50)),
        ("test", "test", slice(10)),
    ):
        split = prepared.load("cifar10", name, tmp_path / "data")
        np.testing.assert_array_equal(split.x, CIFAR[key][rows])
        np.testing.assert_array_equal(split.labels, CIFAR[f"{key}_labels"][rows])
    assert (split.event, split.num_classes) == (image(32, 32, 3), 10)


def test_cifar10_without_test_images_is_completed_later(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(logging.getLogger("gen_jax"), "propagate", True)
    data = tmp_path / "data"
    part = cifar_source("npz", tmp_path, test=False)
    folder = prepare("cifar10", data, part)
    [line] = [record.getMessage() for record in caplog.records if record.name.startswith("gen_jax")]
    assert f"{part} has no test images: cifar10 gets train and validation, no test" in line
    with pytest.raises(InputError, match=r"unknown split 'test'.*; cifar10 has train, validation"):
        prepared.load("cifar10", "test", data)
    before = tree(folder)
    prepare("cifar10", data, part)
    assert tree(folder) == before
    npz(part, **{**CIFAR, "test": CIFAR["test"][::-1]})
    assert "test is not the published test_batch.bin" in refusal_of("cifar10", data, part)
    npz(part, **{**CIFAR, "test": CIFAR["test"][:3]})
    assert "test should be uint8 (10, 32, 32, 3)" in refusal_of("cifar10", data, part)
    npz(part, **{name: CIFAR[name] for name in ("train", "train_labels", "test")})
    assert "has no array 'test_labels'" in refusal_of("cifar10", data, part)
    assert prepare("cifar10", data, cifar_source("npz", tmp_path)) == folder
    np.testing.assert_array_equal(prepared.load("cifar10", "test", data).x, CIFAR["test"])
    assert [path.name for path in data.iterdir()] == ["cifar10"]


def test_damaged_cifar10_is_refused(tmp_path):
    archive = cifar_source("archive", tmp_path)
    data = tmp_path / "data"
    batches = tmp_path / cifar10.FOLDER
    (batches / "data_batch_3.bin").write_bytes(records("train")[:3000])
    assert f"{batches} is damaged: a batch of 3000" in refusal_of("cifar10", data, batches)
    (batches / "data_batch_3.bin").write_bytes(records("train")[: 10 * 3073])
    assert f"{batches}: train is not the published" in refusal_of("cifar10", data, batches)
    (batches / "data_batch_3.bin").unlink()
    assert f"{batches} has no file data_batch_3.bin" in refusal_of("cifar10", data, batches)
    archive.write_bytes(archive.read_bytes()[:-5000])
    assert f"{archive} cannot be read" in refusal_of("cifar10", data, archive)
    (tmp_path / "empty").mkdir()
    message = refusal_of("cifar10", data, tmp_path / "empty")
    assert f"no such file: {tmp_path / 'empty' / cifar10.ARCHIVE} or {cifar10.FOLDER}" in message


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
        split = prepared.load("binarized_mnist", name, tmp_path / "data")
        np.testing.assert_array_equal(split.x, BINARY[key])
        assert (split.event, split.labels) == (image(28, 28, levels=2), None)


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({}, "has no array 'train'; its arrays: none"),
        (
            {"train": np.zeros((3, 784), np.uint8)},
            "array 'train' should hold integers of shape (4,",
        ),
        ({"train": 2 * BINARY["train"]}, "array 'train' is not the published original"),
        ({"train": BINARY["train"] / 2}, "array 'train' should hold integers"),
        ({**BINARY, "test": BINARY["valid"]}, "array 'test' is not the published original"),
    ],
)
def test_binarized_mnist_refuses_other_arrays(tmp_path, monkeypatch, arrays, words):
    monkeypatch.setattr(BUILDERS["binarized_mnist"], "ORIGINALS", originals(BINARY))
    assert words in refusal_of("binarized_mnist", tmp_path, npz(tmp_path / "x.npz", **arrays))
    missing = tmp_path / "binarized_mnist_train.amat"
    assert f"no such file: {missing} or" in refusal_of("binarized_mnist", tmp_path, tmp_path)


DRAWN = {
    "background": RNG.integers(0, 2, (3 * 20, 105, 105), np.uint8),
    "evaluation": RNG.integers(0, 2, (20, 105, 105), np.uint8),
}
CHARACTERS = {
    "background": ["Greek/character01", "Greek/character02", "Latin/character01"],
    "evaluation": ["Manipuri/character07"],
}


def omniglot_source(kind: str, folder: Path) -> Path:
    if kind == "npz":
        return npz(folder / "x.npz", **DRAWN)
    if kind == "packed":
        bits = {k: np.packbits(a.reshape(len(a), -1), axis=1) for k, a in DRAWN.items()}
        return npz(folder / "x.npz", **{f"{k}_packed": a for k, a in bits.items()})
    for key, characters in CHARACTERS.items():
        for i in reversed(range(len(DRAWN[key]))):  # the order of the names counts, not this
            content = png(DRAWN[key][i] == 0)  # paper is white
            name = f"images_{key}/{characters[i // 20]}/{900 - i // 20:04}_{i % 20 + 1:02}.png"
            if kind == "folders":
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (folder / name).write_bytes(content)
            else:
                with zipfile.ZipFile(folder / f"images_{key}.zip", "a") as archive:
                    archive.writestr(name, content)
    return folder


@pytest.mark.parametrize("kind", ["npz", "packed", "folders", "zips"])
def test_omniglot_holds_out_drawers_19_and_20(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(BUILDERS["omniglot"], "ORIGINALS", originals(DRAWN))
    prepare("omniglot", tmp_path / "data", omniglot_source(kind, tmp_path))
    drawer = np.arange(60) % 20 + 1
    for name, expected in (
        ("train", DRAWN["background"][drawer <= 18]),
        ("validation", DRAWN["background"][drawer >= 19]),
        ("test", DRAWN["evaluation"]),
    ):
        split = prepared.load("omniglot", name, tmp_path / "data")
        np.testing.assert_array_equal(split.x[..., 0], expected)
    assert (split.event, split.labels) == (image(105, 105, levels=2), None)


def test_damaged_omniglot_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(BUILDERS["omniglot"], "ORIGINALS", originals(DRAWN))
    source, data = omniglot_source("folders", tmp_path / "o"), tmp_path / "data"
    one = source / "images_background" / "Latin" / "character01" / "0898_20.png"
    content = one.read_bytes()
    one.write_bytes(content[:20])
    assert f"{source / 'images_background'} cannot be read" in refusal_of("omniglot", data, source)
    one.unlink()
    assert "holds 59 drawings, not 60" in refusal_of("omniglot", data, source)
    one.write_bytes(png(np.zeros((105, 105), bool)))
    assert "images_background is not the published" in refusal_of("omniglot", data, source)


SMALL = {"train": RNG.integers(0, 256, (260, 8, 8, 3), np.uint8)}
SMALL["valid"] = RNG.integers(0, 256, (5, 8, 8, 3), np.uint8)
KEPT = np.setdiff1d(np.arange(260), [127, 255])


@pytest.fixture
def downsampled(monkeypatch, tmp_path) -> Path:
    """Both archives of PixelRNN's release in a folder, of 260 and 5 images of 8x8, in another order than the names."""
    builder, folder = BUILDERS["downsampled_imagenet_32"], tmp_path / "originals"
    monkeypatch.setattr(builder, "SIDE", 8)
    monkeypatch.setattr(builder, "COUNTS", {key: len(x) for key, x in SMALL.items()})
    folder.mkdir()
    infos = {}
    for key, images in SMALL.items():
        path = folder / f"{key}_8x8.tar"
        with tarfile.open(path, "w") as archive:
            for i in np.random.default_rng(1).permutation(len(images)):
                content = png(images[i])
                member = tarfile.TarInfo(f"{key}_8x8/{i:07}.png")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        infos[f"{builder.URL}{path.name}"] = UrlInfo(path.stat().st_size, digest, path.name)
    monkeypatch.setattr(builder, "url_infos", infos)
    return folder


def check_downsampled(data):
    for name, expected in (
        ("train", SMALL["train"][KEPT]),
        ("validation", SMALL["train"][[127, 255]]),
        ("test", SMALL["valid"]),
    ):
        split = prepared.load("downsampled_imagenet_32", name, data)
        np.testing.assert_array_equal(split.x, expected)
        assert (split.labels, split.num_classes, split.event.levels) == (None, 0, 256)


@pytest.mark.parametrize("extracted", [False, True])
def test_downsampled_imagenet_goes_by_file_name(downsampled, tmp_path, extracted):
    if extracted:
        for path in list(downsampled.iterdir()):
            with tarfile.open(path) as archive:
                archive.extractall(downsampled, filter="data")
            path.unlink()
    prepare("downsampled_imagenet_32", tmp_path / "data", downsampled)
    check_downsampled(tmp_path / "data")


def test_downsampled_imagenet_is_read_image_by_image(downsampled, tmp_path):
    builder = BUILDERS["downsampled_imagenet_32"](data_dir=tmp_path, source=str(downsampled))
    paths = {"train": downsampled / "train_8x8.tar"}
    examples = builder._examples(paths, "train", True)
    index, pixels, _ = next(examples)
    assert index in (127, 255)
    np.testing.assert_array_equal(pixels, SMALL["train"][index])
    paths["train"].unlink()
    with pytest.raises(FileNotFoundError):
        next(examples)


def test_damaged_downsampled_imagenet_is_refused(downsampled, tmp_path, monkeypatch):
    name, data, path = "downsampled_imagenet_32", tmp_path / "data", downsampled / "valid_8x8.tar"
    content = path.read_bytes()
    path.write_bytes(content[:-512])
    assert f"{path} holds {len(content) - 512} bytes" in refusal_of(name, data, downsampled)
    path.write_bytes(content[:600] + b"?" + content[601:])
    assert f"{path} is not the published file" in refusal_of(name, data, downsampled)
    path.write_bytes(content)
    monkeypatch.setattr(BUILDERS[name], "COUNTS", {"train": 260, "valid": 6})
    assert f"{path} holds 5 images, not 6" in refusal_of(name, data, downsampled)
    monkeypatch.setattr(BUILDERS[name], "COUNTS", {"train": 260, "valid": 5})
    path.unlink()
    assert f"no such file: {path} or valid_8x8" in refusal_of(name, data, downsampled)
    (downsampled / "valid_8x8").mkdir()
    for i in range(5):
        (downsampled / "valid_8x8" / f"{i}.png").write_bytes(png(SMALL["valid"][i]))
    (downsampled / "valid_8x8" / "3.png").write_bytes(b"\x89PNG but no more")
    assert "3.png cannot be read" in refusal_of(name, data, downsampled)  # after train was written
    (downsampled / "valid_8x8" / "3.png").write_bytes(png(SMALL["valid"][3][:4]))
    assert "3.png is of shape (4, 8, 3)" in refusal_of(name, data, downsampled)
    assert "is no folder" in refusal_of(name, data, downsampled / "train_8x8.tar")


CLASSES = {key: RNG.integers(1, 1001, len(images)) for key, images in SMALL.items()}
BATCHES = {"train_data_batch_1": slice(100), "train_data_batch_2": slice(100, 130)}
BATCHES["train_data_batch_10"] = slice(130, 260)


def batches_of(pickled: bool) -> dict[str, bytes]:
    files = {}
    for name, key, rows in (
        *((name, "train", rows) for name, rows in BATCHES.items()),
        ("val_data", "valid", slice(None)),
    ):
        flat = SMALL[key][rows].transpose(0, 3, 1, 2).reshape(-1, 192)
        buffer, labels = io.BytesIO(), CLASSES[key][rows]
        if pickled:
            pickle.dump({"data": flat, "labels": labels.tolist(), "mean": flat.mean(0)}, buffer, 2)
        else:
            np.savez(buffer, data=flat, labels=labels, mean=flat.mean(0))
        files[name if pickled else f"{name}.npz"] = buffer.getvalue()
    return files


@pytest.fixture
def resized(monkeypatch):
    builder = BUILDERS["imagenet_resized_32"]
    monkeypatch.setattr(builder, "SIDE", 8)
    monkeypatch.setattr(builder, "FILES", ("Imagenet8_train_npz.zip", "Imagenet8_val_npz.zip"))
    monkeypatch.setattr(builder, "COUNTS", {"train": 260, "val": 5})


def resized_source(folder: Path, zipped: bool, pickled: bool, monkeypatch) -> Path:
    folder.mkdir()
    infos = {}
    for name, content in reversed(batches_of(pickled).items()):
        if not zipped:
            (folder / name).write_bytes(content)
            continue
        ending = "" if pickled else "_npz"
        path = folder / f"Imagenet8_{name.partition('_')[0]}{ending}.zip"
        with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(f"{path.stem}/{name}", content)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        url = BUILDERS["imagenet_resized_32"].URL + path.name
        infos[url] = UrlInfo(path.stat().st_size, digest, path.name)
    monkeypatch.setattr(BUILDERS["imagenet_resized_32"], "url_infos", infos)
    return folder


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("pickled", [True, False])
def test_imagenet_resized_goes_by_batch_number(resized, tmp_path, monkeypatch, zipped, pickled):
    source = resized_source(tmp_path / "originals", zipped, pickled, monkeypatch)
    prepare("imagenet_resized_32", tmp_path / "data", source)
    for name, key, rows in (
        ("train", "train", KEPT),
        ("validation", "train", [127, 255]),
        ("test", "valid", slice(None)),
    ):
        split = prepared.load("imagenet_resized_32", name, tmp_path / "data")
        np.testing.assert_array_equal(split.x, SMALL[key][rows])
        np.testing.assert_array_equal(split.labels, CLASSES[key][rows] - 1)
    assert (split.event, split.num_classes) == (image(8, 8, 3), 1000)


def test_damaged_imagenet_resized_is_refused(resized, tmp_path, monkeypatch):
    name, data = "imagenet_resized_32", tmp_path / "data"
    source = resized_source(tmp_path / "zips", True, False, monkeypatch)
    path = source / "Imagenet8_val_npz.zip"
    path.write_bytes(path.read_bytes() + b"?")
    assert f"{path} holds" in refusal_of(name, data, source)
    path.unlink()
    assert "holds neither Imagenet8_val_npz.zip nor" in refusal_of(name, data, source)
    source = resized_source(tmp_path / "npz", False, False, monkeypatch)
    batch = source / "train_data_batch_2.npz"
    content = batch.read_bytes()
    batch.write_bytes(content[:-300])
    assert f"{batch} cannot be read" in refusal_of(name, data, source)
    batch.unlink()
    message = refusal_of(name, data, source)
    assert f"{source / 'train_data_batch_10.npz'}: 230 images, not 260" in message
    npz(batch, data=np.zeros((30, 192), np.uint8), labels=np.zeros(30, int))
    assert f"{batch}: image 100 has 192 values and label 0" in refusal_of(name, data, source)


def test_a_pickle_that_would_run_something_is_refused(resized, tmp_path, monkeypatch):
    source = resized_source(tmp_path / "originals", False, True, monkeypatch)
    mark = tmp_path / "ran"
    attack = f"cos\nsystem\n(S'touch {mark}'\ntR.".encode()
    (source / "val_data").write_bytes(attack)
    message = refusal_of("imagenet_resized_32", tmp_path / "data", source)
    assert f"{source / 'val_data'} cannot be read: it refers to os.system" in message
    assert not mark.exists()


def test_the_command_line_lists_and_prepares(tmp_path, capsys):
    assert main(["data", "list", "--data-dir", str(tmp_path)]) == 0
    listed = capsys.readouterr().out
    assert all(f"  {name} " in listed for name in BUILDERS)
    assert len(BUILDERS) == 12
    source = cifar_source("npz", tmp_path, test=False)
    arguments = ["data", "prepare", "cifar10", "--data-dir", str(tmp_path)]
    assert main([*arguments, "--source", str(source)]) == 0
    said = capsys.readouterr()
    assert said.out == f"cifar10 is in {tmp_path}/cifar10/1.0.0\n"
    assert said.err.count("\n") == 1
    assert "no test" in said.err


DOCS = (Path(__file__).parents[1] / "docs" / "data.md").read_text()


def test_the_page_about_data_names_every_set():
    rows = re.findall(r"^\| `(\w+)` \| (\d+) \| (\S+) \|", DOCS, re.MULTILINE)
    assert sorted(name for name, *_ in rows) == sorted(BUILDERS)
    for name, levels, shape in rows:
        info = BUILDERS[name](data_dir="/nowhere").info
        assert info.metadata["levels"] == int(levels)
        assert "x".join(map(str, info.features["image"].shape)) == shape
    for line in re.findall(r"^gen-jax (.*)$", DOCS, re.MULTILINE):
        assert parser().parse_args(line.split()).name in BUILDERS


def test_listing_imports_no_jax():
    code = "import sys, gen_jax.data.builders; print({'jax', 'sklearn', 'tensorflow'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "set()\n", done.stderr


@pytest.fixture
def real(monkeypatch, shared):
    """The published counts and checksums."""
    monkeypatch.undo()
    return shared


def cifar10_npz(shared, tmp_path) -> Path:
    """What docs/data.md says for the residual files."""
    [code] = [part for part in DOCS.split("```python\n")[1:] if "train_residual" in part]
    code = code.partition("```")[0].replace('"FOLDER"', repr(str(shared)))
    code = code.replace('"cifar10.npz"', repr(str(tmp_path / "cifar10.npz")))
    exec(code, {})
    return tmp_path / "cifar10.npz"


def test_the_real_files_are_the_published_ones(real, tmp_path):
    """Checked and not written; the whole way is below."""
    for name in ("mnist", "fashion_mnist", "thresholded_mnist", "binarized_mnist"):
        builder = BUILDERS[name](data_dir=tmp_path, source=str(real))
        assert {len(array) for array in builder._arrays(None).values()} <= {60_000, 50_000, 10_000}
    builder = BUILDERS["omniglot"](data_dir=tmp_path, source=str(real))
    assert builder._images("evaluation", None).shape == (13_180, 105, 105)


def assert_split(name, split, data_dir, images, labels=None):
    found = prepared.load(name, split, data_dir)
    np.testing.assert_array_equal(found.x, images.reshape(found.x.shape))
    if labels is not None:
        np.testing.assert_array_equal(found.labels, labels)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_real_mnist_bit_for_bit(real, tmp_path, name):
    arrays = read_npz(real / f"{name}.npz")
    prepare(name, tmp_path, real / f"{name}.npz")
    images, labels = arrays["train"], arrays["train_labels"]
    assert_split(name, "train", tmp_path, images[:50_000], labels[:50_000])
    assert_split(name, "validation", tmp_path, images[50_000:], labels[50_000:])
    assert_split(name, "test", tmp_path, arrays["test"], arrays["test_labels"])


@pytest.mark.slow
def test_real_binarized_mnist_bit_for_bit(real, tmp_path):
    arrays = read_npz(real / "binarized_mnist.npz")
    prepare("binarized_mnist", tmp_path, real)
    for split, key in (("train", "train"), ("validation", "valid"), ("test", "test")):
        assert_split("binarized_mnist", split, tmp_path, arrays[key])


@pytest.mark.slow
def test_real_cifar10_bit_for_bit(real, tmp_path):
    source = cifar10_npz(real, tmp_path)
    arrays = read_npz(source)
    prepare("cifar10", tmp_path, source)
    images, labels = arrays["train"], arrays["train_labels"]
    assert_split("cifar10", "train", tmp_path, images[:45_000], labels[:45_000])
    assert_split("cifar10", "validation", tmp_path, images[45_000:], labels[45_000:])


@pytest.mark.slow
def test_real_omniglot_bit_for_bit(real, tmp_path):
    """From the .npz, and from zips of PNG files under the names of the release."""
    arrays = read_npz(real / "omniglot.npz")
    prepare("omniglot", tmp_path, real)
    drawings = np.unpackbits(arrays["background_packed"], axis=1, count=105 * 105)
    held_out = arrays["background_drawer"] >= 19
    assert_split("omniglot", "train", tmp_path, drawings[~held_out])
    assert_split("omniglot", "validation", tmp_path, drawings[held_out])
    evaluation = np.unpackbits(arrays["evaluation_packed"], axis=1, count=105 * 105)
    assert_split("omniglot", "test", tmp_path, evaluation)
    columns = ("alphabet", "character", "drawer")
    rows = zip(*(arrays[f"evaluation_{column}"] for column in columns), strict=True)
    with zipfile.ZipFile(tmp_path / "images_evaluation.zip", "w") as archive:
        for (alphabet, character, drawer), drawing in zip(rows, evaluation, strict=True):
            folder = f"{arrays['evaluation_alphabets'][alphabet]}/character{character:02}"
            content = png(drawing.reshape(105, 105) == 0)
            archive.writestr(f"images_evaluation/{folder}/1000_{drawer:02}.png", content)
    builder = BUILDERS["omniglot"](data_dir=tmp_path / "no", source=str(tmp_path))
    found = builder._images("evaluation", None)
    np.testing.assert_array_equal(found.reshape(len(evaluation), -1), evaluation)
