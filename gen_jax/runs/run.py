"""A trained run, read from its work directory."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

from gen_jax import processes, sharding
from gen_jax.classes import Trust
from gen_jax.conditions import zeros
from gen_jax.data.prepared import Data, unit_of
from gen_jax.density import (
    AnyOrder,
    Chain,
    Functional,
    Sampled,
    Solving,
    functional,
    root_key,
    takes_draws,
)
from gen_jax.errors import InputError
from gen_jax.experiment import Experiment
from gen_jax.experiment import replace as replace_field
from gen_jax.models.diffusion.probability_flow import ProbabilityFlow
from gen_jax.ops.ode import EXACT, Solver
from gen_jax.ops.orders import Order
from gen_jax.runs import trained, weights
from gen_jax.runs.checkpoint import Checkpoints
from gen_jax.runs.likelihood import Likelihoods
from gen_jax.runs.logging import LOG
from gen_jax.runs.state import Averages, TrainState, create_state
from gen_jax.runs.summary import divergence
from gen_jax.runs.workdir import WorkDir
from gen_jax.typing import Event

T = TypeVar("T", bound="Trained")


@dataclass(frozen=True)
class Trained:
    """A model with its averaged weights on the devices of the mesh, and the experiment that trained it."""

    experiment: Experiment
    model: Functional
    variables: dict[str, Any]
    step: int
    mesh: Mesh

    @property
    def conditional(self) -> bool:
        """Whether the model is class-conditional."""
        return bool(self.experiment.model.num_classes)

    @property
    def comparable(self) -> bool:
        """Whether the model draws integer images, so that a classifier's features can compare them with data."""
        event, key = self.experiment.model.event, root_key(0)
        if len(event.shape) != 3 or event.levels is None:
            return False
        cond = zeros(self.experiment.model, 1)
        try:
            jax.eval_shape(lambda v: self.model.sample(v, key, 1, cond), self.variables)
        except InputError:
            return False
        return True

    def likelihoods(self) -> Likelihoods:
        """The evaluation of a split under the run's protocol; InputError if the model has no likelihood."""
        if self.experiment.model.kind == "none":
            name, hint = type(self.experiment.model).__name__, ""
            if self.comparable:
                hint = "; --distances compares samples with the data"
            raise InputError(f"{name} has no likelihood: there is no bits/dim to evaluate{hint}")
        key, judge = root_key(self.experiment.seed), self.experiment.evaluate
        return Likelihoods(self.model, self.mesh, judge.batch_size, key, judge.draws)

    def under(self: T, data: str | None, draws: int | None) -> T:
        """The run evaluated on other data or with another number of draws; InputError if log_prob takes no draws."""
        if draws and not takes_draws(self.experiment.model):
            kind = "exact" if self.experiment.model.value == "exact" else "deterministic"
            raise InputError(f"log_prob of {self.experiment.system} is {kind}: it takes no --draws")
        judge = self.experiment.evaluate
        if data:
            judge = replace(judge, data=Data(data))
        if draws:
            judge = replace(judge, draws=draws)
        return replace(self, experiment=replace(self.experiment, evaluate=judge))

    def lengthened(self: T, length: int) -> T:
        """The same weights for sequences, of values or of vectors, of another length.

        InputError if their shapes depend on the length.
        """
        old = self.experiment.model
        steps, *values = old.event.shape
        if len(values) > 1:
            raise InputError(
                f"examples of shape {old.event.shape} are not sequences: there is no length to choose"
            )
        if length == steps:
            return self
        model = replace(old, event=Event((length, *values), old.event.levels))
        experiment = replace(self.experiment, model=model)
        both = (variable_shapes(experiment), self.variables)
        needed, present = (jax.tree.map(lambda leaf: leaf.shape, variables) for variables in both)
        if needed != present:
            raise InputError(
                f"the weights of {self.experiment.system} are for {steps} values, not for {length}"
            )
        return replace(self, experiment=experiment, model=functional(model))

    def ordered(self: T, order: Order) -> T:
        """The same weights in another order of generation; InputError where they serve their own only."""
        model = self.experiment.model
        if not isinstance(model, AnyOrder):
            raise InputError(
                f"the weights of {self.experiment.system} serve one order of generation only"
            )
        experiment = replace(self.experiment, model=replace(cast(Any, model), order=order))
        return replace(self, experiment=experiment, model=functional(experiment.model))

    def averaged(self: T) -> T:
        """The same weights as a mixture over the orders that they were trained on; InputError where there is one."""
        model = self.experiment.model
        if not isinstance(model, AnyOrder):
            raise InputError(
                f"the weights of {self.experiment.system} serve one order of generation only: there are none to average"
            )
        experiment = replace(self.experiment, model=model.averaged())
        variables = {name: {"member": tree} for name, tree in self.variables.items()}
        both = {"experiment": experiment, "model": functional(experiment.model)}
        return replace(self, **both, variables=variables)

    def by_ode(self: T) -> T:
        """The same weights with log p by the probability-flow ODE of a diffusion; InputError for another model.

        The trace is exact for as many dimensions as the solver allows.
        """
        model: Any = self.experiment.model
        if not isinstance(model, Chain):
            raise InputError(
                f"{self.experiment.system} is not a diffusion: it has no probability-flow ODE"
            )
        size = self.experiment.model.event.size
        solver = Solver(trace="exact" if size <= EXACT else "hutchinson")
        flow = ProbabilityFlow(self.experiment.model, solver)
        experiment = replace(self.experiment, model=flow)
        variables = {name: {"diffusion": tree} for name, tree in self.variables.items()}
        both = {"experiment": experiment, "model": functional(flow)}
        return replace(self, **both, variables=variables)

    def solved_by(self: T, settings: Sequence[str]) -> T:
        """The run with fields NAME=VALUE of its model's ODE solver replaced; InputError if it solves no ODE."""
        experiment = self.experiment
        if settings and not isinstance(experiment.model, Solving):
            raise InputError(f"{experiment.system} solves no ODE: there is nothing to set")
        for setting in settings:
            experiment = replace_field(experiment, f"model.solver.{setting}")
        return replace(self, experiment=experiment, model=functional(experiment.model))

    def sampled_by(self: T, settings: Sequence[str]) -> T:
        """The run with fields NAME=VALUE of its model's sampler replaced; InputError if it has no sampler."""
        experiment = self.experiment
        if settings and not isinstance(experiment.model, Sampled):
            raise InputError(
                f"{experiment.system} has only one way to sample: there is nothing to set"
            )
        for setting in settings:
            experiment = replace_field(experiment, f"model.sampler.{setting}")
        return replace(self, experiment=experiment, model=functional(experiment.model))


@dataclass(frozen=True)
class Run(Trained):
    """The best checkpoint by validation of a work directory, or the weights of an exported model."""

    workdir: WorkDir

    @property
    def presentation(self) -> dict[str, Any]:
        """How the data set's examples are shown."""
        return self.workdir.read().get("presentation", {})

    @property
    def unit(self) -> str:
        """The unit of the run's numbers, such as bits/dim."""
        return unit_of(self.experiment.model.event, self.presentation)

    def finding(self, bits_per_dim: float | None = None) -> str | None:
        """A sentence if this number, by default the last validation's, shows that training diverged."""
        return diverged(self.workdir, self.experiment, bits_per_dim)


def diverged(
    workdir: WorkDir, experiment: Experiment, bits_per_dim: float | None = None
) -> str | None:
    """A sentence if the number, by default the last validation's, is far worse than the uniform distribution's."""
    for row in workdir.metrics_rows() if bits_per_dim is None else ():
        if row["split"] == "validation":
            bits_per_dim = row.get("bits_per_dim")
    event = experiment.model.event
    unit = unit_of(event, workdir.read().get("presentation", {}))
    return divergence(bits_per_dim, event.levels, unit)


def load_run(path: Path, trust: Trust = False, fsdp: int = 1) -> Run:
    """Read config and checkpoint; InputError if the folder is not a work directory or holds no checkpoint.

    The name of a trained model of the package (`trained.names`) stands for its folder. The folder
    is data: it may name classes of gen_jax; others are imported only if trusted, all or by name. Of a checkpoint only
    averages and collections are read, split over `fsdp` devices.
    """
    with processes.agreed():
        workdir = WorkDir(trained.folder(path))
        experiment = workdir.experiment(trust)
        if not (workdir.checkpoints.is_dir() or workdir.weights.is_file()):
            raise InputError(f"{path} holds no checkpoint yet; `gen-jax train` saves one")
        mesh = sharding.device_mesh(jax.device_count(), fsdp)
    model = functional(experiment.model)
    if not workdir.checkpoints.is_dir():
        with processes.agreed():
            step, variables = weights.load(workdir.weights, variable_shapes(experiment))
        placed = jax.device_put(variables, sharding.state_sharding(variables, mesh))
        return Run(experiment, model, placed, step, mesh, workdir)
    shapes = state_shapes(experiment, optax.identity())
    read = {name: tree for name, tree in shapes.collections.items() if name != "carry"}
    like = Averages(shapes.ema, read)
    like = sharding.shaped(like, sharding.state_sharding(like, mesh))
    checkpoints = Checkpoints(workdir.checkpoints, read_only=True)
    step, there = checkpoints.restore_best(like, LOG.warning)
    checkpoints.close()
    collections = {**shapes.collections, **there.collections}
    variables = evaluated(Averages(there.ema, collections))
    return Run(experiment, model, variables, step, mesh, workdir)


def variable_shapes(experiment: Experiment) -> dict[str, Any]:
    """Shapes and types of the evaluated variables, without computing any."""
    return evaluated(state_shapes(experiment, optax.identity()))


def batch_shapes(experiment: Experiment) -> dict[str, Any]:
    """Shapes and types of a batch of the training."""
    model, rows = experiment.model, experiment.batch_size
    dtype = jnp.float32 if model.event.levels is None else jnp.uint8
    x = jax.ShapeDtypeStruct((rows, *model.event.shape), dtype)
    return {"x": x, "cond": jax.eval_shape(lambda: zeros(model, rows))}


def state_shapes(experiment: Experiment, optimizer: optax.GradientTransformation) -> TrainState:
    """Shapes and types of the state of a training, without computing any."""
    create = partial(create_state, functional(experiment.model), optimizer)
    return jax.eval_shape(partial(create, root_key(experiment.seed)), batch_shapes(experiment))


def evaluated(state: TrainState | Averages) -> dict[str, Any]:
    """Averaged weights and collections; a carry has no rows, since they belonged to a training batch."""
    collections = dict(state.collections)
    if "carry" in collections:
        no_rows = lambda x: np.zeros((0, *x.shape[1:]), x.dtype)  # noqa: E731
        collections["carry"] = jax.tree.map(no_rows, collections["carry"])
    return {"params": state.ema, **collections}
