"""The only reader of `.npz` files: first names, types and shapes, then the arrays; nothing is ever unpickled."""

import math
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gen_jax.data.opening import check_size, open_regular, size_of
from gen_jax.errors import InputError, first_line

ENDING = ".npy"
READ_HEADER = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


@dataclass(frozen=True)
class Header:
    """Shape and type of an array that has not been read yet."""

    shape: tuple[int, ...]
    dtype: np.dtype

    @property
    def nbytes(self) -> int:
        """The size of the array in memory, in bytes."""
        return math.prod(self.shape) * self.dtype.itemsize


Headers = Mapping[str, Header]


def read_npz(
    path: Path,
    max_bytes: int | None = None,
    check: Callable[[Headers], object] | None = None,
) -> dict[str, np.ndarray]:
    """Every array of the file by name, in the file's order.

    `check` gets the headers before any array is read and raises InputError if they do not fit; it replaces the limit of
    bytes. InputError if the file is damaged, is too large, or contains objects or anything but arrays.
    """
    with open_regular(path) as file:
        if not zipfile.is_zipfile(file):
            raise _unreadable(path, "it is truncated or not a zip archive")
        try:
            with zipfile.ZipFile(file) as archive:
                return _arrays(path, archive, size_of(file), max_bytes, check)
        except (InputError, MemoryError):
            raise
        except Exception as error:
            raise _unreadable(path, first_line(error)) from error


def _arrays(
    path: Path,
    archive: zipfile.ZipFile,
    size: int,
    max_bytes: int | None,
    check: Callable[[Headers], object] | None,
) -> dict[str, np.ndarray]:
    places = archive.namelist()
    names = [place.removesuffix(ENDING) for place in places]
    if len(set(names)) < len(names):
        raise InputError(f"{path} contains two arrays with the same name")
    headers = {}
    for name, place in zip(names, places, strict=True):
        if not place.endswith(ENDING):
            raise InputError(f"{path}: {name!r} is not an array")
        with archive.open(place) as member:
            headers[name] = _header(path, name, member)
    if check is None:
        check_size(path, sum(header.nbytes for header in headers.values()), size, max_bytes)
    else:
        check(headers)
    arrays = {}
    for name, place in zip(names, places, strict=True):
        try:
            with archive.open(place) as member:
                arrays[name] = np.lib.format.read_array(member, allow_pickle=False)
                if member.read(1):
                    raise ValueError("bytes follow its values")
        except MemoryError:
            raise
        except Exception as error:
            raise _damaged(path, name, error) from error
    return arrays


def _header(path: Path, name: str, member: Any) -> Header:
    try:
        version = np.lib.format.read_magic(member)
        if version not in READ_HEADER:
            raise ValueError(f"unknown format version {version}")
        shape, _, dtype = READ_HEADER[version](member)
    except Exception as error:
        raise _damaged(path, name, error) from error
    if dtype.hasobject:
        raise InputError(
            f"{path}: array {name!r} contains Python objects, which are never unpickled; store integers"
        )
    return Header(shape, dtype)


def _damaged(path: Path, name: str, error: Exception) -> InputError:
    return InputError(f"{path}: array {name!r} cannot be read: {first_line(error)}")


def _unreadable(path: Path, why: str) -> InputError:
    return InputError(f"{path} is not a readable .npz file: {why}")
