"""The file format: a header with everything needed before the first symbol, the coder's words, a checksum.

    magic 4 | version 1 | model 8 | content 8 | environment text | lanes | levels | kind 1 | labels 1 |
    number of arrays | each: name text, type 1, number of axes, axes | number of words | words 4 each | crc32 4

In version 4 at least one array is a picture whose type is one of `SIDED`. After the axes of each such picture stand
palette, transparency and number of side planes; before the number of words stand the side planes of all pictures.

Numbers are LEB128; a text is its length followed by UTF-8, and bytes are their length followed by them; words and crc32
are little-endian. `model` is the fingerprint of config and parameters (in version 1, of the class paths and fields that
records had then), `content` the checksum of the decoded content, crc32 that of all bytes before it. Before version 3
the blocks of bits-back coding did not depend on the number of latents. There is exactly one container for a header and
its words: `unpack` packs again and compares.
"""

import math
import unicodedata
import zlib
from dataclasses import dataclass
from pathlib import PurePosixPath, PureWindowsPath
from typing import Literal

import numpy as np

from gen_jax.coding import planes
from gen_jax.coding.frequencies import Words
from gen_jax.errors import InputError

MAGIC, VERSION = b"\x89GJX", 3
SIDED_VERSION = 4
VERSIONS = (1, 2, VERSION, SIDED_VERSION)  # that can be read
KINDS = ("npz", "png")
Kind = Literal["npz", "png"]
# Pictures with less than 8 bits per sample, stored one sample per byte, with that number of bits.
PACKED = {"1-bit": 1, "2-bit": 2, "4-bit": 4}
# Pictures that are more than the model's samples, by kind of PNG.
SIDED = (
    "1-bit grey", "2-bit grey", "4-bit grey", "8-bit grey", "16-bit grey", "8-bit colour", "16-bit colour",
    "1-bit palette", "2-bit palette", "4-bit palette", "8-bit palette", "grey with alpha", "16-bit grey with alpha",
    "colour with alpha", "16-bit colour with alpha",
)  # fmt: skip
TYPES = (
    "|b1", "|u1", "|i1", "<u2", "<i2", "<u4", "<i4", "<u8", "<i8", ">u2", ">i2", ">u4", ">i4", ">u8", ">i8",
    *PACKED, *SIDED,
)  # fmt: skip
MAX_AXES, MAX_VALUES = 8, 2**30
MAX_ARRAY_NAME, MAX_FILE_NAME = 2**16 - 1 - len(".npy"), 255  # bytes
LANES = tuple(2**k for k in range(7))
UNLABELLED, NOT_KEPT = (
    254,
    255,
)  # values of the byte `labels`, otherwise the type of the array `labels`


@dataclass(frozen=True)
class Entry:
    """An array in the file: name, dtype (numpy's string, or one of `PACKED` or `SIDED`) and shape.

    A sided picture also has `palette` and `transparency` as in `planes.Side`, and so many side planes.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    palette: bytes = b""
    transparency: bytes = b""
    planes: int = 0

    @property
    def stored(self) -> str:
        """The dtype of the array in memory."""
        return "|u1" if self.dtype in (*PACKED, *SIDED) else self.dtype

    @property
    def sided(self) -> bool:
        """Whether it is a picture that is more than the model's samples."""
        return self.dtype in SIDED

    @property
    def of_planes(self) -> tuple[int, ...]:
        """The shape of its side planes."""
        return (self.planes, *self.shape[1:3])

    @property
    def samples(self) -> int:
        """The number of values, or of samples of the PNG."""
        if not self.sided:
            return math.prod(self.shape)
        return math.prod(self.shape[:3]) * planes.samples_of(self.dtype)


@dataclass(frozen=True)
class Header:
    """Everything but the words. `labels` is the dtype of the array of labels, or "" if it is not written out again."""

    model: bytes
    content: bytes
    environment: str
    lanes: int
    levels: int
    kind: Kind
    labels: str | None
    entries: tuple[Entry, ...]
    version: int = VERSION
    side: bytes = b""


def version_of(entries: tuple[Entry, ...]) -> int:
    """The version of a file with these arrays."""
    return SIDED_VERSION if any(entry.sided for entry in entries) else VERSION


def check(kind: Kind, entries: tuple[Entry, ...]) -> None:
    """InputError if there are too many values for one file, or a name under which nothing can be written."""
    values = sum(math.prod(entry.shape) + math.prod(entry.of_planes) for entry in entries)
    if values > MAX_VALUES:
        raise InputError(f"a file holds at most {MAX_VALUES:,} values; compress into several files")
    check_names(kind, entries)


def check_names(kind: Kind, entries: tuple[Entry, ...]) -> None:
    """InputError for a name that leaves its folder, has control characters or is too long.

    An array is an entry of a .zip file; several pictures are files in one folder.
    """
    several = len(entries) > 1
    for name in (entry.name for entry in entries):
        categories = {unicodedata.category(character) for character in name}
        if categories & {"Cc", "Cs"}:
            raise InputError(f"{name!r:.200} contains characters that are not allowed in a name")
        size = len(name.encode())
        if size > (MAX_ARRAY_NAME if kind == "npz" else MAX_FILE_NAME):
            raise InputError(f"{name!r:.80}... is too long for a name: {size} bytes")
        if kind == "png" and several:
            plain = name == PurePosixPath(name).name == PureWindowsPath(name).name
            if not plain or PurePosixPath(name).suffix.lower() != ".png":
                raise InputError(f"{name!r} is not a valid name for a picture")


def pack(header: Header, words: Words) -> bytes:
    """The bytes of a file."""
    body = MAGIC + bytes([header.version]) + header.model + header.content
    body += _text(header.environment) + _number(header.lanes) + _number(header.levels)
    body += described(header.kind, header.labels, header.entries)
    body += _bytes(header.side) if header.version >= SIDED_VERSION else b""
    body += _number(len(words)) + words.astype("<u4").tobytes()
    return body + zlib.crc32(body).to_bytes(4, "little")


def described(kind: Kind, labels: str | None, entries: tuple[Entry, ...]) -> bytes:
    """The description of the content without its values; the content checksum covers it too."""
    label = UNLABELLED if labels is None else TYPES.index(labels) if labels else NOT_KEPT
    out = bytes([KINDS.index(kind), label]) + _number(len(entries))
    for entry in entries:
        out += _text(entry.name) + bytes([TYPES.index(entry.dtype)])
        out += _number(len(entry.shape)) + b"".join(_number(side) for side in entry.shape)
        if entry.sided:
            out += _bytes(entry.palette) + _bytes(entry.transparency) + _number(entry.planes)
    return out


def unpack(data: bytes) -> tuple[Header, Words]:
    """Header and words; InputError if the bytes are not a complete, undamaged container."""
    if data[:4] != MAGIC:
        raise InputError("it was not written by gen-jax compress")
    if not data[4:5] or data[4] not in VERSIONS:
        raise InputError(
            f"its format version is not {' or '.join(map(str, VERSIONS))}, or it is truncated"
        )
    if len(data) < 9 or zlib.crc32(data[:-4]).to_bytes(4, "little") != data[-4:]:
        raise InputError("it is damaged: its checksum does not agree")
    try:
        header, words = _parse(_Reader(data[4:-4]))
        if pack(header, words) != data:
            raise InputError("another spelling")
    except (InputError, IndexError, ValueError) as error:
        raise InputError("it is damaged: its header makes no sense") from error
    check(header.kind, header.entries)
    return header, words


class _Reader:
    """Reads bytes from the front; InputError if there are too few."""

    def __init__(self, data: bytes):
        self._data, self._at = data, 0

    def take(self, count: int) -> bytes:
        part = self._data[self._at : self._at + count]
        if len(part) != count:
            raise InputError("it ends too early")
        self._at += count
        return part

    def number(self, highest: int = 2**63) -> int:
        value, shift = 0, 0
        while shift < 64:
            byte = self.take(1)[0]
            value |= (byte & 127) << shift
            if byte < 128:
                break
            shift += 7
        if value > highest:
            raise InputError("a number is too large")
        return value

    def bytes(self) -> bytes:
        return self.take(self.number())

    def text(self) -> str:
        return self.take(self.number(2**16)).decode("utf-8")


def _parse(reader: _Reader) -> tuple[Header, Words]:
    version, model, content = reader.take(1)[0], reader.take(8), reader.take(8)
    environment = reader.text()
    lanes, levels = reader.number(), reader.number(2**32)
    kind, label = KINDS[reader.take(1)[0]], reader.take(1)[0]
    labels = None if label == UNLABELLED else "" if label == NOT_KEPT else TYPES[label]
    entries = []
    for _ in range(reader.number()):
        name, dtype = reader.text(), TYPES[reader.take(1)[0]]
        axes = reader.number(MAX_AXES)
        shape = tuple(reader.number() for _ in range(axes))
        entry = Entry(name, dtype, shape)
        if entry.sided:
            side = (reader.bytes(), reader.bytes(), reader.number())
            entry = Entry(name, dtype, shape, *side)
        entries.append(entry)
    side = reader.bytes() if version >= SIDED_VERSION else b""
    words = np.frombuffer(reader.take(4 * reader.number()), "<u4").astype(np.uint32)
    names = [entry.name for entry in entries] + (["labels"] if labels else [])
    sides = [side for entry in entries for side in entry.shape]
    if (
        lanes not in LANES
        or not entries
        or len(set(names)) != len(names)
        or min(sides, default=0) < 1
        or labels in (*PACKED, *SIDED)
        or (kind != "png" and any(entry.dtype in (*PACKED, *SIDED) for entry in entries))
        or (version == SIDED_VERSION) != any(entry.sided for entry in entries)
        or not all(_possible(entry, levels) for entry in entries if entry.sided)
    ):
        raise InputError("it has no lanes, no arrays, a name twice or a wrong type")
    header = Header(
        model, content, environment, lanes, levels, kind, labels, tuple(entries), version, side
    )
    return header, words


def _possible(entry: Entry, levels: int) -> bool:
    """Whether a sided picture can be one."""
    if len(entry.shape) != 4 or entry.shape[0] != 1 or levels != planes.LEVELS:
        return False
    side = (entry.palette, entry.transparency, entry.planes)
    return planes.possible(entry.dtype, *side, entry.shape[3])


def _number(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def _bytes(data: bytes) -> bytes:
    return _number(len(data)) + data


def _text(text: str) -> bytes:
    return _bytes(text.encode("utf-8"))
