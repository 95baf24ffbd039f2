"""CIFAR-10 from a few images: every container, without test images, damage."""

import logging
import tarfile
from pathlib import Path

import pytest
from originals import (
    CIFAR,
    assert_split,
    cifar_batch,
    npz,
    prepare,
    refusal_of,
    small_cifar,
    tree,
)

from gen_jax import InputError, image
from gen_jax.cli import main
from gen_jax.data import prepared
from gen_jax.data.builders import cifar10

TRAINING = {name: CIFAR[name] for name in ("train", "train_labels")}


@pytest.fixture(autouse=True)
def small(monkeypatch):
    small_cifar(monkeypatch)


def cifar_source(kind: str, folder: Path) -> Path:
    if kind == "npz":
        return npz(folder / "cifar10.npz", **CIFAR)
    batches = folder / cifar10.FOLDER
    batches.mkdir(parents=True)
    content, size = cifar_batch("train"), 10 * 3073
    for i, name in enumerate(cifar10.TRAIN_FILES):
        (batches / name).write_bytes(content[i * size : (i + 1) * size])
    (batches / cifar10.TEST_FILE).write_bytes(cifar_batch("test"))
    (batches / "batches.meta.txt").write_text("airplane\n")
    if kind in ("batches", "parent"):
        return batches if kind == "batches" else folder
    with tarfile.open(folder / cifar10.ARCHIVE, "w:gz") as archive:
        archive.add(batches, cifar10.FOLDER)
    return folder if kind == "archive in a folder" else folder / cifar10.ARCHIVE


@pytest.mark.parametrize("kind", ["npz", "batches", "parent", "archive", "archive in a folder"])
def test_cifar10_is_the_original_whatever_the_container(tmp_path, kind):
    data = tmp_path / "data"
    prepare("cifar10", data, cifar_source(kind, tmp_path))
    images, labels = CIFAR["train"], CIFAR["train_labels"]
    assert_split("cifar10", "train", data, images[:45], labels[:45])
    assert_split("cifar10", "validation", data, images[45:], labels[45:])
    split = assert_split("cifar10", "test", data, CIFAR["test"], CIFAR["test_labels"])
    assert (split.event, split.num_classes) == (image(32, 32, 3), 10)


def test_cifar10_without_test_images_is_completed_later(tmp_path, monkeypatch, caplog):
    log = logging.getLogger("gen_jax")
    caplog.set_level(logging.WARNING, "gen_jax")
    monkeypatch.setattr(log, "propagate", True)
    monkeypatch.setattr(log, "handlers", [])  # pytest has put its own where nothing propagated
    data, path = tmp_path / "data", npz(tmp_path / "cifar10.npz", **TRAINING)
    folder = prepare("cifar10", data, path)
    [line] = [record.getMessage() for record in caplog.records if record.name.startswith("gen_jax")]
    assert f"{path} has no test images, so cifar10 has train and validation only" in line
    with pytest.raises(InputError, match=r"unknown split 'test'.*; cifar10 has train, validation"):
        prepared.load("cifar10", "test", data)
    before = tree(folder)
    prepare("cifar10", data, path)
    assert tree(folder) == before
    npz(path, **{**CIFAR, "test": CIFAR["test"][::-1]})
    assert "test is not the published test_batch.bin" in refusal_of("cifar10", data, path)
    npz(path, **{**CIFAR, "test": CIFAR["test"][:3]})
    assert "test should be uint8 (10, 32, 32, 3)" in refusal_of("cifar10", data, path)
    npz(path, **TRAINING, test=CIFAR["test"])
    assert "has no array 'test_labels'" in refusal_of("cifar10", data, path)
    assert prepare("cifar10", data, npz(path, **CIFAR)) == folder
    assert_split("cifar10", "test", data, CIFAR["test"])
    assert [path.name for path in data.iterdir()] == ["cifar10"]


def test_damaged_cifar10_is_refused(tmp_path):
    archive = cifar_source("archive", tmp_path)
    data, batches = tmp_path / "data", tmp_path / cifar10.FOLDER
    batch = batches / "data_batch_3.bin"
    batch.write_bytes(cifar_batch("train")[:3000])
    assert f"{batch} has 3000 bytes, not a multiple of" in refusal_of("cifar10", data, batches)
    batch.write_bytes(cifar_batch("train")[: 10 * 3073])
    assert f"{batches}: train is not the published" in refusal_of("cifar10", data, batches)
    batch.unlink()
    assert f"{batches} has no file data_batch_3.bin" in refusal_of("cifar10", data, batches)
    archive.write_bytes(archive.read_bytes()[:-5000])
    assert f"{archive} cannot be read" in refusal_of("cifar10", data, archive)
    (tmp_path / "empty").mkdir()
    message = refusal_of("cifar10", data, tmp_path / "empty")
    assert f"no such file: {tmp_path / 'empty' / cifar10.ARCHIVE} or {cifar10.FOLDER}" in message


def test_the_command_says_where_the_set_is_and_what_it_lacks(tmp_path, capsys):
    source = npz(tmp_path / "cifar10.npz", **TRAINING)
    arguments = ["data", "prepare", "cifar10", "--data-dir", str(tmp_path)]
    assert main([*arguments, "--source", str(source)]) == 0
    said = capsys.readouterr()
    assert said.out == f"cifar10 is in {tmp_path}/cifar10/1.0.0\n"
    assert said.err.count("\n") == 1
    assert "no test" in said.err
