"""Readers of integer files: idx and CIFAR records. InputError names a damaged file."""

import gzip
import math
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int32, UInt8

from gen_jax.data.opening import check_size, open_regular, size_of
from gen_jax.errors import InputError

UNSIGNED_BYTE = 8
GZIP = b"\x1f\x8b"
MAX_GZIP_RATIO = 1100  # deflate cannot compress more
IMAGES_AND_LABELS = [bytes([0, 0, UNSIGNED_BYTE, axes]) for axes in (1, 2, 3, 4)]


def starts_like_idx(path: Path) -> bool:
    """Whether name or first bytes look like an idx file, plain or gzip."""
    if path.suffix.lower() in (".gz", ".idx") or "ubyte" in path.name:
        return True
    with open_regular(path) as file:
        start = file.read(4)
    return start[:2] == GZIP or start in IMAGES_AND_LABELS


def read_idx(path: Path, max_bytes: int | None = None) -> UInt8[np.ndarray, "..."]:
    """The array of an idx file, plain or gzip, with 1 to 4 axes: magic number, shape, unsigned bytes.

    InputError if it is damaged or its shape exceeds the limit.
    """
    try:
        with open_regular(path) as file:
            size, compressed = size_of(file), file.read(2) == GZIP
            file.seek(0)
            if not compressed:
                return _parse_idx(path, file, size, max_bytes)
            with gzip.open(file) as unpacked:
                return _parse_idx(path, unpacked, size, max_bytes)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(f"{path} is a damaged gzip file: {error}") from error


def _parse_idx(path: Path, file: Any, on_disk: int, max_bytes: int | None) -> np.ndarray:
    magic = file.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or not 1 <= magic[3] <= 4:
        raise InputError(f"{path} is not an idx file: its magic number is 0x{magic.hex()}")
    if magic[2] != UNSIGNED_BYTE:
        raise InputError(
            f"{path}: magic number 0x{magic.hex()} is of type 0x{magic[2]:02x}, only unsigned bytes (0x08) are read"
        )
    sides = file.read(4 * magic[3])
    if len(sides) < 4 * magic[3]:
        raise InputError(f"{path} is truncated: its shape is missing")
    shape = struct.unpack(f">{magic[3]}I", sides)
    size = math.prod(shape)
    content = b""
    if size <= MAX_GZIP_RATIO * on_disk:
        check_size(path, size, on_disk, max_bytes)
        content = file.read(size + 1)
    if len(content) < size:
        raise InputError(f"{path} is truncated: shape {shape} needs {size} bytes")
    if len(content) > size:
        raise InputError(f"{path} is too long: bytes follow the {size} of shape {shape}")
    return np.frombuffer(content, np.uint8).reshape(shape)


def cifar_records(
    content: bytes, classes: int, where: object
) -> tuple[UInt8[np.ndarray, "N 32 32 3"], Int32[np.ndarray, " N"]]:
    """Images and (fine) labels of a binary batch; a record has one label byte (two for 100 classes) and 3 planes."""
    label_bytes = 1 if classes == 10 else 2
    size = label_bytes + 3072
    if not content or len(content) % size:
        raise InputError(
            f"{where} has {len(content)} bytes, not a multiple of the {size} of a CIFAR-{classes} record"
        )
    records = np.frombuffer(content, np.uint8).reshape(-1, size)
    labels = records[:, label_bytes - 1]
    if labels.max() >= classes:
        raise InputError(
            f"{where} has label {labels.max()}, CIFAR-{classes} has 0 to {classes - 1}"
        )
    planes = records[:, label_bytes:].reshape(-1, 3, 32, 32)
    return np.ascontiguousarray(planes.transpose(0, 2, 3, 1)), labels.astype(np.int32)
