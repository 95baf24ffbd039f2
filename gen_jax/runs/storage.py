"""What Orbax needs so that every folder can be read back: literal paths, quiet threads, and a trial before training."""

import glob
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from etils import epath

from gen_jax import disk
from gen_jax.errors import InputError, first_line


class _Literal(type(epath.Path("/"))):
    """A path that is no pattern: `glob` of the plain one reads [ ] and * of the folder's own name as wildcards."""

    def glob(self, pattern: str) -> Iterator[Any]:
        for name in glob.glob(pattern, root_dir=str(self)):
            yield self / name


def literal(folder: Path) -> Any:
    """The folder as Orbax may have it; InputError where its path holds a backslash, which TensorStore takes for a /."""
    if "\\" in str(folder):
        raise InputError(
            f"{folder} holds a backslash, and checkpoints under such a path cannot be read back; use a path without one"
        )
    return _Literal(folder)


def try_out(folder: Path) -> None:
    """Save one number in a new folder within and read it back; InputError where that fails. Nothing of it stays."""
    place, told = disk.beside(folder.absolute() / "trial"), np.arange(1, 2, dtype=np.float32)
    try:
        with ocp.StandardCheckpointer() as checkpointer:
            checkpointer.save(literal(place), {"leaf": told})
            checkpointer.wait_until_finished()
            like = {"leaf": jax.ShapeDtypeStruct(told.shape, told.dtype)}
            if checkpointer.restore(literal(place), like)["leaf"] != told:
                raise OSError("what was written reads back different")
    except InputError:
        raise
    except Exception as error:  # Orbax raises whatever its file layers raise
        raise InputError(
            f"{folder} keeps no checkpoints, a trial could not be read back ({first_line(error):.200}); use another"
            " --workdir"
        ) from error
    finally:
        shutil.rmtree(place, ignore_errors=True)


def quiet_stragglers() -> None:
    """Reads that end after one beside them failed find their event loop closed: each would print a traceback."""
    if not getattr(sys.unraisablehook, "quiet", False):
        sys.unraisablehook = _Quiet(sys.unraisablehook)


class _Quiet:
    """All but those go to the hook before."""

    quiet = True

    def __init__(self, before: Any):
        self.before = before

    def __call__(self, unraisable: Any) -> None:
        if str(unraisable.exc_value) != "Event loop is closed":
            self.before(unraisable)
