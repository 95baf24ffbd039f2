"""Pictures that are converted for training: what their samples become, what is recorded, and what is refused."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_cli import call, own_cache, succeed  # noqa: F401  a fixture of the module

from gen_jax.data import prepared
from gen_jax.data.conversion import Conversion, Done
from gen_jax.data.png import read_png

RANDOM = np.random.default_rng(0)
COLOUR = RANDOM.integers(256, size=(6, 9, 3)).astype(np.uint8)


def saved(path: Path, x: np.ndarray, mode: str | None = None, **options) -> Path:
    Image.fromarray(x, mode).save(path, **options)
    return path


def read(path: Path, mode: str | None, crop=None, resize=None) -> np.ndarray:
    return Conversion(mode, crop, resize).read(path, Done()).samples


def test_what_loses_nothing_is_exact(tmp_path):
    """Colours of PNG, BMP and a palette stay; grey as colour has three equal channels; WebP without loss too."""
    for name in ("a.png", "a.bmp", "a.webp"):
        path = saved(tmp_path / name, COLOUR, lossless=True)
        np.testing.assert_array_equal(read(path, "rgb"), COLOUR)
    few = COLOUR // 128 * 255
    indexed = Image.fromarray(few).convert("P", palette=Image.Palette.ADAPTIVE, colors=8)
    indexed.save(tmp_path / "p.png")
    np.testing.assert_array_equal(read(tmp_path / "p.png", "rgb"), few)
    path = saved(tmp_path / "grey.png", COLOUR[..., 0])
    np.testing.assert_array_equal(read(path, "rgb"), COLOUR[..., :1].repeat(3, axis=2))
    np.testing.assert_array_equal(read(path, "grey"), COLOUR[..., :1])


def test_grey_is_the_luma_of_itu_r_601(tmp_path):
    luma = COLOUR @ np.array([0.299, 0.587, 0.114])
    found = read(saved(tmp_path / "a.png", COLOUR), "grey")
    assert found.shape == (6, 9, 1)
    assert np.abs(found[..., 0] - luma).max() <= 0.51


def test_transparent_pixels_are_on_white(tmp_path):
    alpha = RANDOM.integers(256, size=(6, 9, 1)).astype(np.uint8)
    path = saved(tmp_path / "a.png", np.concatenate([COLOUR, alpha], axis=2))
    share = alpha / 255
    assert np.abs(read(path, "rgb") - (share * COLOUR + (1 - share) * 255)).max() <= 1.01
    done = Done()
    Conversion("rgb").read(path, done)
    assert done == {"PNG": 1, "with alpha, put on white": 1}


def test_sixteen_bits_become_eight(tmp_path):
    deep = RANDOM.integers(2**16, size=(6, 9)).astype(np.uint16)
    found = read(saved(tmp_path / "a.png", deep), "grey")[..., 0]
    assert np.abs(found - deep / 257).max() <= 0.5


def test_a_photograph_is_turned_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera lay on its side: turn it by 90 degrees clockwise
    path = saved(tmp_path / "a.jpg", COLOUR, exif=exif, quality=95)
    plain = saved(tmp_path / "b.jpg", COLOUR, quality=95)
    np.testing.assert_array_equal(read(path, "rgb"), np.rot90(read(plain, "rgb"), -1))


def test_the_middle_is_cut_and_scaled(tmp_path):
    path = saved(tmp_path / "a.png", COLOUR)
    np.testing.assert_array_equal(read(path, None, crop=(4, 3)), COLOUR[1:5, 3:6])
    np.testing.assert_array_equal(read(path, None, crop="square"), COLOUR[:, 1:7])
    np.testing.assert_array_equal(read(path, None, resize=(6, 9)), COLOUR)
    flat = saved(tmp_path / "flat.png", np.full((40, 60, 3), 77, np.uint8))
    np.testing.assert_array_equal(read(flat, None, resize=(20, 30)), np.full((20, 30, 3), 77))
    # Antialiasing: stripes of a pixel become their mean, not one of the two colours.
    stripes = np.tile(np.array([0, 200], np.uint8), (40, 20))
    inside = read(saved(tmp_path / "s.png", stripes), None, resize=(10, 10))[2:-2, 2:-2]
    assert np.abs(inside.astype(int) - 100).max() <= 8


@pytest.fixture
def photos(tmp_path) -> Path:
    """A folder as people have it: JPEG, a screenshot with alpha, a picture with a palette, of three sizes."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(20):
        x = RANDOM.integers(256, size=(30, 40 + number, 3)).astype(np.uint8)
        saved(folder / f"{number:02}.jpg", x)
    saved(folder / "shot.png", np.full((20, 20, 4), 128, np.uint8))
    Image.fromarray(COLOUR).convert("P").save(folder / "small.png")
    return folder


def test_photos_become_a_data_set_that_says_so(photos, tmp_path, monkeypatch):
    """Imported with one command, trained with a config made for another set; a JPEG is never compressed."""
    root = tmp_path / "data"
    where = ("--data-dir", root)
    steps = ("--convert", "rgb", "--crop", "square", "--resize", 8)
    shares = ("--split", "train=0.8,validation=0.1,test=0.1")
    told = json.loads(succeed("data", "import", "mine", photos, *steps, *shares, *where, "--json"))
    assert told["shape"] == [8, 8, 3]
    assert told["levels"] == 256
    expected = [
        "converted to 8-bit colour (20 JPEG, 2 PNG, 1 with a palette, 1 with alpha, put on white)",
        "cropped to the central square",
        "resized to 8x8, bicubic with antialiasing, 1 enlarged",
    ]
    assert told["conversion"] == expected
    metadata = json.loads((Path(told["folder"]) / "metadata.json").read_text())
    assert metadata["conversion"] == expected
    assert "Imported from photos; converted to 8-bit colour" in succeed("data", "list", *where)
    split = prepared.load("mine", "train", root)
    first = Conversion("rgb", "square", (8, 8)).read(photos / "00.jpg", Done())
    np.testing.assert_array_equal(split.x[0], first.samples)

    monkeypatch.chdir(tmp_path)
    tiny = ("--set=steps=2", "--set=evaluate.every=2", "--set=batch_size=8", "--set=seed=2")
    line = succeed("train", "independent_digits", "--data", "mine", *tiny, *where)
    assert line == "trained 2 steps in runs/independent_digits_mine_seed2\n"
    run = Path("runs/independent_digits_mine_seed2")
    config = json.loads((run / "config.json").read_text())["experiment"]["fields"]
    assert config["data"]["fields"]["name"] == "mine"
    assert config["model"]["fields"]["event"]["fields"] == {"shape": [8, 8, 3], "levels": 256}

    status, out, err = call("compress", run, photos / "00.jpg", "-o", tmp_path / "x.gjx")
    assert (status, out) == (2, "")
    assert "one .npz file or" in err


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        ("{photos}", "00.jpg is a JPEG file; --convert rgb or --convert grey converts"),
        ("{photos}/shot.png {photos}/small.png", "colour with alpha; only"),
        ("{photos}/shot.png {photos}/small.png", "--convert rgb or --convert grey converts"),
        ("{photos} --convert rgb", "images of different sizes need --tiles SIDE or --crop and"),
        ("{photos} --convert rgb --resize 8", "30x40: --resize 8x8 would distort it; --crop cuts"),
        ("{photos} --convert rgb --crop 25", "shot.png is 20x20, too small for --crop 25x25"),
        ("{photos} --convert blue", "invalid choice: 'blue'"),
        ("{photos} --crop round", "'round' is not SIDE or HEIGHTxWIDTH"),
        ("{photos} --resize 0", "'0' is not SIDE or HEIGHTxWIDTH"),
        ("{photos}/../x.npz --crop 2", "--convert, --crop and --resize are for pictures"),
        ("{photos}/../cut.jpg --convert rgb", "cut.jpg is not a readable picture: "),
        ("{photos}/../moving.gif --convert rgb", "moving.gif is animated"),
        ("{photos}/../bits.png --resize 2", "bits.png is 1-bit grey: --resize needs --convert"),
        ("{photos}/../large.png --convert grey", "large.png unpacks to 300,000,000 bytes"),
    ],
)
def test_pictures_that_are_refused(photos, argv, words):
    folder = photos.parent
    np.savez(folder / "x.npz", train=np.zeros((3, 4, 4), np.uint8))
    (folder / "cut.jpg").write_bytes((photos / "00.jpg").read_bytes()[:100])
    frames = [Image.fromarray(COLOUR + np.uint8(k)) for k in range(2)]
    frames[0].save(folder / "moving.gif", save_all=True, append_images=frames[1:])
    Image.new("1", (4, 4)).save(folder / "bits.png")
    if "large" in argv:
        Image.new("1", (10_000, 10_000)).save(folder / "large.png")
    line = argv.format(photos=photos).split()
    status, out, err = call("data", "import", "x", *line, "--data-dir", folder / "data")
    assert (status, out) == (2, "")
    assert words in err
    assert len(err.splitlines()) == 1
    assert not (folder / "data").exists()


def test_png_files_are_read_as_before(tmp_path):
    path = saved(tmp_path / "a.png", COLOUR)
    np.testing.assert_array_equal(read_png(path).samples, COLOUR)
    assert not Conversion()
