"""Access to the disk: files are written under a temporary name and then renamed, and no link is ever followed.

A reader sees the old content or the new one, and a full disk keeps the old. The temporary name is random and must be
new (O_EXCL), so no existing file is opened, reused or followed; a link under the final name is replaced.
"""

import contextlib
import fcntl
import os
import secrets
import shutil
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

from gen_jax.errors import InputError

TEMPORARY = ".gen_jax-"  # prefix of files that a killed process may leave


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a file, text as UTF-8; OSError naming the file if writing fails."""
    with new_file(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


@contextlib.contextmanager
def new_file(path: Path) -> Iterator[IO[bytes]]:
    """A file to write, which gets its name when the block ends; if the block fails, nothing is left."""
    there = temporary(path)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    with _removed(there, path):
        with os.fdopen(os.open(there, no_follow(flags), 0o666), "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        there.replace(path)


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A folder to fill, which gets its name when the block ends; FileExistsError if the name is taken."""
    there = temporary(path)
    with _removed(there, path):
        there.mkdir()
        yield there
        if os.path.lexists(path):  # renaming would replace an empty folder
            raise FileExistsError(f"{path} exists")
        there.rename(path)


@contextlib.contextmanager
def locked(path: Path, otherwise: str) -> Iterator[None]:
    """Hold a lock file for one process; InputError with the text `otherwise` if another process has it.

    A killed process releases it. The file is never emptied; InputError if it is a link or a folder.
    """
    try:
        descriptor = os.open(path, no_follow(os.O_RDWR | os.O_CREAT), 0o666)
    except OSError as error:
        raise InputError(f"cannot use {path} as a lock: {error.strerror}") from error
    with os.fdopen(descriptor, "rb"):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise InputError(otherwise) from error
        yield


def appended(path: Path) -> IO[str]:
    """A text file opened for appending; OSError if it is a link."""
    return open(path, "a", opener=_open_plain)


def read_plain(path: Path) -> bytes:
    """The content of a file; OSError if it is a link."""
    with open(path, "rb", opener=_open_plain) as file:
        return file.read()


def no_follow(flags: int) -> int:
    """Flags for an `open` that follows no links and is not inherited by child processes."""
    return flags | os.O_NOFOLLOW | os.O_CLOEXEC


def check_plain(paths: Iterable[Path]) -> None:
    """InputError at a link, a pipe or a device among the paths or inside folders; missing paths are ignored."""
    for path in paths:
        try:
            mode = path.lstat().st_mode
            inside = [*path.iterdir()] if stat.S_ISDIR(mode) else []
        except (FileNotFoundError, NotADirectoryError):  # a running training removes checkpoints
            continue
        except OSError as error:
            raise InputError(f"cannot read {path}: {error.strerror}") from error
        check_plain(inside)
        if stat.S_ISLNK(mode):
            raise InputError(
                f"{path} is a link, which gen-jax does not follow; `cp -rL` makes a copy without links"
            )
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            raise InputError(f"{path} is neither a file nor a folder")


def _open_plain(name: str, flags: int) -> int:
    return os.open(name, no_follow(flags), 0o666)


def temporary(path: Path) -> Path:
    """A temporary, unguessable name in the same folder."""
    return path.with_name(f"{TEMPORARY}{secrets.token_hex(8)}.tmp")


@contextlib.contextmanager
def _removed(there: Path, path: Path) -> Iterator[None]:
    """If the block fails, remove the temporary file or folder, and put the final name into an OSError."""
    try:
        yield
    except BaseException as error:
        if there.is_dir():
            shutil.rmtree(there, ignore_errors=True)
        else:
            there.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno is not None:
            error.filename, error.filename2 = str(path), None
        raise
