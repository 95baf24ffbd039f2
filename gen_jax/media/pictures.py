"""Arrays of levels to and from PNG: grids of images, single images."""

import io
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Integer, Num, UInt8
from PIL import Image

from gen_jax.data.npz import read_npz
from gen_jax.data.palette import Colours, nearest
from gen_jax.data.png import Png, read_png
from gen_jax.errors import InputError
from gen_jax.typing import Event

MIN_GRID_SIDE = 512
HIDDEN = np.array([70, 110, 170], np.uint8)  # the colour of pixels that are not shown


def to_grey(x: np.ndarray, levels: int) -> np.ndarray:
    """Levels 0..levels-1 spread over 0..255 and rounded; invertible for up to 256 levels."""
    return np.round(np.asarray(x, np.float64) * (255 / (levels - 1))).astype(np.uint8)


def to_bytes(x: np.ndarray, levels: int, palette: Colours | None = None) -> np.ndarray:
    """Levels as bytes: greys, or the colours of a palette."""
    return to_grey(x, levels) if palette is None else palette[np.asarray(x)[..., 0]]


def grid(images: np.ndarray, columns: int, gap: int = 1, background: int = 128) -> np.ndarray:
    """Images (N, H, W, C) of bytes in rows of `columns`, as one image (height, width, 3)."""
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
    """Enlarge small sheets by a whole factor, without interpolation."""
    factor = max(1, MIN_GRID_SIDE // max(sheet.shape[:2]))
    return Image.fromarray(sheet.repeat(factor, axis=0).repeat(factor, axis=1))


def sheet(
    x: np.ndarray,
    levels: int,
    columns: int,
    palette: Colours | None = None,
    hidden: Bool[np.ndarray, "N H W"] | None = None,
) -> bytes:
    """Images of levels in rows of `columns`, as PNG bytes; hidden pixels are blue."""
    shown = to_bytes(x, levels, palette)
    if hidden is not None:
        shown = np.where(hidden[..., None], HIDDEN, shown)
    return png(enlarge(grid(shown, columns)))


def png(picture: Image.Image) -> bytes:
    """A picture as PNG bytes."""
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    return buffer.getvalue()


def read_examples(
    paths: list[Path],
    event: Event,
    max_bytes: int | None = None,
    palette: Colours | None = None,
) -> Num[np.ndarray, "N *event"]:
    """Examples of any event from .npz files with one array, or images as `read_images` takes them."""
    if all(path.suffix == ".npz" for path in paths):
        return np.concatenate([_read_npz(path, event, max_bytes) for path in paths])
    return read_images(paths, event, max_bytes, palette)


def read_images(
    paths: list[Path],
    event: Event,
    max_bytes: int | None = None,
    palette: Colours | None = None,
) -> Integer[np.ndarray, "N H W C"]:
    """Images of the event from PNG files and .npz files with one array; InputError if one does not fit.

    With a palette a PNG may have any colours, which become the nearest ones of the palette; an array holds tokens.
    """
    if len(event.shape) != 3 or event.levels is None or event.shape[2] not in (1, 3):
        raise InputError("only models of images, grey or colour, can read PNG or .npz images")
    parts = [
        _read_npz(path, event, max_bytes)
        if path.suffix == ".npz"
        else _read_png(path, event, max_bytes, palette)[None]
        for path in paths
    ]
    return np.concatenate(parts)


def quantised(paths: list[Path], palette: Colours | None) -> str:
    """The end of a command's message if PNG files were quantised to the palette, otherwise nothing."""
    if palette is None or all(path.suffix == ".npz" for path in paths):
        return ""
    return f"; each pixel of a PNG file is the nearest of the palette's {len(palette)} colours"


def _read_npz(path: Path, event: Event, max_bytes: int | None) -> np.ndarray:
    arrays = read_npz(path, max_bytes)
    if len(arrays) != 1:
        raise InputError(
            f"{path} should contain one array, it contains {', '.join(arrays) or 'none'}"
        )
    [x] = arrays.values()
    x = x.astype(np.uint8) if x.dtype == bool else x
    if (*x.shape[1:], 1) == event.shape:
        x = x[..., None]
    refusal = event.refusal(x)
    if refusal:
        raise InputError(f"{path}: {refusal}")
    if not len(x):
        raise InputError(f"{path} contains no examples")
    return x


def _read_png(
    path: Path, event: Event, max_bytes: int | None, palette: Colours | None
) -> np.ndarray:
    x, _ = read_levels(path, event, max_bytes, palette)
    if x.shape[:2] != event.shape[:2]:
        (high, wide), (height, width) = x.shape[:2], event.shape[:2]
        raise InputError(f"{path} is {high}x{wide}, the model is for {height}x{width}")
    return x


def read_levels(
    path: Path, event: Event, max_bytes: int | None = None, palette: Colours | None = None
) -> tuple[Integer[np.ndarray, "H W C"], int]:
    """The levels of a PNG of any size (inverse of `to_grey`), and its bits per sample.

    With a palette, the nearest of its colours. InputError if the number of channels is not that of the event or the
    palette, or if a grey value is not one of the levels.
    """
    if palette is not None:
        picture = read_png(path, max_bytes)
        if picture.samples.shape[2] != palette.shape[1]:
            raise InputError(
                f"{path} is a PNG of kind {picture.kind}, the model's palette has RGB colours"
            )
        return nearest(picture.samples, palette), picture.depth
    if event.levels is None or not 2 <= event.levels <= 256:
        raise InputError("only models of images of at most 256 levels take PNG")
    picture = read_png(path, max_bytes)
    return levels_of(path, picture, event), picture.depth


def levels_of(path: Path, picture: Png, event: Event) -> UInt8[np.ndarray, "H W C"]:
    """The levels of a picture from a file of this name, of grey or 8-bit colour; InputError as in `read_levels`."""
    if picture.samples.shape[2] != event.shape[2]:
        raise InputError(
            f"{path} is a PNG of kind {picture.kind}, the model has {event.shape[2]} channel(s)"
        )
    assert event.levels is not None
    grey, level_of = picture.grey, np.zeros(256, np.uint8)
    greys = to_grey(np.arange(event.levels), event.levels)
    level_of[greys] = np.arange(event.levels)
    x = level_of[grey]
    if not np.array_equal(greys[x], grey):
        raise InputError(
            f"{path} has values that are not among the model's {event.levels} grey levels"
        )
    return x
