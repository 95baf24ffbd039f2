"""idx files, plain or gzip: the format of MNIST and its kin. A magic number, sides, unsigned bytes."""

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from gen_jax.data.importing.arrays import class_labels, examples
from gen_jax.data.importing.found import Found, Part
from gen_jax.errors import InputError

UNSIGNED_BYTE = 8
GZIP = b"\x1f\x8b"
MAX_GZIP_RATIO = 1100  # deflate cannot do better
IMAGES_AND_LABELS = [bytes([0, 0, UNSIGNED_BYTE, axes]) for axes in (1, 2, 3, 4)]
SPLIT_WORDS = {"train": "train", "t10k": "test", "test": "test", "valid": "validation"}


def read(paths: list[Path]) -> Found:
    """Images and labels by split, the split told by the file's name, the rest by its magic number."""
    images: dict[str, tuple[Path, np.ndarray]] = {}
    labels: dict[str, tuple[Path, np.ndarray]] = {}
    for path in paths:
        array = read_idx(path)
        split = next((name for word, name in SPLIT_WORDS.items() if word in path.name), "train")
        for word, right in (("images", array.ndim > 1), ("labels", array.ndim == 1)):
            if word in path.name and not right:
                raise InputError(f"{path} is named {word}, its magic number says {array.ndim} axes")
        there = labels if array.ndim == 1 else images
        if split in there:
            what = "labels" if array.ndim == 1 else "images"
            raise InputError(f"{there[split][0]} and {path} are both {what} of split {split}")
        there[split] = (path, array)
    for split in labels:
        if split not in images:
            raise InputError(
                f"{labels[split][0]} labels split {split}, of which there are no images"
            )
    parts = {}
    for split, (path, array) in images.items():
        x = examples(array, str(path))
        there = labels.get(split)
        label = class_labels(there[1], str(there[0]), len(x)) if there else None
        parts[split] = Part(x, [str(path)] * len(x), label)
    return Found(parts)


def starts_like_idx(path: Path) -> bool:
    """Whether name or first bytes are those of an idx file, maybe a gzip one."""
    if path.suffix.lower() in (".gz", ".idx") or "ubyte" in path.name:
        return True
    with path.open("rb") as file:
        start = file.read(4)
    return start[:2] == GZIP or start in IMAGES_AND_LABELS


def read_idx(path: Path) -> UInt8[np.ndarray, "..."]:
    """The array of a file, 1 to 4 axes; InputError where it is damaged, cut short or too long."""
    try:
        with path.open("rb") as file:
            compressed = file.read(2) == GZIP
        with gzip.open(path) if compressed else path.open("rb") as file:
            return _parse(path, file)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(f"{path} is a damaged gzip file: {error}") from error


def _parse(path: Path, file) -> np.ndarray:
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
