"""Samples of one fixed noise at every validation, for adversarial models, whose losses do not show progress."""

import functools
from pathlib import Path
from typing import Protocol, runtime_checkable

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Array

from gen_jax.conditions import Cond
from gen_jax.data.npz import Headers, read_npz
from gen_jax.density import Functional, fold_in
from gen_jax.disk import write_atomically
from gen_jax.errors import InputError
from gen_jax.media import arrays
from gen_jax.runs.workdir import WorkDir
from gen_jax.typing import Event, PRNGKey, Variables

ENDING = ".npz"
MOST = 10_000  # samples in a file that is read


@runtime_checkable
class Adversarial(Protocol):
    """A generator and its discriminator D.

    followed: the number of samples that each validation draws from one fixed noise. critic: D has any real value;
    otherwise it is the logit of a probability.
    """

    event: Event
    num_classes: int
    followed: int
    critic: bool

    def measure(self, x: Array, key: PRNGKey, cond: Cond = None) -> dict[str, Array]:
        """The outputs of D on data and on samples, `real` and `fake`, a row for each example."""
        ...


class Followed:
    """Writes the samples of a step; does nothing for a model that is not adversarial.

    The noise depends on the run's key only, so a resumed run writes the same files again.
    """

    def __init__(self, model: Functional, mesh: Mesh, key: PRNGKey, workdir: WorkDir):
        self.model, self.folder, self.key = model, workdir.samples, fold_in(key, "followed")
        everywhere = NamedSharding(mesh, P())
        self._draw = jax.jit(model.sample, static_argnums=2, out_shardings=everywhere)

    def __call__(self, variables: Variables, step: int) -> None:
        model = self.model.model
        if not isinstance(model, Adversarial):
            return
        count = model.followed
        x = self._draw(variables, self.key, count, classes_in_turn(model.num_classes, count))
        self.folder.mkdir(exist_ok=True)
        write_atomically(
            self.folder / f"{step}{ENDING}", arrays.encoded(model.event, x=np.asarray(x))
        )


def classes_in_turn(num_classes: int, count: int) -> Cond:
    """All classes in turn; None without classes."""
    return np.arange(count, dtype=np.int32) % num_classes if num_classes else None


def steps(workdir: WorkDir) -> list[int]:
    """The steps of which there are samples, in order."""
    names = (path.stem for path in workdir.samples.glob(f"*{ENDING}"))
    return sorted(int(name) for name in names if name.isascii() and name.isdigit())


def read(workdir: WorkDir, event: Event, step: int) -> np.ndarray:
    """The samples of a step; InputError if the file is damaged or not of the model's events."""
    path = workdir.samples / f"{step}{ENDING}"
    x = read_npz(path, check=functools.partial(_check, path, event))["x"]
    if refusal := event.refusal(x):
        raise InputError(f"{path} does not hold samples of the model: {refusal}")
    return x


def _check(path: Path, event: Event, headers: Headers) -> None:
    shapes = {name: header.shape for name, header in headers.items()}
    if [*shapes] != ["x"] or shapes["x"][1:] != event.shape or shapes["x"][0] > MOST:
        raise InputError(f"{path} does not hold samples of the model: its arrays are {shapes}")
