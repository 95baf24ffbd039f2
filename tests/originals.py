"""Small stand-ins for published files, and what tests of preparing and importing share."""

import hashlib
import io
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tensorflow_datasets.core.download.checksums import UrlInfo

from gen_jax import InputError
from gen_jax.data import prepared
from gen_jax.data.builders import cifar10, mnist
from gen_jax.data.builders.originals import Original

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


def grey(count, height=4, width=5):
    return RNG.integers(0, 256, (count, height, width), np.uint8)


def originals(arrays) -> dict:
    """Shapes and checksums of arrays, as a builder publishes them."""
    return {
        name: Original(array.shape, hashlib.sha256(array.tobytes()).hexdigest())
        for name, array in arrays.items()
    }


def published(url: str, *paths: Path) -> dict:
    """Size and checksum of files, as if TFDS had recorded them at that URL."""
    return {
        url + path.name: UrlInfo(
            path.stat().st_size, hashlib.sha256(path.read_bytes()).hexdigest(), path.name
        )
        for path in paths
    }


def small_mnist(monkeypatch) -> None:
    """MNIST of 50 / 10 / 20 images."""
    monkeypatch.setattr(mnist.Mnist, "ORIGINALS", originals(MNIST))
    monkeypatch.setattr(mnist.Mnist, "VALIDATION", 10)


def small_cifar(monkeypatch) -> None:
    """CIFAR-10 of 45 / 5 / 10 images."""
    train = {name: CIFAR[name] for name in ("train", "train_labels")}
    content = cifar_batch("test")
    blob = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
    for name, value in {
        "ORIGINALS": originals(train),
        "VALIDATION": 5,
        "TEST_SHAPE": CIFAR["test"].shape,
        "TEST_BLOB": blob,
    }.items():
        monkeypatch.setattr(cifar10.Cifar10, name, value)


def idx(array, kind=8) -> bytes:
    sides = struct.pack(f">{array.ndim}I", *array.shape)
    return bytes([0, 0, kind, array.ndim]) + sides + array.astype(np.uint8).tobytes()


def records(images, *labels) -> bytes:
    """CIFAR's binary form: label bytes, then three planes."""
    planes = images.transpose(0, 3, 1, 2).reshape(len(images), -1)
    columns = [np.asarray(column)[:, None] for column in labels]
    return np.concatenate([*columns, planes], axis=1).astype(np.uint8).tobytes()


def cifar_batch(key: str) -> bytes:
    return records(CIFAR[key], CIFAR[f"{key}_labels"])


def png(pixels) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "png")
    return buffer.getvalue()


def save_png(path: Path, pixels) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(png(pixels))
    return path


def npz(path, **arrays) -> Path:
    np.savez_compressed(path, **arrays)
    return path


def tree(folder: Path) -> dict:
    """Every path below a folder, files with the time of their last change."""
    return {
        str(path.relative_to(folder)): path.stat().st_mtime_ns if path.is_file() else None
        for path in folder.rglob("*")
    }


def assert_same(got, expected):
    """Equal values, shapes and types."""
    np.testing.assert_array_equal(got, expected, strict=True)


def prepare(name, data_dir, source):
    return prepared.prepare(name, data_dir, None if source is None else str(source))


def assert_split(name, split, data_dir, images, labels=None):
    """The split has these images, and these labels or none that matter; it is returned."""
    found = prepared.load(name, split, data_dir)
    np.testing.assert_array_equal(found.x, images.reshape(found.x.shape))
    if labels is not None:
        np.testing.assert_array_equal(found.labels, labels)
    return found


def refusal_of(name, data_dir, source) -> str:
    """Check that the command fails with one sentence and leaves the data folder as it was; returns the sentence."""
    before, was_there = tree(data_dir), data_dir.exists()
    with pytest.raises(InputError) as refusal:
        prepare(name, data_dir, source)
    assert (tree(data_dir), data_dir.exists()) == (before, was_there)
    assert "\n" not in str(refusal.value)
    return str(refusal.value)


def text_of(name, folder, split) -> bytes:
    """The bytes behind an imported text's symbols."""
    found = prepared.load(name, split, folder.parents[1])
    return np.array(found.presentation["alphabet"], np.uint8)[found.x].tobytes()
