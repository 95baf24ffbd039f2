"""The picture of the README: every sample is in its place, unchanged, under the name of its system."""

import runpy
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import gen_jax
from gen_jax.included import RESULTS

ROOT = Path(__file__).resolve().parents[1]
STRIP = runpy.run_path(str(ROOT / "experiments" / "strip.py"), run_name="strip")
COLUMNS, ROWS, SCALE = (STRIP[name] for name in ("COLUMNS", "ROWS", "SCALE"))


def panel_size(side: int) -> tuple[int, int]:
    down, right = STRIP["MARGINS"]
    return (ROWS * (side + 1) + 1) * SCALE + down, (COLUMNS * (side + 1) + 1) * SCALE + right


def sample(picture: np.ndarray, panel: int, i: int, side: int) -> np.ndarray:
    """Sample i of a panel, as greys."""
    height, width = panel_size(side)
    line, place = divmod(panel, STRIP["PER_LINE"])
    row, column = (k * (side + 1) + 1 for k in divmod(i, COLUMNS))
    part = picture[line * height + row * SCALE :, place * width + column * SCALE :]
    return part[: side * SCALE : SCALE, : side * SCALE : SCALE]


def test_every_sample_is_in_its_place():
    """Five panels of two lines, and below each the ink of a name."""
    x = np.random.default_rng(0).integers(0, 5, (5, COLUMNS * ROWS, 3, 3, 1))
    picture = np.asarray(STRIP["strip"](dict(zip("ABCDE", x, strict=True)), 5))
    height, width = panel_size(3)
    assert picture.shape == (2 * height, 4 * width)
    for panel, i in np.ndindex(5, COLUMNS * ROWS):
        shown = sample(picture, panel, i, 3)
        np.testing.assert_array_equal(shown, np.round(x[panel, i, ..., 0] * 63.75))
    down, _ = STRIP["MARGINS"]
    for line, place in ((0, 0), (0, 3), (1, 0)):
        below = picture[(line + 1) * height - down : (line + 1) * height, place * width :][
            :, :width
        ]
        assert below.min() < 64
    assert (picture[height:, width:] == 255).all()


def test_the_readme_shows_the_picture_and_names_its_systems():
    with Image.open(RESULTS / "strip_digits.png") as picture:
        height, width = panel_size(8)
        assert picture.size == (4 * width, 2 * height)
        assert np.asarray(picture).max() == 255
    readme = (ROOT / "README.md").read_text()
    assert "[strip]: experiments/results/strip_digits.png" in readme
    alternative = readme.partition("![")[2].partition("]")[0]
    assert all(name in alternative for name in STRIP["SYSTEMS"].values())


@pytest.mark.slow
def test_the_first_panel_is_what_the_trained_model_samples():
    x = gen_jax.load("gated_pixel_cnn_digits").sample(COLUMNS * ROWS, seed=0)
    with Image.open(RESULTS / "strip_digits.png") as picture:
        shown = np.stack([sample(np.asarray(picture), 0, i, 8) for i in range(COLUMNS * ROWS)])
    np.testing.assert_array_equal(shown, np.round(np.asarray(x)[..., 0] * 255 / 16))
