"""What Orbax needs to read back every folder: literal paths, quiet threads, and a trial before training."""

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

from gen_jax import disk, processes, sharding
from gen_jax.errors import InputError, first_line


class _Literal(type(epath.Path("/"))):
    """A path whose `glob` does not take [ ] and * in the folder's name for wildcards."""

    def glob(self, pattern: str) -> Iterator[Any]:
        for name in glob.glob(pattern, root_dir=str(self)):
            yield self / name


def literal(folder: Path) -> Any:
    """The folder's path for Orbax; InputError if it contains a backslash, which TensorStore takes for a slash."""
    if "\\" in str(folder):
        raise InputError(
            f"{folder} contains a backslash, and checkpoints under such a path cannot be read back; use another path"
        )
    return _Literal(folder)


def try_out(folder: Path) -> None:
    """Save one number for each device in a new folder inside, read them back and delete them; InputError if that fails.

    All processes of a run call this, so that it also fails if they do not see the same files.
    """
    place = Path(processes.of_first(str(disk.temporary(folder.absolute() / "trial"))))
    mesh = sharding.device_mesh(jax.device_count())
    numbers = sharding.put(np.arange(mesh.size, dtype=np.float32), mesh, sharding.ROWS)
    like = jax.ShapeDtypeStruct(numbers.shape, numbers.dtype, sharding=numbers.sharding)
    try:
        with processes.agreed(), ocp.StandardCheckpointer() as checkpointer:
            checkpointer.save(literal(place), {"leaf": numbers})
            checkpointer.wait_until_finished()
            there = checkpointer.restore(literal(place), {"leaf": like})["leaf"]
            for wrote, read in zip(
                numbers.addressable_shards, there.addressable_shards, strict=True
            ):
                if np.asarray(wrote.data) != np.asarray(read.data):
                    raise OSError("the number that was read is not the one written")
    except InputError:
        raise
    except Exception as error:  # Orbax raises whatever its file layers raise
        raise InputError(
            f"{folder} cannot hold checkpoints: a trial could not be read back ({first_line(error):.200}); use another"
            " --workdir"
        ) from error
    finally:
        shutil.rmtree(place, ignore_errors=True)


# Of a read whose event loop is gone, and of one of a damaged array.
STRAGGLERS = ("Event loop is closed", "Encountered error while reading array index")


def quiet_stragglers() -> None:
    """Silence parallel reads that fail after another one did, which is raised: each would print pages of its own."""
    if not getattr(sys.unraisablehook, "quiet", False):
        sys.unraisablehook = _Quiet(sys.unraisablehook)


class _Quiet:
    """Passes everything but errors of parallel reads to the previous hook."""

    quiet = True

    def __init__(self, before: Any):
        self.before = before

    def __call__(self, unraisable: Any) -> None:
        if not str(unraisable.exc_value).startswith(STRAGGLERS):
            self.before(unraisable)
