"""An experiment on a split, compiled: batches, initial state and steps. Both `train` and `fit` run it."""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import optax

from gen_jax import sharding
from gen_jax.conditions import conditional
from gen_jax.data.ahead import Ahead
from gen_jax.data.batches import Batches
from gen_jax.data.prepared import Split
from gen_jax.data.rows import Rows
from gen_jax.data.stream import Stream
from gen_jax.density import Functional, Solving, functional, root_key
from gen_jax.errors import InputError
from gen_jax.experiment import Experiment
from gen_jax.optimizer import planned_steps
from gen_jax.runs.logging import LOG
from gen_jax.runs.state import TrainState, create_state
from gen_jax.train.pmap import pmapped
from gen_jax.train.step import jitted, train_step, unrolled
from gen_jax.typing import Batch, MetricRows

MAX_STEPS_PER_CALL = 10
MOST_SKIPS = 100
Call = tuple[int, MetricRows]  # steps before the call, and the metrics of each of its steps


class Program:
    """Compiled at the first step. Noise and batches are functions of (seed, step): the same steps give the same bits.

    `fsdp`: over how many devices large arrays of the state are split.

    InputError if the schedule is shorter than the steps, if the batch does not divide over the devices, or if a model
    that carries a state from batch to batch accumulates gradients, has `init_examples` or learns from a stream.
    """

    def __init__(
        self,
        experiment: Experiment,
        data: Split | Stream,
        parallel: sharding.Parallel = "jit",
        fsdp: int = 1,
    ):
        _check_schedule(experiment)
        self.experiment = experiment
        self.model, self.key = functional(experiment.model), root_key(experiment.seed)
        optimizer, accumulate = experiment.transformation(), experiment.optimizer.accumulate
        given = conditional(experiment.model)
        self.batches: Batches | Stream = (
            data
            if isinstance(data, Stream)
            else Batches(data, experiment.batch_size, experiment.seed, given)
        )
        self.mesh = sharding.device_mesh(experiment.batch_size // accumulate, fsdp)
        create = functools.partial(create_state, self.model, optimizer, self.key)
        self._first = sharding.put(
            self.batches.first(experiment.init_examples), self.mesh, sharding.ROWS
        )
        shapes = jax.eval_shape(create, self._first)
        if "carry" in shapes.collections:
            if accumulate > 1:
                raise InputError(
                    "optimizer.accumulate must be 1: each row carries a state to the next"
                )
            if experiment.init_examples is not None:
                raise InputError(
                    "init_examples must be None: there is a state for each row of a batch"
                )
            if isinstance(self.batches, Stream):
                raise InputError(
                    f"{experiment.system} carries a state from window to window: give arrays, not an iterator"
                )
            self.batches = dataclasses.replace(self.batches, contiguous=True)
        self._mine = sharding.own_rows(experiment.batch_size, self.mesh)
        self._batch: Callable[[int], Batch] = functools.partial(self.batches.batch, mine=self._mine)
        if isinstance(data, Split) and isinstance(data.x, Rows):
            self._batch = Ahead(self._batch)
        placed = sharding.state_sharding(shapes, self.mesh)
        self._create = jax.jit(create, out_shardings=placed)
        self.like = sharding.shaped(shapes, placed)
        step = step_of(experiment, self.model, optimizer)
        self.skips = 0  # in a row, up to the last step that `means` has seen
        if fsdp > 1:
            LOG.info("fsdp %d: %s", fsdp, sharding.held(self.like))
        over_devices = pmapped if parallel == "pmap" else jitted
        self._steps = over_devices(step, self.mesh, placed)

    @property
    def _stiff(self) -> str:
        """What else the reason may be, if the model solves an ODE."""
        model = self.experiment.model
        if not isinstance(model, Solving):
            return ""
        return f"; or the ODE is stiff and needs more than solver.max_steps = {model.solver.max_steps:,} steps"

    def create(self) -> TrainState:
        """The state before step 0."""
        return self._create(self._first)

    def steps(self, state: TrainState, first: int, count: int) -> tuple[TrainState, MetricRows]:
        """The state after `count` steps from `first`, and their metrics; the argument `state` is donated.

        `Ended`, with the state intact, if a stream has not as many batches.
        """
        rows = [self._batch(step) for step in range(first, first + count)]
        stacked = jax.tree.map(lambda *x: np.stack(x), *rows)
        of = (self._mine, self.experiment.batch_size)
        return self._steps(state, sharding.put_own(stacked, self.mesh, sharding.STEPS, *of))

    def means(self, calls: list[Call], note: str = "") -> tuple[int, dict[str, float]]:
        """The number of steps done after these calls, and the means of their metrics.

        Skipped steps enter only the fraction `skipped`. FloatingPointError, whose sentence ends with `note`, if a loss
        or update is not finite in a step that was not skipped, or after `MOST_SKIPS` skipped steps in a row.
        """
        first, names = calls[0][0], calls[0][1].keys()
        rows = {
            name: np.concatenate([np.asarray(call[name]) for _, call in calls]) for name in names
        }
        skipped = rows.pop("skipped", np.zeros(len(rows["loss"]))) > 0
        broken = np.flatnonzero(~np.isfinite(rows["loss"] + rows["param_norm"]) & ~skipped)
        if broken.size:
            bad = first + int(broken[0])
            listed = ", ".join(map(str, self.batches.indices(bad)))
            raise FloatingPointError(
                f"the loss or the update is not finite at step {bad}; its batch is examples {listed} of"
                f" {self.batches.source}{self._stiff}{note}"
            )
        for step, skip in enumerate(skipped, start=first):
            self.skips = self.skips + 1 if skip else 0
            if self.skips == MOST_SKIPS:
                raise FloatingPointError(
                    f"the {MOST_SKIPS} steps up to step {step} were all skipped: the norm of the gradient is above"
                    f" skip_above = {self.experiment.skip_above} or not finite{note}"
                )
        means = {}
        if "skipped" in names:
            means["skipped"] = float(skipped.mean())
        if not skipped.all():
            means |= {
                name: float(row[~skipped].mean(dtype=np.float64)) for name, row in rows.items()
            }
        return first + len(skipped), means


def step_of(
    experiment: Experiment, model: Functional, optimizer: optax.GradientTransformation
) -> Callable[..., Any]:
    """`train_step` of an experiment: (state, batch) -> (state, metrics)."""
    return functools.partial(
        train_step,
        model=model,
        optimizer=optimizer,
        key=root_key(experiment.seed),
        ema=experiment.ema,
        accumulate=experiment.optimizer.accumulate,
        skip_above=experiment.skip_above,
        augment=experiment.augment,
    )


def steps_per_call(experiment: Experiment) -> int:
    """The largest number up to ten that divides all steps and the steps between evaluations; 1 if `unrolled`."""
    if unrolled():
        return 1
    common = math.gcd(experiment.steps, experiment.evaluate.every)
    return max(n for n in range(1, MAX_STEPS_PER_CALL + 1) if common % n == 0)


def _check_schedule(experiment: Experiment) -> None:
    """InputError if a schedule ends before training does; a warning if it would continue afterwards."""
    planned: Any = planned_steps(experiment.optimizer, experiment.steps)
    if min(planned) < experiment.steps:
        raise InputError(
            f"optimizer.learning_rate ends at step {min(planned)}, before the last of {experiment.steps} steps"
        )
    if max(planned) > experiment.steps:
        LOG.warning(
            "optimizer.learning_rate is a schedule of %d steps, of which only %d are trained",
            max(planned),
            experiment.steps,
        )
