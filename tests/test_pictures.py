"""Levels to PNG and back without loss, the layout of a sheet, files that are refused in words."""

import io

import numpy as np
import pytest
from PIL import Image

from gen_jax import InputError, binary, image
from gen_jax.media import pictures
from gen_jax.typing import Event

DIGIT = image(8, 8, levels=17)


def ramp(event: Event, seed: int = 0) -> np.ndarray:
    """An image in which every level occurs where there is room for it."""
    x = np.arange(event.size) % event.levels
    return np.random.default_rng(seed).permutation(x).reshape(event.shape).astype(np.uint8)


def write_png(path, pixels, mode=None):
    """A PNG of these bytes; `mode` is what Pillow should make of them first."""
    pixels = np.asarray(pixels, np.uint8)
    picture = Image.fromarray(pixels[..., 0] if pixels.shape[2:] == (1,) else pixels)
    (picture if mode is None else picture.convert(mode)).save(path)
    return path


def message(path, event: Event = DIGIT) -> str:
    with pytest.raises(InputError) as refusal:
        pictures.read_images([path], event)
    assert str(path) in str(refusal.value)
    assert "\n" not in str(refusal.value)
    return str(refusal.value)


def test_to_grey_is_one_to_one():
    for levels in range(2, 257):
        grey = pictures.to_grey(np.arange(levels), levels)
        assert grey.dtype == np.uint8
        assert (grey[0], grey[-1]) == (0, 255)
        assert np.all(np.diff(grey.astype(int)) > 0)
        exact = np.arange(levels) * 255 / (levels - 1)
        assert np.abs(grey - exact).max() <= 0.5


@pytest.mark.parametrize(
    "event",
    [
        image(5, 3, levels=2),
        DIGIT,
        image(16, 17, levels=256),
        image(5, 3, channels=3, levels=256),
        image(4, 4, channels=3, levels=17),
    ],
    ids=["2", "17", "256", "256 RGB", "17 RGB"],
)
def test_reading_inverts_writing(tmp_path, event):
    images = [ramp(event, seed) for seed in range(3)]
    paths = [
        write_png(tmp_path / f"{i}.png", pictures.to_grey(x, event.levels))
        for i, x in enumerate(images)
    ]
    x = pictures.read_images(paths, event)
    np.testing.assert_array_equal(x, np.stack(images))
    np.testing.assert_array_equal(pictures.read_images(paths[:1], event), x[:1])
    assert x.dtype == np.uint8


def test_a_png_of_one_bit_holds_two_levels(tmp_path):
    x = ramp(image(5, 3, levels=2))
    path = write_png(tmp_path / "x.png", 255 * x, mode="1")
    with Image.open(path) as picture:
        assert picture.mode == "1"
    np.testing.assert_array_equal(pictures.read_images([path], image(5, 3, levels=2))[0], x)
    assert pictures.read_images([path], image(5, 3, levels=17)).max() == 16


def test_booleans_are_levels_0_and_1(tmp_path):
    x = ramp(image(8, 8, levels=2))[None]
    np.savez(tmp_path / "x.npz", x=x.astype(bool))
    for event in (image(8, 8, levels=2), DIGIT):
        np.testing.assert_array_equal(pictures.read_images([tmp_path / "x.npz"], event), x)


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.int64])
def test_npz_files_are_read_as_they_are(tmp_path, dtype):
    x = np.stack([ramp(DIGIT, seed) for seed in range(4)]).astype(dtype)
    np.savez(tmp_path / "with.npz", images=x[:3])
    np.savez_compressed(tmp_path / "without.npz", other=x[3:, :, :, 0])
    paths = [tmp_path / "with.npz", tmp_path / "without.npz"]
    np.testing.assert_array_equal(pictures.read_images(paths, DIGIT), x)


def test_files_of_both_kinds_keep_their_order(tmp_path):
    x = np.stack([ramp(DIGIT, seed) for seed in range(3)])
    np.savez(tmp_path / "two.npz", images=x[1:])
    one = write_png(tmp_path / "one.png", pictures.to_grey(x[0], 17))
    np.testing.assert_array_equal(pictures.read_images([one, tmp_path / "two.npz"], DIGIT), x)
    back = pictures.read_images([tmp_path / "two.npz", one], DIGIT)
    np.testing.assert_array_equal(back, x[[1, 2, 0]])


@pytest.mark.parametrize("name", ["x.png", "x.npz"])
def test_a_missing_file_is_refused(tmp_path, name):
    assert message(tmp_path / name) == f"no such file: {tmp_path / name}"
    (tmp_path / name).mkdir()
    assert message(tmp_path / name) == f"{tmp_path / name} is a folder, not a regular file"


@pytest.mark.parametrize("kept", [0, 4, 20, 40, 60, -30])
def test_a_truncated_png_is_refused(tmp_path, kept):
    path = write_png(tmp_path / "x.png", pictures.to_grey(ramp(DIGIT), 17))
    path.write_bytes(path.read_bytes()[:kept])
    words = "is a broken PNG: it is truncated" if kept not in (0, 4) else "is not a PNG file"
    assert words in message(path)


@pytest.mark.parametrize(
    ("start", "words"),
    [(b"", "is not a PNG file"), (b"\x89PNG\r\n\x1a\n", "is a broken PNG: its header is damaged")],
)
def test_random_bytes_are_refused(tmp_path, start, words):
    path = tmp_path / "x.png"
    path.write_bytes(start + np.random.default_rng(0).bytes(400))
    assert words in message(path)


def test_a_broken_stream_is_refused(tmp_path):
    path = write_png(tmp_path / "x.png", pictures.to_grey(ramp(DIGIT), 17))
    content = bytearray(path.read_bytes())
    content[content.index(b"IDAT") + 10] ^= 4
    path.write_bytes(content)
    assert "is a broken PNG" in message(path)


@pytest.mark.parametrize(("height", "width"), [(9, 8), (8, 9), (4, 16), (1, 1)])
def test_another_size_is_refused(tmp_path, height, width):
    path = write_png(tmp_path / "x.png", np.zeros((height, width)))
    assert message(path) == f"{path} is {height}x{width}, the model is for 8x8"


KINDS = {"RGBA": "colour with alpha", "P": "8-bit palette", "LA": "grey with alpha"}


@pytest.mark.parametrize("event", [DIGIT, image(8, 8, 3)], ids=["grey", "colour"])
@pytest.mark.parametrize("mode", KINDS)
def test_kinds_that_keep_no_integers_are_refused(tmp_path, mode, event):
    path = write_png(tmp_path / "x.png", np.zeros((8, 8)), mode)
    assert f"{path} is a PNG of kind {KINDS[mode]}; only 1-bit grey, " in message(path, event)


@pytest.mark.parametrize(
    ("mode", "event", "kind"),
    [("RGB", DIGIT, "8-bit colour"), ("L", image(8, 8, 3), "8-bit grey")],
    ids=["grey", "colour"],
)
def test_other_channels_are_refused(tmp_path, mode, event, kind):
    path = write_png(tmp_path / "x.png", np.zeros((8, 8)), mode)
    channels = event.shape[2]
    assert message(path, event) == (
        f"{path} is a PNG of kind {kind}, the model has {channels} channel(s)"
    )


@pytest.mark.parametrize("event", [DIGIT, image(8, 8)])
def test_sixteen_bits_are_refused(tmp_path, event):
    path = tmp_path / "x.png"
    Image.fromarray(np.full((8, 8), 255, np.uint16)).save(path)
    assert "is a PNG of kind 16-bit grey" in message(path, event)


def test_more_levels_than_greys_are_refused(tmp_path):
    path = write_png(tmp_path / "x.png", np.zeros((8, 8)))
    with pytest.raises(InputError, match="only models of images of at most 256 levels take PNG"):
        pictures.read_images([path], image(8, 8, levels=257))


@pytest.mark.parametrize(("levels", "value"), [(2, 254), (2, 1), (17, 15), (17, 17), (17, 254)])
def test_a_value_between_two_levels_is_refused(tmp_path, levels, value):
    pixels = np.zeros((8, 8))
    pixels[7, 7] = value
    path = write_png(tmp_path / "x.png", pixels)
    expected = f"{path} has values that are not among the model's {levels} grey levels"
    assert message(path, image(8, 8, levels=levels)) == expected


ONE = np.zeros((1, 8, 8), np.uint8)


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({}, "should contain one array, it contains none"),
        ({"a": ONE, "b": ONE}, "should contain one array, it contains a, b"),
        ({"a": np.zeros((2, 9, 8), int)}, "shape (9, 8), the model is of shape (8, 8, 1)"),
        ({"a": np.zeros((8, 8), int)}, "shape (8,), the model is of shape (8, 8, 1)"),
        ({"a": np.zeros((2, 8, 8, 3), int)}, "shape (8, 8, 3), the model is of shape (8, 8, 1)"),
        ({"a": np.array(3)}, "the model is of shape (8, 8, 1)"),
        ({"a": ONE + 17}, "values run from 17 to 17, the model's levels from 0 to 16"),
        ({"a": ONE.astype(int) - 1}, "values run from -1 to -1, the model's levels from 0 to 16"),
        ({"a": ONE.astype(float)}, "examples are float64, the model is of integers 0..16"),
        ({"a": ONE.astype("timedelta64[s]")}, "examples are timedelta64[s], the model is of inte"),
        ({"a": ONE.astype(object)}, "array 'a' contains Python objects, which are never unpickled"),
        ({"a": ONE[:0]}, "contains no examples"),
    ],
)
def test_an_npz_that_does_not_fit_is_refused(tmp_path, arrays, words):
    np.savez(tmp_path / "x.npz", **arrays)
    assert words in message(tmp_path / "x.npz")


@pytest.mark.parametrize("content", [b"", b"not a zip archive", b"PK\x03\x04 cut off"])
def test_a_file_that_is_no_npz_is_refused(tmp_path, content):
    path = tmp_path / "x.npz"
    path.write_bytes(content)
    assert "is not a readable .npz file" in message(path)


@pytest.mark.parametrize("event", [binary(4), Event((8, 8, 1)), Event((3, 3), 2)])
def test_only_events_of_images_are_read(tmp_path, event):
    with pytest.raises(InputError, match="only models of images"):
        pictures.read_images([tmp_path / "x.png"], event)


def test_a_grid_is_filled_row_by_row():
    """Three images of 2x2 in two columns, a gap around each, the place of the fourth left grey."""
    images = np.array([[[1, 2], [3, 4]], [[5, 6], [7, 8]], [[9, 10], [11, 12]]], np.uint8)
    sheet = pictures.grid(images[..., None], columns=2)
    g = 128
    expected = [
        [g, g, g, g, g, g, g],
        [g, 1, 2, g, 5, 6, g],
        [g, 3, 4, g, 7, 8, g],
        [g, g, g, g, g, g, g],
        [g, 9, 10, g, g, g, g],
        [g, 11, 12, g, g, g, g],
        [g, g, g, g, g, g, g],
    ]
    for channel in range(3):
        np.testing.assert_array_equal(sheet[..., channel], expected)


def test_a_grid_keeps_colours_and_takes_other_gaps():
    images = np.arange(24, dtype=np.uint8).reshape(2, 2, 2, 3)
    sheet = pictures.grid(images, columns=1, gap=2, background=7)
    assert sheet.shape == (10, 6, 3)
    np.testing.assert_array_equal(sheet[2:4, 2:4], images[0])
    np.testing.assert_array_equal(sheet[6:8, 2:4], images[1])
    sheet[2:4, 2:4] = sheet[6:8, 2:4] = 7
    assert np.all(sheet == 7)


def test_a_saved_grid_is_the_sheet_enlarged():
    x = np.stack([ramp(DIGIT, seed) for seed in range(6)])
    png = pictures.sheet(x, 17, columns=3)
    sheet = pictures.grid(pictures.to_grey(x, 17), 3)
    factor = 512 // 28
    assert sheet.shape == (19, 28, 3)
    with Image.open(io.BytesIO(png)) as picture:
        assert (picture.format, picture.mode) == ("PNG", "RGB")
        pixels = np.asarray(picture)
    assert pixels.shape == (19 * factor, 28 * factor, 3)
    for i in range(factor):
        for j in range(factor):
            np.testing.assert_array_equal(pixels[i::factor, j::factor], sheet)


def test_a_large_sheet_is_not_enlarged():
    sheet = np.random.default_rng(0).integers(0, 256, (300, 260, 3)).astype(np.uint8)
    np.testing.assert_array_equal(np.asarray(pictures.enlarge(sheet)), sheet)
