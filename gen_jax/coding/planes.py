"""A PNG of any kind, split into the 8-bit samples that a model codes and the rest, which comes back bit for bit.

The model codes the grey or colour samples: of 16 bits their high bytes, of a palette its colours. A model of colour
codes grey as three equal channels. What is left are side planes of bytes. zlib compresses them, since it is in the
standard library and adds next to nothing to bytes that it cannot compress, such as low bytes:

- the high bytes of alpha;
- the low bytes of 16-bit samples, unless each equals its high byte;
- for a palette with equal colours, how many of these stand before a pixel's entry, unless none does.
"""

import zlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int64, UInt8

from gen_jax.data.palette import Colours
from gen_jax.data.png import CHANNELS, CODES, PLAIN, Png, fits
from gen_jax.errors import InputError

LEVELS = 256  # of the models that take every kind
PALETTE, ALPHA, COLOUR = 3, (4, 6), (2, 3, 6)  # colour types
Planes = UInt8[np.ndarray, "P H W"]


class Side(NamedTuple):
    """What a picture has besides the samples that the model codes; `kind` and the chunks are those of `Png`."""

    kind: str
    palette: bytes
    transparency: bytes
    planes: Planes


def own_channels(kind: str) -> int:
    """1 for grey, 3 for colour; alpha does not count."""
    return 3 if CODES[kind][1] in COLOUR else 1


def samples_of(kind: str) -> int:
    """The number of samples of a pixel, with alpha."""
    return CHANNELS[CODES[kind][1]]


def plain(kind: str, transparency: bytes, channels: int) -> bool:
    """Whether the samples for a model with these channels are the whole picture."""
    return kind in PLAIN and not transparency and channels == own_channels(kind)


def possible(kind: str, palette: bytes, transparency: bytes, planes: int, channels: int) -> bool:
    """Whether `split` can give so many planes and channels; whether it gives these values only `join` knows."""
    depth, colour = CODES[kind]
    least = 1 if colour in ALPHA else 0
    more = CHANNELS[colour] if depth == 16 else 1 if colour == PALETTE else 0
    return (
        planes in (least, least + more)
        and channels in (own_channels(kind), 3)
        and fits(kind, palette, transparency)
        and not plain(kind, transparency, channels)
    )


def colours(kind: str, palette: bytes, channels: int) -> UInt8[np.ndarray, "K C"] | None:
    """The colours that a pixel can have, or None if all: those of the palette, or greys in equal channels."""
    depth, colour = CODES[kind]
    if colour == PALETTE:
        return _entries(depth, palette)
    if colour in COLOUR or (depth >= 8 and channels == 1):
        return None
    greys = _spread(np.arange(2 ** min(depth, 8), dtype=np.uint8), min(depth, 8))
    return np.repeat(greys[:, None], channels, axis=1)


def split(picture: Png, channels: int) -> tuple[UInt8[np.ndarray, "H W C"], Side]:
    """The samples for a model with 256 levels and 3 or the picture's own channels, and the rest."""
    samples, (depth, colour) = picture.samples, CODES[picture.kind]
    planes: list[UInt8[np.ndarray, "H W"]] = []
    if colour == PALETTE:
        entries, index = _entries(depth, picture.palette), samples[..., 0]
        x, rank = entries[index], _ranks(entries)[index]
        planes += [rank] if rank.any() else []
    else:
        own = own_channels(picture.kind)
        high = (samples >> 8).astype(np.uint8) if depth == 16 else _spread(samples, depth)
        x = high[..., :own] if own == channels else high[..., [0] * channels]
        planes += [high[..., own]] if colour in ALPHA else []
        if depth == 16:
            low = (samples & 255).astype(np.uint8)
            planes += [] if np.array_equal(low, high) else [*np.moveaxis(low, 2, 0)]
    stacked = np.stack(planes) if planes else np.zeros((0, *samples.shape[:2]), np.uint8)
    return x, Side(picture.kind, picture.palette, picture.transparency, stacked)


def join(x: UInt8[np.ndarray, "H W C"], side: Side) -> Png:
    """The picture of which `split` makes this; InputError if there is none."""
    depth, colour = CODES[side.kind]
    planes, own = np.moveaxis(side.planes, 0, 2), own_channels(side.kind)
    alphas = 1 if colour in ALPHA else 0
    if colour == PALETTE:
        samples = _indices(x, _entries(depth, side.palette), planes)
    else:
        samples = np.concatenate([x[..., :own], planes[..., :alphas]], axis=2)
        if depth == 16:
            low = planes[..., alphas:] if planes.shape[2] > alphas else samples
            samples = samples.astype(np.uint16) << 8 | low
        else:
            samples //= np.uint8(255 // (2**depth - 1))
    picture = Png(samples, depth, side.kind, side.palette, side.transparency)
    again, rest = split(picture, x.shape[2])
    if not np.array_equal(again, x) or not np.array_equal(rest.planes, side.planes):
        raise InputError(f"it is damaged: its parts are not those of a PNG of kind {side.kind}")
    return picture


def compressed(planes: Sequence[UInt8[np.ndarray, "..."]]) -> bytes:
    """All side planes of a file in one stream of zlib, or nothing if there are none."""
    content = b"".join(part.tobytes() for part in planes)
    return zlib.compress(content, 9) if content else b""


def decompressed(data: bytes, shapes: Sequence[tuple[int, ...]]) -> list[np.ndarray]:
    """The side planes of these shapes; InputError if `data` is not exactly their stream."""
    ends = np.cumsum([0, *(int(np.prod(shape)) for shape in shapes)])
    inflater, content = zlib.decompressobj(), b""
    try:
        # One byte more than there should be: zlib takes 0 as no limit, and reads its checksum after the last byte.
        content = inflater.decompress(data, int(ends[-1]) + 1) if data else b""
    except zlib.error as error:
        raise InputError(f"it is damaged: {error}") from error
    whole = inflater.eof and not inflater.unused_data if ends[-1] else not data
    if not whole or len(content) != ends[-1]:
        raise InputError("it is damaged: its side planes have another size than its pictures")
    flat = np.frombuffer(content, np.uint8)
    return [flat[a:b].reshape(s) for a, b, s in zip(ends[:-1], ends[1:], shapes, strict=True)]


def _spread(samples: UInt8[np.ndarray, "*n"], depth: int) -> UInt8[np.ndarray, "*n"]:
    """Samples of up to 8 bits spread over 0..255."""
    return samples * np.uint8(255 // (2**depth - 1))


def _entries(depth: int, palette: bytes) -> Colours:
    """The colour of each index that a sample can have; black where the palette ends too early."""
    stored = np.frombuffer(palette, np.uint8).reshape(-1, 3)[: 2**depth]
    return np.pad(stored, ((0, 2**depth - len(stored)), (0, 0)))


def _ranks(entries: Colours) -> UInt8[np.ndarray, " K"]:
    """How many equal colours stand before each entry."""
    equal = (entries[:, None] == entries).all(axis=2)
    return np.tril(equal, -1).sum(axis=1).astype(np.uint8)


def _indices(
    x: UInt8[np.ndarray, "H W 3"], entries: Colours, ranks: UInt8[np.ndarray, "H W P"]
) -> UInt8[np.ndarray, "H W 1"]:
    """The entry with the colour and the rank of each pixel; any other entry if there is none."""
    ranks = ranks if ranks.shape[2] else np.zeros_like(x[..., :1])
    keys = _keys(np.concatenate([entries, _ranks(entries)[:, None]], axis=1))
    order = np.argsort(keys)
    found = np.searchsorted(keys[order], _keys(np.concatenate([x, ranks], axis=2)))
    return order[np.minimum(found, len(order) - 1)].astype(np.uint8)[..., None]


def _keys(rows: UInt8[np.ndarray, "*n 4"]) -> Int64[np.ndarray, "*n"]:
    """A number for each colour and rank."""
    return (rows.astype(np.int64) << (24, 16, 8, 0)).sum(axis=-1)
