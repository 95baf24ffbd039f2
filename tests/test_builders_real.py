"""Builders against the published originals, bit for bit."""

import zipfile
from pathlib import Path

import numpy as np
import pytest
from originals import assert_split, png, prepare

from gen_jax.data.builders import BUILDERS
from gen_jax.data.npz import read_npz

DATA_PAGE = (Path(__file__).parents[1] / "docs" / "data.md").read_text()


def cifar10_npz(shared, tmp_path, monkeypatch) -> Path:
    """What docs/data.md says for the residual files."""
    [code] = [part for part in DATA_PAGE.split("```python\n")[1:] if "train_residual" in part]
    for part in (0, 1):
        (tmp_path / f"cifar10_train_{part}.npz").symlink_to(shared / f"cifar10_train_{part}.npz")
    monkeypatch.chdir(tmp_path)
    exec(code.partition("```")[0], {})
    return tmp_path / "cifar10.npz"


def test_the_real_files_are_the_published_ones(shared, tmp_path):
    """Checked and not written; the whole way is below."""
    for name in ("mnist", "fashion_mnist", "thresholded_mnist", "binarized_mnist"):
        builder = BUILDERS[name](data_dir=tmp_path, source=str(shared))
        assert {len(array) for array in builder._arrays(None).values()} <= {60_000, 50_000, 10_000}
    builder = BUILDERS["omniglot"](data_dir=tmp_path, source=str(shared))
    assert builder._images("evaluation", None).shape == (13_180, 105, 105)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_real_mnist_bit_for_bit(shared, tmp_path, name):
    arrays = read_npz(shared / f"{name}.npz")
    prepare(name, tmp_path, shared / f"{name}.npz")
    images, labels = arrays["train"], arrays["train_labels"]
    assert_split(name, "train", tmp_path, images[:50_000], labels[:50_000])
    assert_split(name, "validation", tmp_path, images[50_000:], labels[50_000:])
    assert_split(name, "test", tmp_path, arrays["test"], arrays["test_labels"])


@pytest.mark.slow
def test_real_binarized_mnist_bit_for_bit(shared, tmp_path):
    arrays = read_npz(shared / "binarized_mnist.npz")
    prepare("binarized_mnist", tmp_path, shared)
    for split, key in (("train", "train"), ("validation", "valid"), ("test", "test")):
        assert_split("binarized_mnist", split, tmp_path, arrays[key])


@pytest.mark.slow
def test_real_cifar10_bit_for_bit(shared, tmp_path, monkeypatch):
    source = cifar10_npz(shared, tmp_path, monkeypatch)
    arrays = read_npz(source)
    prepare("cifar10", tmp_path, source)
    images, labels = arrays["train"], arrays["train_labels"]
    assert_split("cifar10", "train", tmp_path, images[:45_000], labels[:45_000])
    assert_split("cifar10", "validation", tmp_path, images[45_000:], labels[45_000:])


@pytest.mark.slow
def test_real_omniglot_bit_for_bit(shared, tmp_path):
    """From the .npz, and from zips of PNG files under the names of the release."""
    arrays = read_npz(shared / "omniglot.npz")
    prepare("omniglot", tmp_path, shared)
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
