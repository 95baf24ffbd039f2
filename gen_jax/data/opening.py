"""Opening files from elsewhere: only regular files are opened, and none unpacks to more than a limit."""

import os
import stat
from pathlib import Path
from typing import BinaryIO

from gen_jax.errors import InputError

MAX_BYTES = 2**26  # to which any file may unpack
MAX_RATIO = 32  # a large file may unpack to this times its size; deflate packs zeros by 1,032


def open_regular(path: Path) -> BinaryIO:
    """The file, opened for reading bytes; InputError if it does not exist or is a folder, a pipe or a device."""
    try:
        # Without O_NONBLOCK, opening a pipe would wait for its writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise InputError(f"no such file: {path}") from error
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return os.fdopen(descriptor, "rb")
    os.close(descriptor)
    kind = "a folder" if stat.S_ISDIR(mode) else "a pipe" if stat.S_ISFIFO(mode) else "a device"
    raise InputError(f"{path} is {kind}, not a regular file")


def read_regular(path: Path, max_bytes: int | None = None) -> bytes:
    """All bytes of the file; InputError as in `open_regular`, or if it exceeds the limit."""
    with open_regular(path) as file:
        size = size_of(file)
        check_size(path, size, size, max_bytes)
        return file.read()


def size_of(file: BinaryIO) -> int:
    """The size of the file on disk, in bytes."""
    return os.fstat(file.fileno()).st_size


def check_size(path: Path, needed: int, size: int, max_bytes: int | None = None) -> None:
    """InputError if a file of `size` bytes would unpack to `needed` bytes, more than `max_bytes`.

    By default the limit is the larger of `MAX_BYTES` and `MAX_RATIO` times its size.
    """
    limit = max(MAX_BYTES, MAX_RATIO * size) if max_bytes is None else max_bytes
    if needed > limit:
        raise InputError(
            f"{path} unpacks to {needed:,} bytes, the limit is {limit:,}; --max-bytes {needed} allows it"
        )
