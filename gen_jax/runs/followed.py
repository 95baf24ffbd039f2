"""Samples of one fixed noise at every validation, of runs that ask for them (`Evaluate.samples`).

An adversarial model, whose losses do not show progress, draws them by itself.
"""

import functools
from pathlib import Path
from typing import Protocol, runtime_checkable

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Array

from gen_jax import processes
from gen_jax.conditions import Cond
from gen_jax.data.npz import Headers, read_npz
from gen_jax.density import Functional, fold_in
from gen_jax.disk import write_atomically
from gen_jax.errors import InputError
from gen_jax.experiment import MOST_SAMPLES
from gen_jax.media import arrays
from gen_jax.runs.workdir import WorkDir
from gen_jax.typing import Event, PRNGKey, Variables

ENDING = ".npz"


@runtime_checkable
class Adversarial(Protocol):
    """A generator and its discriminator D.

    followed: the number of samples that each validation draws if the run sets no other. critic: D has any real value;
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
    """Writes `samples` samples of a step, or of an adversarial model its own number if that is 0.

    The noise depends on the run's key only, so a resumed run writes the same files again. InputError if samples are
    asked for and the model, whose variables have the shapes of `like`, cannot draw them.
    """

    def __init__(
        self,
        model: Functional,
        mesh: Mesh,
        key: PRNGKey,
        workdir: WorkDir,
        samples: int = 0,
        like: Variables | None = None,
    ):
        self.model, self.folder, self.key = model, workdir.samples, fold_in(key, "followed")
        own = model.model.followed if isinstance(model.model, Adversarial) else 0
        self.count = samples or own
        self.labels = classes_in_turn(model.model.num_classes, self.count)
        if samples and like is not None:
            try:
                jax.eval_shape(lambda v: model.sample(v, self.key, samples, self.labels), like)
            except InputError as error:
                raise InputError(f"evaluate.samples is {samples}: {error}") from error
        everywhere = NamedSharding(mesh, P())
        self._draw = jax.jit(model.sample, static_argnums=2, out_shardings=everywhere)

    def __call__(self, variables: Variables, step: int) -> None:
        if not self.count:
            return
        x = np.asarray(self._draw(variables, self.key, self.count, self.labels))
        if not processes.first():
            return
        self.folder.mkdir(exist_ok=True)
        content = arrays.encoded(self.model.model.event, x=x)
        write_atomically(self.folder / f"{step}{ENDING}", content)


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
    if [*shapes] != ["x"] or shapes["x"][1:] != event.shape or shapes["x"][0] > MOST_SAMPLES:
        raise InputError(f"{path} does not hold samples of the model: its arrays are {shapes}")
