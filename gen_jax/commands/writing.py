"""Where a command writes examples: a file, a new folder with a file for each example, or standard output."""

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gen_jax import disk, processes
from gen_jax.commands.arguments import STDOUT, check_folder, check_out
from gen_jax.errors import InputError
from gen_jax.media import arrays
from gen_jax.media.medium import Medium


@dataclass(frozen=True)
class Target:
    """A place that `target` has checked."""

    path: Path
    medium: Medium
    folder: bool = False

    @property
    def shown(self) -> str:
        """The place as text in a sentence."""
        return "standard output" if str(self.path) == STDOUT else str(self.path)

    def write(
        self, examples: dict[str, np.ndarray], each: np.ndarray, encoded: Callable[[], bytes]
    ) -> None:
        """Write examples: all arrays as .npz, a file for `each` in a folder, or what `encoded` returns.

        If there are several processes, only the first one writes.
        """
        processes.by_first(lambda: self._write(examples, each, encoded))

    def _write(
        self, examples: dict[str, np.ndarray], each: np.ndarray, encoded: Callable[[], bytes]
    ) -> None:
        if self.folder:
            self._write_each(each)
        elif self.path.suffix == arrays.ENDING or not self.medium.endings:
            write_bytes(self.path, arrays.encoded(self.medium.event, **examples))
        else:
            write_bytes(self.path, encoded())

    def _write_each(self, x: np.ndarray) -> None:
        ending, width = self.medium.endings[0], max(4, len(str(len(x) - 1)))
        with disk.new_folder(self.path) as folder:
            for index, example in enumerate(x):
                (folder / f"{index:0{width}}{ending}").write_bytes(self.medium.each(example))


def target(args: argparse.Namespace, medium: Medium, name: str) -> Target:
    """The place of --out, by default a file `name` with the medium's first ending; InputError if it cannot be written.

    FOLDER/ is a new folder with a file for each example.
    """
    endings = (*medium.endings, arrays.ENDING)
    args.out = args.out or f"{name}{endings[0]}"
    path = Path(args.out)
    if args.out == STDOUT:
        check_stdout()
    elif args.out.endswith("/"):
        medium.check_each()
        if path.exists() or path.is_symlink():
            raise InputError(f"--out: {path} exists; name a new folder")
        check_folder(path)
        return Target(path, medium, folder=True)
    else:
        check_out(path, endings)
    return Target(path, medium)


def check_stdout() -> None:
    """InputError if standard output is a terminal, which shows no files."""
    if sys.stdout.isatty():
        raise InputError("--out -: standard output is a terminal; redirect it to a file or pipe")


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file, or standard output if the path is -."""
    if str(path) != STDOUT:
        disk.write_atomically(path, content)
        return
    stream: Any = sys.stdout
    stream.flush()
    stream.buffer.write(content)
    stream.buffer.flush()
