"""Files of integers, read with care: idx, `.npz`, CIFAR records, PNG. InputError names the file that is damaged."""

import gzip
import io
import math
import struct
import warnings
import zipfile
import zlib
from pathlib import Path

import numpy as np
from jaxtyping import Int32, UInt8
from PIL import Image

from gen_jax.errors import InputError, first_line

UNSIGNED_BYTE = 8
GZIP = b"\x1f\x8b"
MAX_GZIP_RATIO = 1100  # deflate cannot do better
IMAGES_AND_LABELS = [bytes([0, 0, UNSIGNED_BYTE, axes]) for axes in (1, 2, 3, 4)]

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
PNG_END = b"\0\0\0\0IEND\xaeB`\x82"
PNG_KINDS = {"1": "1-bit grey", "L": "8-bit grey", "RGB": "8-bit colour"}
OTHER_PNG_KINDS = {
    "I;16B": "16-bit grey",
    "RGB;16B": "16-bit colour",
    "L;2": "2-bit grey",
    "L;4": "4-bit grey",
    "LA": "grey with alpha",
    "LA;16B": "16-bit grey with alpha",
    "RGBA": "colour with alpha",
    "RGBA;16B": "16-bit colour with alpha",
}


def starts_like_idx(path: Path) -> bool:
    """Whether name or first bytes are those of an idx file, maybe a gzip one."""
    if path.suffix.lower() in (".gz", ".idx") or "ubyte" in path.name:
        return True
    with path.open("rb") as file:
        start = file.read(4)
    return start[:2] == GZIP or start in IMAGES_AND_LABELS


def read_idx(path: Path) -> UInt8[np.ndarray, "..."]:
    """The array of an idx file, plain or gzip, of 1 to 4 axes: a magic number, sides, unsigned bytes."""
    try:
        with path.open("rb") as file:
            compressed = file.read(2) == GZIP
        with gzip.open(path) if compressed else path.open("rb") as file:
            return _parse_idx(path, file)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(f"{path} is a damaged gzip file: {error}") from error


def _parse_idx(path: Path, file) -> np.ndarray:
    magic = file.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or not 1 <= magic[3] <= 4:
        raise InputError(f"{path} is no idx file: its magic number is 0x{magic.hex()}")
    if magic[2] != UNSIGNED_BYTE:
        raise InputError(
            f"{path}: magic number 0x{magic.hex()} is of type 0x{magic[2]:02x}, only unsigned bytes (0x08) are read"
        )
    sides = file.read(4 * magic[3])
    if len(sides) < 4 * magic[3]:
        raise InputError(f"{path} is cut short: its sides are missing")
    shape = struct.unpack(f">{magic[3]}I", sides)
    size = math.prod(shape)
    content = b""
    if size <= MAX_GZIP_RATIO * path.stat().st_size:
        content = file.read(size + 1)
    if len(content) < size:
        raise InputError(f"{path} is cut short: shape {shape} needs {size} bytes")
    if len(content) > size:
        raise InputError(f"{path} is too long: bytes follow the {size} of shape {shape}")
    return np.frombuffer(content, np.uint8).reshape(shape)


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """Every array of the file by name; nothing is ever unpickled."""
    if not zipfile.is_zipfile(path):
        raise InputError(f"{path} is no readable .npz file: it is no zip archive or is cut short")
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: _array(path, archive, name) for name in archive.files}
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"{path} is no readable .npz file: {first_line(error)}") from error


def _array(path: Path, archive: np.lib.npyio.NpzFile, name: str) -> np.ndarray:
    try:
        array = archive[name]
    except Exception as error:
        if "allow_pickle" in str(error):
            raise InputError(
                f"{path}: array {name!r} holds Python objects, which are never unpickled; store integers"
            ) from error
        raise InputError(f"{path}: array {name!r} cannot be read: {first_line(error)}") from error
    if not isinstance(array, np.ndarray):
        raise InputError(f"{path}: {name!r} is no array")
    return array


def cifar_records(
    content: bytes, classes: int, where: object
) -> tuple[UInt8[np.ndarray, "N 32 32 3"], Int32[np.ndarray, " N"]]:
    """Images and (fine) labels of a binary batch: one or, of 100 classes, two label bytes and 3 planes a record."""
    label_bytes = 1 if classes == 10 else 2
    size = label_bytes + 3072
    if not content or len(content) % size:
        raise InputError(
            f"{where} has {len(content)} bytes, no multiple of the {size} of a CIFAR-{classes} record"
        )
    records = np.frombuffer(content, np.uint8).reshape(-1, size)
    labels = records[:, label_bytes - 1]
    if labels.max() >= classes:
        raise InputError(
            f"{where} has label {labels.max()}, CIFAR-{classes} has 0 to {classes - 1}"
        )
    planes = records[:, label_bytes:].reshape(-1, 3, 32, 32)
    return np.ascontiguousarray(planes.transpose(0, 2, 3, 1)), labels.astype(np.int32)


def read_png(path: Path) -> tuple[UInt8[np.ndarray, "H W C"], str]:
    """The integers of one file, as stored, and its kind; refused where too large or of a kind that keeps none."""
    content = path.read_bytes()
    if not content.startswith(PNG_SIGNATURE):
        raise InputError(f"{path} is no PNG")
    if PNG_END not in content:
        raise InputError(f"{path} is a broken PNG: it is cut short")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(content), formats=["PNG"]) as picture:
                raw = str(picture.tile[0].args)
                clear = "transparency" in picture.info
                frames = getattr(picture, "n_frames", 1)
                picture.verify()  # the checksum of every chunk, which load() passes over
            with Image.open(io.BytesIO(content), formats=["PNG"]) as picture:
                picture.load()
                pixels = np.asarray(picture)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise InputError(f"{path} is too large to read safely: {error}") from error
    except Exception as error:
        damaged = isinstance(error, Image.UnidentifiedImageError) or not str(error)
        what = "its header is damaged" if damaged else first_line(error)
        raise InputError(f"{path} is a broken PNG: {what}") from error
    if raw not in PNG_KINDS or clear or frames > 1:
        what = "palette" if raw.startswith("P") else OTHER_PNG_KINDS.get(raw, "transparent")
        what = "animated" if frames > 1 else what
        raise InputError(
            f"{path} is a PNG of kind {what}; only {', '.join(PNG_KINDS.values())} keep their integers"
        )
    return pixels.astype(np.uint8).reshape(*pixels.shape[:2], -1), PNG_KINDS[raw]
