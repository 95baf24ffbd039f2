"""Files that a command reads: names, folders of PNG files, and standard input."""

import contextlib
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from gen_jax.commands.arguments import STDIN
from gen_jax.data.png import SIGNATURE
from gen_jax.errors import InputError


@contextlib.contextmanager
def files(paths: Sequence[Path]) -> Iterator[list[Path]]:
    """The files to read: a folder stands for its PNG files by name, and - for a PNG or .npz file on standard input."""
    if [*map(str, paths)].count(STDIN) > 1:
        raise InputError("standard input (-) can be read only once")
    with tempfile.TemporaryDirectory() as folder:
        piped = Path(folder) / "standard input"
        found = []
        for path in paths:
            if str(path) == STDIN:
                content = standard_input()
                piped = piped.with_suffix(".png" if content.startswith(SIGNATURE) else ".npz")
                piped.write_bytes(content)
                found.append(piped)
            elif path.is_dir():
                found += _pictures(path)
            else:
                found.append(path)
        try:
            yield found
        except InputError as error:
            raise InputError(str(error).replace(str(piped), "standard input")) from error


def standard_input() -> bytes:
    """Everything on standard input; InputError if that is a terminal or empty."""
    if sys.stdin.isatty():
        raise InputError("standard input is a terminal: there is no file to read from -")
    content = sys.stdin.buffer.read()
    if not content:
        raise InputError("standard input is empty")
    return content


def _pictures(folder: Path) -> list[Path]:
    found = sorted(path for path in folder.iterdir() if path.suffix.lower() == ".png")
    if not found:
        raise InputError(f"{folder} has no PNG files")
    return found
