"""Reading and writing PNG files bit for bit; every command reads PNG with this module.

Interlacing, gamma, text and other metadata do not change the samples and are ignored.
"""

import contextlib
import io
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from gen_jax.data.opening import check_size, read_regular
from gen_jax.errors import InputError, first_line

SIGNATURE = b"\x89PNG\r\n\x1a\n"
HEADER = struct.Struct(">I4sIIBBBBBI")  # length, IHDR, width, height, depth, colour, 3 methods, crc
END = b"\0\0\0\0IEND\xaeB`\x82"
# By bits per sample and colour type.
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
    **{(depth, 3): "palette" for depth in (1, 2, 4, 8)},
    (8, 4): "grey with alpha",
    (16, 4): "16-bit grey with alpha",
    (8, 6): "colour with alpha",
    (16, 6): "16-bit colour with alpha",
}


class KindError(InputError):
    """A PNG file of a kind that is not read bit for bit."""


@dataclass(frozen=True)
class Png:
    """The samples of a file as stored, 0 to 2^depth - 1, and its kind, one of `KINDS`."""

    samples: UInt8[np.ndarray, "H W C"]
    depth: int
    kind: str

    @property
    def grey(self) -> UInt8[np.ndarray, "H W C"]:
        """The samples spread over 0..255, exactly: 255 is a multiple of 1, 3, 15 and 255."""
        return self.samples * np.uint8(255 // (2**self.depth - 1))


def read_png(path: Path, max_bytes: int | None = None) -> Png:
    """The file's samples; InputError if it is damaged, exceeds the limit or is not one of `KINDS`.

    Size and kind are checked in the header, before anything is unpacked. The checksum of every chunk is checked.
    """
    content = read_regular(path)
    if not content.startswith(SIGNATURE):
        raise InputError(f"{path} is not a PNG file")
    depth, kind, size = _header(path, content)
    if kind not in KINDS.values():
        raise _other_kind(path, kind)
    check_size(path, size, len(content), max_bytes)
    if END not in content:
        raise _broken(path, "it is truncated")
    try:
        with unlimited(), Image.open(io.BytesIO(content), formats=["PNG"]) as picture:
            clear = "transparency" in picture.info
            frames = getattr(picture, "n_frames", 1)
            picture.verify()  # the checksum of every chunk, which load() does not check
        with unlimited(), Image.open(io.BytesIO(content), formats=["PNG"]) as picture:
            picture.load()
            pixels = np.asarray(picture).astype(np.uint8)
    except Exception as error:
        explained = isinstance(error, (SyntaxError, OSError, ValueError)) and str(error)
        unknown = isinstance(error, Image.UnidentifiedImageError) or not explained
        raise _broken(
            path, "its chunks do not form a picture" if unknown else first_line(error)
        ) from error
    if clear or frames > 1:
        raise _other_kind(path, "animated" if frames > 1 else "transparent")
    if 1 < depth < 8:
        pixels //= 255 // (2**depth - 1)  # Pillow has spread them over 0..255
    return Png(pixels.reshape(*pixels.shape[:2], -1), depth, kind)


def decoded(content: bytes, mode: str) -> UInt8[np.ndarray, "..."]:
    """The pixels of a picture of any kind in a Pillow mode; the caller checks them against their published hash."""
    with Image.open(io.BytesIO(content)) as picture:
        return np.asarray(picture.convert(mode))


def png(samples: UInt8[np.ndarray, "H W C"], depth: int) -> bytes:
    """A PNG of these samples: grey with 1, 2, 4 or 8 bits, or colour with 8."""
    height, width, channels = samples.shape
    if depth == 8:
        buffer = io.BytesIO()
        Image.fromarray(samples[..., 0] if channels == 1 else samples).save(buffer, format="PNG")
        return buffer.getvalue()
    # Pillow writes only 1-bit and 8-bit grey.
    bits = samples[..., :1] >> np.arange(depth - 1, -1, -1, dtype=np.uint8) & 1
    rows = np.packbits(bits.reshape(height, width * depth), axis=1)
    unfiltered = np.pad(rows, ((0, 0), (1, 0)))  # each row begins with its filter, 0 for none
    header = struct.pack(">IIBBBBB", width, height, depth, 0, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(unfiltered.tobytes(), 9)), (b"IEND", b"")]
    return SIGNATURE + b"".join(_chunk(*chunk) for chunk in chunks)


@contextlib.contextmanager
def unlimited() -> Iterator[None]:
    """Disable Pillow's limit on pixels: `check_size` has checked the size."""
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def _header(path: Path, content: bytes) -> tuple[int, str, int]:
    """Bits per sample, kind, and number of samples."""
    head = content[len(SIGNATURE) : len(SIGNATURE) + HEADER.size]
    if len(head) < HEADER.size:
        raise _broken(path, "it is truncated")
    length, name, width, height, depth, colour, *methods, checksum = HEADER.unpack(head)
    kind = (KINDS | OTHER_KINDS).get((depth, colour))
    fits = (length, name) == (13, b"IHDR") and zlib.crc32(head[4:-4]) == checksum
    if not fits or kind is None or methods[:2] != [0, 0] or methods[2] > 1 or not width * height:
        raise _broken(path, "its header is damaged")
    return depth, kind, width * height * (3 if colour == 2 else 1)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _broken(path: Path, why: str) -> InputError:
    return InputError(f"{path} is a broken PNG: {why}")


def _other_kind(path: Path, kind: str) -> KindError:
    kinds = ", ".join(KINDS.values())
    return KindError(f"{path} is a PNG of kind {kind}; only {kinds} can be read")
