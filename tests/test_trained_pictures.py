"""Ordinary PNG files of every kind through the trained models of the package: they come back bit for bit."""

import json
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_planes import EVERY, sample, written

from gen_jax.coding import files, planes
from gen_jax.coding.codec import Codec
from gen_jax.data.png import read_every_png
from gen_jax.runs.run import load_run

FOLDER = Path(__file__).resolve().parents[1] / "experiments" / "pictures"
COLOUR, GREY = "image_transformer_cifar10_small", "sparse_transformer_mnist"


@pytest.fixture(scope="module")
def study():
    """The program of the study, and the module of its ordinary pictures."""
    sys.path.insert(0, str(FOLDER))
    try:
        yield runpy.run_path(str(FOLDER / "run.py")), sys.modules["ordinary"]
    finally:
        sys.path.remove(str(FOLDER))
        sys.modules.pop("ordinary", None)


def smooth(height, width, channels):
    """A picture that is easy to code, with some noise."""
    rows, columns = np.mgrid[:height, :width]
    noise = np.random.default_rng(0).integers(0, 4, (height, width, channels))
    return ((3 * rows + 2 * columns)[..., None] % 200 + 20 * np.arange(channels) + noise).astype(
        np.uint8
    )


@pytest.mark.slow
def test_pictures_come_back(study, tmp_path):
    """Colour and grey, 1x1, odd sides, 1 bit, alpha; the study itself compares every sample."""
    colour, grey = Image.fromarray(smooth(33, 64, 3)), Image.fromarray(smooth(29, 31, 1)[..., 0])
    pictures = {
        "colour": colour,
        "grey": grey,
        "pixel": colour.crop((0, 0, 1, 1)),
        "black_and_white": grey.convert("1"),
        "alpha": colour.convert("RGBA"),
    }
    paths = [tmp_path / f"{name}.png" for name in pictures]
    for path, picture in zip(paths, pictures.values(), strict=True):
        picture.save(path)
    study[0]["record"](paths, tmp_path / "pictures.json")
    rows = {
        row["picture"]: row for row in json.loads((tmp_path / "pictures.json").read_text())["rows"]
    }
    assert rows.keys() == {path.name for path in paths}
    assert rows["colour.png"]["model"] == rows["alpha.png"]["model"] == COLOUR
    assert rows["grey.png"]["model"] == GREY
    assert (rows["colour.png"]["side_bytes"], rows["alpha.png"]["side_bytes"] > 0) == (0, True)


@pytest.mark.slow
@pytest.mark.parametrize("model", [COLOUR, GREY])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (9, 5)])
def test_every_kind_comes_back(tmp_path, model, height, width):
    """Interlaced too, with transparent colours; in one file for each size."""
    run = load_run(Path(model))
    codec, paths = Codec(run.experiment.model, run.variables), []
    for number, (kind, clear) in enumerate(EVERY):
        if planes.own_channels(kind) <= codec.event.shape[2]:
            paths.append(tmp_path / f"{number}.png")
            picture = sample(kind, height, width, clear)
            paths[-1].write_bytes(written(picture, interlaced=number % 2 == 1))
    data, _ = codec.compress(files.read(paths, codec.event))
    files.write(codec.decompress(data), tmp_path / "back", codec.levels)
    for path in paths:
        one, other = read_every_png(path), read_every_png(tmp_path / "back" / path.name)
        np.testing.assert_array_equal(one.samples, other.samples)
        assert (one.kind, one.palette, one.transparency) == (other.kind, other.palette, other.transparency)  # fmt: skip


def test_the_study_makes_pictures_of_every_kind(study, tmp_path):
    photo = smooth(260, 340, 3)
    paths = study[1].write(tmp_path, photo)
    pictures = {path.stem: read_every_png(path) for path in paths}
    assert [*pictures] == [*study[1].FILES]
    kinds = {name: picture.kind for name, picture in pictures.items()}
    assert kinds["palette_16"] == "4-bit palette"
    assert kinds["palette_256"] == "8-bit palette"
    assert kinds["colour_16"] == "16-bit colour"
    assert kinds["grey_16"] == "16-bit grey"
    assert kinds["black_white"] == "1-bit grey"
    np.testing.assert_array_equal(pictures["colour"].samples, photo[70:190, 90:250])
    means = photo[10:250, 10:330].reshape(120, 2, 160, 2, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(pictures["colour_16"].samples / 257, means, atol=1e-2)
