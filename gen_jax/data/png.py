"""Reading and writing PNG files bit for bit; every command reads PNG with this module.

Interlacing, gamma, text and other metadata do not change the samples and are ignored. Compression takes every kind with
its palette and transparency; other commands take grey and 8-bit colour.
"""

import contextlib
import io
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt, UInt8
from PIL import Image

from gen_jax.data.opening import check_size, read_regular
from gen_jax.errors import InputError, first_line

SIGNATURE = b"\x89PNG\r\n\x1a\n"
HEADER = struct.Struct(">I4sIIBBBBBI")  # length, IHDR, width, height, depth, colour, 3 methods, crc
HEADER_END = len(SIGNATURE) + HEADER.size
END = b"\0\0\0\0IEND\xaeB`\x82"
# By bits per sample and colour type: without and with a palette, alpha or 16 bits.
KINDS = {
    (1, 0): "1-bit grey",
    (2, 0): "2-bit grey",
    (4, 0): "4-bit grey",
    (8, 0): "8-bit grey",
    (8, 2): "8-bit colour",
}
OTHER_KINDS = {
    (16, 0): "16-bit grey",
    (16, 2): "16-bit colour",
    **{(depth, 3): f"{depth}-bit palette" for depth in (1, 2, 4, 8)},
    (8, 4): "grey with alpha",
    (16, 4): "16-bit grey with alpha",
    (8, 6): "colour with alpha",
    (16, 6): "16-bit colour with alpha",
}
PLAIN = tuple(KINDS.values())
CODES = {kind: code for code, kind in (KINDS | OTHER_KINDS).items()}
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type
# Pillow decodes 16 bits of colour to 8; so the low bytes are read as if the file were little-endian.
LOW_BYTES = {2: "RGB;16L", 6: "RGBA;16L"}


class KindError(InputError):
    """A PNG file of a kind that is not read bit for bit."""


@dataclass(frozen=True)
class Png:
    """The samples of a file as stored, 0 to 2^depth - 1, and its kind, one of `CODES`.

    `palette` and `transparency` are the content of the chunks PLTE and tRNS, if they change the picture.
    """

    samples: UInt[np.ndarray, "H W C"]
    depth: int
    kind: str
    palette: bytes = b""
    transparency: bytes = b""

    @property
    def grey(self) -> UInt8[np.ndarray, "H W C"]:
        """The samples spread over 0..255, exactly: 255 is a multiple of 1, 3, 15 and 255."""
        return self.samples * np.uint8(255 // (2**self.depth - 1))


def read_png(path: Path, max_bytes: int | None = None) -> Png:
    """The file's samples; InputError if it is damaged, exceeds the limit or is not one of `KINDS`.

    Size and kind are checked in the header, before anything is unpacked. The checksum of every chunk is checked.
    """
    picture = _read(path, max_bytes, PLAIN)
    if picture.transparency:
        raise _other_kind(path, "transparent", PLAIN)
    return picture


def read_every_png(path: Path, max_bytes: int | None = None) -> Png:
    """The picture of any kind in the file; InputError if it is damaged, exceeds the limit or is animated."""
    return _read(path, max_bytes, tuple(CODES))


def _read(path: Path, max_bytes: int | None, kinds: tuple[str, ...]) -> Png:
    content = read_regular(path)
    if not content.startswith(SIGNATURE):
        raise InputError(f"{path} is not a PNG file")
    kind, size = _header(path, content)
    if kind not in kinds:
        raise _other_kind(path, kind, kinds)
    check_size(path, size, len(content), max_bytes)
    if END not in content:
        raise _broken(path, "it is truncated")
    depth, colour = CODES[kind]
    try:
        with unlimited(), Image.open(io.BytesIO(content), formats=["PNG"]) as picture:
            frames = getattr(picture, "n_frames", 1)
            picture.verify()  # the checksum of every chunk, which load() does not check
        samples, chunks = _samples(content, depth, colour), _chunks_before_pixels(content)
    except Exception as error:
        explained = isinstance(error, (SyntaxError, OSError, ValueError)) and str(error)
        unknown = isinstance(error, Image.UnidentifiedImageError) or not explained
        raise _broken(
            path, "its chunks do not form a picture" if unknown else first_line(error)
        ) from error
    if frames > 1:
        raise _other_kind(path, "animated", kinds)
    palette = chunks.get(b"PLTE", b"") if colour == 3 else b""
    transparency = chunks.get(b"tRNS", b"") if colour in (0, 2, 3) else b""
    if not fits(kind, palette, transparency):
        raise _broken(path, "its palette or transparent colour is damaged")
    return Png(samples, depth, kind, palette, transparency)


def fits(kind: str, palette: bytes, transparency: bytes) -> bool:
    """Whether a picture of this kind can have these contents of PLTE and tRNS."""
    colour = CODES[kind][1]
    if colour == 3:
        entries, rest = divmod(len(palette), 3)
        return not rest and 1 <= entries <= 256 and len(transparency) <= entries
    return not palette and len(transparency) in (0, {0: 2, 2: 6}.get(colour, 0))


def _samples(content: bytes, depth: int, colour: int) -> UInt[np.ndarray, "H W C"]:
    """The samples as stored, of a file that has been verified."""
    if depth < 16:
        pixels = _pixels(content).astype(np.uint8)
        if 1 < depth < 8 and colour == 0:
            pixels //= 255 // (2**depth - 1)  # Pillow has spread them over 0..255
    elif colour in LOW_BYTES:
        pixels = _pixels(content).astype(np.uint16) << 8 | _pixels(content, LOW_BYTES[colour])
    elif colour == 4:  # grey and alpha of 2 bytes each are laid out like four channels of 1
        pixels = _pixels(content, "RGBA").copy().view(">u2").astype(np.uint16)
    else:
        pixels = _pixels(content).astype(np.uint16)
    return pixels.reshape(*pixels.shape[:2], -1)


def _pixels(content: bytes, layout: str = "") -> np.ndarray:
    """What Pillow decodes, or what it decodes if the bytes had another of its raw modes."""
    with unlimited(), Image.open(io.BytesIO(content), formats=["PNG"]) as picture:
        if layout:
            picture.tile = [tile._replace(args=layout) for tile in picture.tile]
        picture.load()
        return np.asarray(picture)


def _chunks_before_pixels(content: bytes) -> dict[bytes, bytes]:
    """The content of each chunk, by its name."""
    at, found = len(SIGNATURE), {}
    while True:
        length, name = struct.unpack(">I4s", content[at : at + 8])
        if name in (b"IDAT", b"IEND"):
            return found
        found[name] = content[at + 8 : at + 8 + length]
        at += 12 + length


def decoded(content: bytes, mode: str) -> UInt8[np.ndarray, "..."]:
    """The pixels of a picture of any kind in a Pillow mode; the caller checks them against their published hash."""
    with Image.open(io.BytesIO(content)) as picture:
        return np.asarray(picture.convert(mode))


def png(samples: UInt8[np.ndarray, "H W C"], depth: int) -> bytes:
    """A PNG of these samples: grey with 1, 2, 4 or 8 bits, or colour with 8."""
    return encoded(Png(samples, depth, KINDS[depth, 0 if samples.shape[2] == 1 else 2]))


def encoded(picture: Png) -> bytes:
    """The bytes of a PNG file."""
    samples, (depth, colour) = picture.samples, CODES[picture.kind]
    height, width, channels = samples.shape
    named = ((b"PLTE", picture.palette), (b"tRNS", picture.transparency))
    chunks = b"".join(_chunk(name, data) for name, data in named if data)
    if depth == 8 and colour != 3:
        buffer = io.BytesIO()
        Image.fromarray(samples[..., 0] if channels == 1 else samples).save(buffer, format="PNG")
        content = buffer.getvalue()
        return content[:HEADER_END] + chunks + content[HEADER_END:]
    # Pillow writes no grey of 2 or 4 bits, no colour of 16 and not every palette.
    if depth == 16:
        rows, filter_type = samples.astype(">u2").reshape(height, -1).view(np.uint8), 1
        rows[:, 2 * channels :] -= rows[:, : -2 * channels].copy()  # from the pixel to the left
    else:
        bits = samples[..., :1] >> np.arange(depth - 1, -1, -1, dtype=np.uint8) & 1
        rows, filter_type = np.packbits(bits.reshape(height, width * depth), axis=1), 0
    filtered = np.pad(rows, ((0, 0), (1, 0)), constant_values=((0, 0), (filter_type, 0)))
    header = _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    pixels = _chunk(b"IDAT", zlib.compress(filtered.tobytes(), 9))
    return SIGNATURE + header + chunks + pixels + END


@contextlib.contextmanager
def unlimited() -> Iterator[None]:
    """Disable Pillow's limit on pixels: `check_size` has checked the size."""
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def _header(path: Path, content: bytes) -> tuple[str, int]:
    """Kind, and number of bytes of the samples in memory."""
    head = content[len(SIGNATURE) : HEADER_END]
    if len(head) < HEADER.size:
        raise _broken(path, "it is truncated")
    length, name, width, height, depth, colour, *methods, checksum = HEADER.unpack(head)
    kind = (KINDS | OTHER_KINDS).get((depth, colour))
    whole = (length, name) == (13, b"IHDR") and zlib.crc32(head[4:-4]) == checksum
    if not whole or kind is None or methods[:2] != [0, 0] or methods[2] > 1 or not width * height:
        raise _broken(path, "its header is damaged")
    return kind, width * height * CHANNELS[colour] * (2 if depth == 16 else 1)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _broken(path: Path, why: str) -> InputError:
    return InputError(f"{path} is a broken PNG: {why}")


def _other_kind(path: Path, kind: str, kinds: tuple[str, ...]) -> KindError:
    known = ", ".join(kinds) if kinds == PLAIN else "PNG files of one picture"
    return KindError(f"{path} is a PNG of kind {kind}; only {known} can be read")
