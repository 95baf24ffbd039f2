"""Arrays of levels to and from PNG: grids of samples, grids of completions, single images."""

from pathlib import Path

import numpy as np
from PIL import Image

from gen_jax.errors import InputError
from gen_jax.typing import Event

MIN_GRID_SIDE = 512


def to_grey(x: np.ndarray, levels: int) -> np.ndarray:
    """Levels 0..levels-1 spread over 0..255, rounded; one to one for up to 256 levels."""
    return np.round(np.asarray(x, np.float64) * (255 / (levels - 1))).astype(np.uint8)


def grid(images: np.ndarray, columns: int, gap: int = 1, background: int = 128) -> np.ndarray:
    """Images (N, H, W, C) of bytes in rows of `columns`, as (rows, columns, 3)."""
    count, height, width, channels = images.shape
    rows = -(-count // columns)
    sheet = np.full(
        (rows * (height + gap) + gap, columns * (width + gap) + gap, 3), background, np.uint8
    )
    for i, image in enumerate(images):
        top, left = (i // columns) * (height + gap) + gap, (i % columns) * (width + gap) + gap
        sheet[top : top + height, left : left + width] = image if channels == 3 else image[..., :1]
    return sheet


def enlarge(sheet: np.ndarray) -> Image.Image:
    """Nearest-neighbour enlargement of small sheets by a whole factor."""
    factor = max(1, MIN_GRID_SIDE // max(sheet.shape[:2]))
    return Image.fromarray(sheet.repeat(factor, axis=0).repeat(factor, axis=1))


def save_grid(path: Path, x: np.ndarray, levels: int, columns: int) -> None:
    """Write a sheet of images of levels as PNG."""
    enlarge(grid(to_grey(x, levels), columns)).save(path, format="PNG")


def read_images(paths: list[Path], event: Event) -> np.ndarray:
    """Images of the event from PNG files, one each, or .npz files of one array; InputError where one does not fit."""
    if len(event.shape) != 3 or event.levels is None or event.shape[2] not in (1, 3):
        raise InputError("only models of images, grey or colour, can read PNG or .npz images")
    parts = [
        _read_npz(path, event) if path.suffix == ".npz" else _read_png(path, event)[None]
        for path in paths
    ]
    return np.concatenate(parts)


def _read_npz(path: Path, event: Event) -> np.ndarray:
    if not path.is_file():
        raise InputError(f"no such file: {path}")
    try:
        with np.load(path) as arrays:
            names = arrays.files
            x = arrays[names[0]] if len(names) == 1 else None
    except Exception as error:
        raise InputError(f"{path} is no readable .npz file: {error}") from error
    if x is None:
        raise InputError(
            f"{path} should hold one array of images, it holds {', '.join(names) or 'none'}"
        )
    if x.shape[1:] == event.shape[:2] and event.shape[2] == 1:
        x = x[..., None]
    refusal = event.refusal(x)
    if refusal:
        raise InputError(f"{path}: {refusal}")
    if not len(x):
        raise InputError(f"{path} holds no images")
    return x


def _read_png(path: Path, event: Event) -> np.ndarray:
    assert event.levels is not None  # the caller has checked
    return read_png(path, event.shape[2], event.levels, event.shape[:2])[0]


def read_png(
    path: Path, channels: int, levels: int, size: tuple[int, ...] | None = None
) -> tuple[np.ndarray, str]:
    """The levels (H, W, C) of a PNG, what `to_grey` made of them, and its mode; any size where none is said.

    InputError where it is not of this size, of another mode, or holds bytes that no level gives.
    """
    if not path.is_file():
        raise InputError(f"no such file: {path}")
    try:
        with Image.open(path) as picture:
            picture.load()
            mode, found = picture.mode, (picture.height, picture.width)
            pixels = np.asarray(picture.convert("RGB" if channels == 3 else "L"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(f"{path} is no readable PNG: {error}") from error
    if mode not in (("RGB",) if channels == 3 else ("L", "1")):
        raise InputError(
            f"{path} is a PNG of mode {mode}, the model is of {channels} channel(s) of 8 bits"
        )
    if size not in (None, found):
        raise InputError(f"{path} is {found[0]}x{found[1]}, the model is of {size[0]}x{size[1]}")
    pixels = pixels.reshape(*found, channels)
    x = np.round(pixels * ((levels - 1) / 255)).astype(np.uint8)
    if not np.array_equal(to_grey(x, levels), pixels):
        raise InputError(f"{path} has values that are none of the model's {levels} grey levels")
    return x, mode
