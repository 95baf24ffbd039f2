"""Ordinary PNG files through the trained models of the package: they come back bit for bit, or are refused by kind."""

import json
import runpy
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gen_jax import InputError

STUDY = runpy.run_path(
    str(Path(__file__).resolve().parents[1] / "experiments" / "pictures" / "run.py")
)


def smooth(height, width, channels):
    """A picture that is easy to code, with some noise."""
    rows, columns = np.mgrid[:height, :width]
    noise = np.random.default_rng(0).integers(0, 4, (height, width, channels))
    return ((3 * rows + 2 * columns)[..., None] % 200 + 20 * np.arange(channels) + noise).astype(
        np.uint8
    )


@pytest.mark.slow
def test_pictures_come_back(tmp_path):
    """Colour and grey, 1x1, odd sides, 1 bit; the study itself compares every sample."""
    colour, grey = Image.fromarray(smooth(33, 64, 3)), Image.fromarray(smooth(29, 31, 1)[..., 0])
    pictures = {
        "colour": colour,
        "grey": grey,
        "pixel": colour.crop((0, 0, 1, 1)),
        "black_and_white": grey.convert("1"),
    }
    paths = [tmp_path / f"{name}.png" for name in pictures]
    for path, picture in zip(paths, pictures.values(), strict=True):
        picture.save(path)
    STUDY["record"](paths, tmp_path / "pictures.json")
    rows = {
        row["picture"]: row for row in json.loads((tmp_path / "pictures.json").read_text())["rows"]
    }
    assert rows.keys() == {path.name for path in paths}
    assert rows["colour.png"]["model"] == "image_transformer_cifar10_small"
    assert rows["grey.png"]["model"] == "sparse_transformer_mnist"


@pytest.mark.parametrize(
    ("mode", "kind"),
    [("P", "palette"), ("RGBA", "alpha"), ("LA", "alpha"), ("I;16", "16-bit")],
)
def test_other_kinds_are_named(mode, kind, tmp_path):
    path = tmp_path / "picture.png"
    Image.new(mode, (5, 3)).save(path)
    with pytest.raises(InputError, match=kind):
        STUDY["measured"](path)
