"""Original files: found in the user's folder or downloaded, read, and checked by the SHA-256 of what they hold."""

import gzip
import hashlib
import logging
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tensorflow_datasets.core.download import downloader
from tensorflow_datasets.core.download.download_manager import NonMatchingChecksumError

from gen_jax.errors import InputError

RETRIES = 2  # TFDS's ten would let an unreachable host wait for minutes


@dataclass(frozen=True)
class Original:
    """An array as published: its shape and the SHA-256 of its bytes (uint8, C order)."""

    shape: tuple[int, ...]
    sha256: str

    def check(self, array: np.ndarray, where: str) -> np.ndarray:
        """The array as uint8 of the published shape; InputError where its content is another."""
        if array.dtype.kind not in "uib" or array.size != math.prod(self.shape):
            raise InputError(
                f"{where} should hold integers of shape {self.shape}, it holds {array.dtype} {array.shape}"
            )
        array = array.astype(np.uint8).reshape(self.shape)
        found = hashlib.sha256(array.tobytes()).hexdigest()
        if found != self.sha256:
            raise InputError(
                f"{where} is not the published original: its SHA-256 is {found}, not {self.sha256}"
            )
        return array


def download(dl_manager: Any, url: str) -> Path:
    """The file at `url` in TFDS's download folder, checked by checksums.tsv; InputError where it cannot be had."""
    downloader.MAX_RETRIES = RETRIES
    logging.getLogger("urllib3").setLevel(
        logging.ERROR
    )  # its retries: the sentence below says enough
    try:
        return Path(dl_manager.download(url))
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the disk
        reason = "the connection failed" if isinstance(error, OSError) else first_line(error)
        if isinstance(error, NonMatchingChecksumError):
            reason = "what came is not the published file"
        raise InputError(
            f"cannot download {url} ({reason}); if you have the file, say where by --source PATH"
        ) from error


def first_line(error: Exception) -> str:
    """What an exception says, in one line."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def checked_archive(path: Path, published: Any) -> Path:
    """The path, once size and SHA-256 of the file are those of its line in checksums.tsv."""
    size = path.stat().st_size
    if size != published.size:
        raise InputError(f"{path} holds {size} bytes, the published file {published.size}")
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != published.checksum:
        raise InputError(
            f"{path} is not the published file: its SHA-256 is {found}, not {published.checksum}"
        )
    return path


def find(folder: Path, *names: str) -> Path:
    """The first of `names` that the folder holds; InputError with the names where there is none."""
    for name in names:
        if (folder / name).exists():
            return folder / name
    raise InputError(f"no such file: {folder / names[0]}{''.join(f' or {n}' for n in names[1:])}")


def npz_of(source: str | None, name: str) -> Path | None:
    """The .npz that `source` is, or that it holds under the name of the set; None where it is neither."""
    if source is None:
        return None
    path = Path(source)
    if not path.exists():
        raise InputError(f"no such file: {path}")
    if path.is_dir():
        path = path / f"{name}.npz"
        return path if path.is_file() else None
    return path if path.suffix == ".npz" else None


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """Every array of the file, without unpickling; InputError where it is no .npz."""
    if not path.is_file():
        raise InputError(f"no such file: {path}")
    try:
        with np.load(path) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except Exception as error:
        raise InputError(f"{path} is no readable .npz file: {first_line(error)}") from error


def array_of(arrays: Mapping[str, np.ndarray], name: str, path: Path) -> np.ndarray:
    """One array of an .npz; InputError with the names that are there."""
    if name not in arrays:
        known = ", ".join(sorted(arrays)) or "none"
        raise InputError(f"{path} has no array {name!r}; its arrays: {known}")
    return arrays[name]


def checked_npz(path: Path, originals: Mapping[str, Original]) -> dict[str, np.ndarray]:
    """The arrays of an .npz under the names of `originals`, each one checked."""
    arrays = read_npz(path)
    return {
        name: original.check(array_of(arrays, name, path), f"{path}: array {name!r}")
        for name, original in originals.items()
    }


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """InputError that names the file for whatever goes wrong inside."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"{path} cannot be read: {first_line(error)}") from error


def read_idx(path: Path) -> np.ndarray:
    """The bytes of an idx file, gzipped or not, in the shape of its header; InputError where it is damaged."""
    with reading(path):
        content = path.read_bytes()
        if content[:2] == b"\x1f\x8b":
            content = gzip.decompress(content)
    if content[:3] != b"\x00\x00\x08" or len(content) < 4 + 4 * content[3]:
        raise InputError(f"{path} is no idx file of bytes: it begins with {content[:4].hex(' ')}")
    start = 4 + 4 * content[3]
    shape = np.frombuffer(content[4:start], ">u4").tolist()
    if len(content) - start != math.prod(shape):
        raise InputError(
            f"{path} holds {len(content) - start} bytes, its header says {math.prod(shape)}"
        )
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)
