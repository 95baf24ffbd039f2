"""Original files: found in the user's folder or downloaded, read, and checked by the SHA-256 of their content."""

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

from gen_jax.data.npz import Headers, read_npz
from gen_jax.errors import InputError, first_line

LOG = logging.getLogger(__name__)
MAX_NPZ_BYTES = 2**30
RETRIES = 2  # with TFDS's ten an unreachable host costs minutes


@dataclass(frozen=True)
class Original:
    """An array as published: its shape and the SHA-256 of its bytes (uint8, C order)."""

    shape: tuple[int, ...]
    sha256: str

    def check(self, array: np.ndarray, where: str) -> np.ndarray:
        """The array as uint8 of the published shape; InputError if its content is not the published one."""
        if array.dtype.kind not in "uib" or array.size != math.prod(self.shape):
            raise InputError(
                f"{where} should be integers of shape {self.shape}, but is {array.dtype} {array.shape}"
            )
        array = array.astype(np.uint8).reshape(self.shape)
        sha256 = hashlib.sha256(array.tobytes()).hexdigest()
        if sha256 != self.sha256:
            raise InputError(
                f"{where} is not the published original: its SHA-256 is {sha256}, not {self.sha256}"
            )
        return array


def download(dl_manager: Any, url: str) -> Path:
    """The file at `url` in TFDS's download folder, checked by checksums.tsv; InputError if the download fails."""
    downloader.MAX_RETRIES = RETRIES
    # Do not log retries: the sentence below is enough.
    logging.getLogger("urllib3").setLevel(logging.ERROR)
    LOG.info("fetching %s", url)
    try:
        return Path(dl_manager.download(url))
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the disk
        reason = "the connection failed" if isinstance(error, OSError) else first_line(error)
        if isinstance(error, NonMatchingChecksumError):
            reason = "the downloaded file is not the published one"
        raise InputError(
            f"cannot download {url} ({reason}); if you have the file, name it with --source PATH"
        ) from error


def checked_archive(path: Path, published: Any) -> Path:
    """The path; InputError if size or SHA-256 of the file are not those in checksums.tsv."""
    size = path.stat().st_size
    if size != published.size:
        raise InputError(f"{path} has {size} bytes, the published file {published.size}")
    with reading(path), path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    if sha256 != published.checksum:
        raise InputError(
            f"{path} is not the published file: its SHA-256 is {sha256}, not {published.checksum}"
        )
    return path


def find(folder: Path, *names: str) -> Path:
    """The first of `names` that exists in the folder; InputError with the names if none does."""
    for name in names:
        if (folder / name).exists():
            return folder / name
    raise InputError(f"no such file: {folder / names[0]}{''.join(f' or {n}' for n in names[1:])}")


def npz_of(source: str | None, name: str) -> Path | None:
    """The .npz file that `source` is, or that it contains under the data set's name; None otherwise."""
    if source is None:
        return None
    path = Path(source)
    if not path.exists():
        raise InputError(f"no such file: {path}")
    if path.is_dir():
        path = path / f"{name}.npz"
        return path if path.is_file() else None
    return path if path.suffix == ".npz" else None


def read_original_npz(path: Path) -> dict[str, np.ndarray]:
    """Every array of an .npz; InputError if they take more memory than any published data set in this format."""

    def fits(headers: Headers) -> None:
        if sum(header.nbytes for header in headers.values()) > MAX_NPZ_BYTES:
            raise InputError(
                f"{path} unpacks to more than {MAX_NPZ_BYTES:,} bytes: it is not the original"
            )

    return read_npz(path, check=fits)


def array_of(arrays: Mapping[str, np.ndarray], name: str, path: Path) -> np.ndarray:
    """An array of an .npz; InputError with the present names if it is missing."""
    if name not in arrays:
        known = ", ".join(sorted(arrays)) or "none"
        raise InputError(f"{path} has no array {name!r}; its arrays: {known}")
    return arrays[name]


def checked_npz(path: Path, originals: Mapping[str, Original]) -> dict[str, np.ndarray]:
    """The arrays of an .npz with the names of `originals`, each checked."""
    arrays = read_original_npz(path)
    return {
        name: original.check(array_of(arrays, name, path), f"{path}: array {name!r}")
        for name, original in originals.items()
    }


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn whatever goes wrong inside into an InputError that names the file."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"{path} cannot be read: {first_line(error)}") from error
