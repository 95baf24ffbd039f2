"""Palettes: the nearest colour by brute force, a set of tokens there and back, what is shown, what is refused."""

import hashlib
import json

import numpy as np
import pytest
from PIL import Image
from test_cli import call, own_cache, succeed  # noqa: F401  a fixture that applies by itself

from gen_jax import InputError, Markov, image
from gen_jax.data import prepared
from gen_jax.data.importing import palette as making
from gen_jax.data.importing.importer import import_files
from gen_jax.data.palette import colours_of, nearest
from gen_jax.experiment import Data, Evaluate, Experiment
from gen_jax.media.images import Images
from gen_jax.optimizer import Adam
from gen_jax.runs.workdir import WorkDir
from gen_jax.train import loop

TRUE = np.array([[8, 16, 24], [250, 10, 20], [20, 240, 30], [240, 240, 200]], np.uint8)
NAME = "photos_2x2_palette4"


def spots(rng, count, side=4):
    """Images of blocks of 2x2 pixels around four colours, at most 6 away, and which colour each block has."""
    which = rng.integers(0, 4, (count, side // 2, side // 2))
    pixels = TRUE[which].repeat(2, axis=1).repeat(2, axis=2).astype(int)
    return np.clip(pixels + rng.integers(-6, 7, pixels.shape), 0, 255).astype(np.uint8), which


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """RGB images with classes, and their palette at half the size."""
    root, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    arrays = {}
    for split, count in (("train", 40), ("validation", 6), ("test", 5)):
        x, which = spots(rng, count)
        arrays |= {split: x, f"{split}_labels": which[:, 0, 0]}
    np.savez(root / "photos.npz", **arrays)
    import_files("photos", [root / "photos.npz"], data_dir=root)
    argv = ("data", "palette", "photos", "--colours", 4, "--side", 2, "--data-dir", root)
    said = json.loads(succeed(*argv, "--json"))
    assert (said["name"], said["examples"]["test"]) == (NAME, 5)
    again = succeed(*argv)
    assert "this content exists already" in again
    return root


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "run"
    experiment = Experiment(
        model=Markov(image(2, 2, 1, 4)), data=Data(NAME), optimizer=Adam(1e-2), steps=2,
        batch_size=8, evaluate=Evaluate(every=2, batch_size=8),
    )  # fmt: skip
    loop.train(experiment, WorkDir(path), data)
    return path


def test_the_nearest_colour(monkeypatch):
    """As all distances in whole numbers say, the first of equals, whatever the parts that are compared at once."""
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (7, 5, 4, 3)).astype(np.uint8)
    for count in (2, 300):
        palette = rng.integers(0, 256, (count, 3)).astype(np.uint8)
        palette[-1] = palette[0]
        x[0, 0, 0] = palette[0]
        differences = x[..., None, :].astype(int) - palette
        expected = np.argmin((differences**2).sum(axis=-1), axis=-1)[..., None]
        assert expected[0, 0, 0] == 0
        monkeypatch.setattr("gen_jax.data.palette.IMAGES", 3)
        monkeypatch.setattr("gen_jax.data.palette.ROWS", 11)
        found = nearest(x, palette)
        np.testing.assert_array_equal(found, expected)
        assert found.dtype == (np.uint8 if count <= 256 else np.uint16)
        np.testing.assert_array_equal(nearest(x[0, 0], palette), expected[0, 0])
        assert nearest(x[:0], palette).shape == (0, 5, 4, 1)


def test_means_of_blocks_are_rounded_half_up():
    x = np.random.default_rng(0).integers(0, 256, (3, 6, 6, 3)).astype(np.uint8)
    for side in (1, 2, 3, 6):
        block = 6 // side
        means = x.reshape(3, side, block, side, block, 3).astype(float).mean(axis=(2, 4))
        np.testing.assert_array_equal(making.smaller(x, side), np.floor(means + 0.5))
    for side, shape in ((4, (1, 6, 6, 3)), (2, (1, 6, 4, 3)), (8, (1, 6, 6, 3))):
        with pytest.raises(InputError, match="cannot be divided into equal blocks"):
            making.smaller(np.zeros(shape, np.uint8), side)


def test_a_set_of_tokens(data):
    """Of the four colours that made the images: near them, dark to light, and each block has the number of its own."""
    train = prepared.load(NAME, "train", data)
    centres = colours_of(train.event, train.presentation)
    assert np.abs(centres.astype(int) - TRUE[[0, 1, 2, 3]]).max() <= 3
    assert train.presentation["checksum"] == hashlib.sha256(centres.tobytes()).hexdigest()
    assert (train.presentation["of"], train.presentation["version"]) == ("photos", "1.0.0")
    assert (train.event, train.unit, train.num_classes) == (image(2, 2, 1, 4), "bits/token", 4)
    for split, count in (("train", 40), ("validation", 6), ("test", 5)):
        old, new = prepared.load("photos", split, data), prepared.load(NAME, split, data)
        np.testing.assert_array_equal(new.labels, old.labels)
        assert len(new) == count
        np.testing.assert_array_equal(new.x[:, 0, 0, 0], old.labels)
        shown = centres[new.x[..., 0]].repeat(2, axis=1).repeat(2, axis=2).astype(int)
        assert np.abs(shown - old.x).max() <= 9


def test_rounded_centres_that_coincide_count_once():
    x = np.array([[0, 0, 0]] * 40 + [[1, 0, 0]] * 2 + [[255, 255, 255]], np.uint8)
    centres = making.fit(x.reshape(1, 1, -1, 3), 3)
    np.testing.assert_array_equal(centres, [[0, 0, 0], [1, 0, 0], [255, 255, 255]])
    with pytest.raises(InputError, match="have 3 colours, fewer than 4"):
        making.fit(x.reshape(1, 1, -1, 3), 4)


def test_tokens_are_shown_in_their_colours(data, run, tmp_path):
    split = prepared.load(NAME, "test", data)
    medium = Images(split.event, split.presentation)
    succeed("data", "export", NAME, "--out", tmp_path / "x.png", "--data-dir", data, "--limit", 4)
    with Image.open(tmp_path / "x.png") as picture:
        pixels = np.asarray(picture)
    factor = pixels.shape[0] // 7
    assert (pixels[factor, factor] == medium.palette[split.x[0, 0, 0, 0]]).all()
    succeed("sample", run, "--num", 2, "--out", tmp_path / "y.png")
    with Image.open(tmp_path / "y.png") as picture:
        colours = np.unique(np.asarray(picture).reshape(-1, 3), axis=0)
    grey = np.array([[128] * 3])
    assert {*map(tuple, colours)} <= {*map(tuple, np.concatenate([medium.palette, grey]))}


def test_files_are_lossless_of_tokens(data, run, tmp_path):
    """A picture goes in, the nearest colours come out and go in again as they are; both commands say so."""
    x, which = spots(np.random.default_rng(1), 1, side=6)
    path, out, again = (tmp_path / name for name in ("x.png", "x.gjx", "again.png"))
    Image.fromarray(x[0, ::2, ::2]).save(path)
    said = succeed("compress", run, path, "-o", out)
    assert said.endswith("; each pixel of a PNG file is the nearest of the palette's 4 colours\n")
    succeed("decompress", run, out, "-o", again)
    palette = Images(image(2, 2, 1, 4), WorkDir(run).read()["presentation"]).palette
    with Image.open(again) as picture:
        np.testing.assert_array_equal(np.asarray(picture), palette[which[0]])
    succeed("compress", run, again, "-o", tmp_path / "y.gjx")
    assert (tmp_path / "y.gjx").read_bytes() == out.read_bytes()
    Image.fromarray(x[0, :4:2, :4:2]).save(path)
    said = succeed("complete", run, path, "--keep", "top:1.0", "--out", tmp_path / "z.npz")
    assert "is the nearest of the palette's 4 colours" in said
    with np.load(tmp_path / "z.npz") as arrays:
        np.testing.assert_array_equal(arrays["completions"][0, ..., 0], which[0, :2, :2])
    np.savez(tmp_path / "x.npz", x=which[:, :2, :2])
    assert "nearest" not in succeed("compress", run, tmp_path / "x.npz", "-o", tmp_path / "n.gjx")
    Image.fromarray(x[0, ::2, ::2, 0]).save(path)
    status, _, error = call("compress", run, path, "-o", tmp_path / "g.gjx")
    assert (status, error.count("\n")) == (2, 1)
    assert "8-bit grey, the model's palette has RGB colours" in error


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (("digits", "--colours", 4), "a palette needs RGB images"),
        (("photos", "--colours", 1), "a palette has 2 to 65,536 colours, not 1"),
        (("photos", "--colours", 4, "--side", 3), "cannot be divided into equal blocks"),
        (("photos", "--colours", 60_000), "fewer than 60000"),
        (("nothing", "--colours", 4), "data set 'nothing' is not in"),
    ],
)
def test_what_has_no_palette(data, argv, words):
    prepared.prepare("digits", data)
    status, out, error = call("data", "palette", *argv, "--data-dir", data)
    assert (status, out, error.count("\n")) == (2, "", 1), error
    assert words in error


@pytest.mark.parametrize(
    "stored", [[[0, 0, 0]], [[0, 0, 0], [0, 0, 256]], [[0, 0], [0]], "x", [[0, 0, 0.5]] * 2, None]
)
def test_a_damaged_palette_is_refused(stored):
    with pytest.raises(InputError, match="the palette of the examples is damaged"):
        colours_of(image(2, 2, 1, 2), {"palette": stored})
