"""Training a model from Python, on examples in memory.

`fit` runs the same compiled steps and validations as `gen-jax train` (`train/steps.py`) without data set, config or
folder, and gives the same bits for the same experiment, examples and number of devices.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import optax

from gen_jax import config_tree, inputs, sources
from gen_jax.data import memory
from gen_jax.data.memory import Given, Rows
from gen_jax.data.prepared import ARRAYS, VALIDATED, unit_of
from gen_jax.data.stream import Stream, is_stream
from gen_jax.errors import InputError, first_line
from gen_jax.experiment import Evaluate, Experiment
from gen_jax.fitted import Fitted
from gen_jax.ops.augment import Augmentation
from gen_jax.optimizer import Adam, Transformation
from gen_jax.runs.logging import LOG, Bar
from gen_jax.runs.run import Trained, evaluated
from gen_jax.runs.state import TrainState
from gen_jax.train import first_stage as first_stages
from gen_jax.train import initial
from gen_jax.train.loop import conditions
from gen_jax.train.program import Program
from gen_jax.train.steps import Reached, reached
from gen_jax.train.validation import Validation, unimproved

IN_MEMORY = "a model in memory"
Callback = Callable[[int, dict[str, float], Mapping[str, Any]], Any]


def fit(
    model: Any,
    x: Rows | Iterable[Any],
    *,
    steps: int,
    cond: Given = None,
    validation: Rows | tuple[Rows, Given] | None = None,
    every: int = 500,
    patience: int | None = None,
    optimizer: Any = Adam(),  # noqa: B008  a frozen value
    batch_size: int = 64,
    seed: int = 0,
    ema: float = 0.999,
    init_from: str | Path | Fitted | None = None,
    init_examples: int | None = None,
    first_stage: str | Path | None = None,
    skip_above: float | None = None,
    augment: tuple[Augmentation, ...] = (),
    callback: Callback | None = None,
    progress: bool = True,
) -> Fitted:
    """Train a model on examples x (N, *event), with their classes or conditions in `cond` if the model takes them.

    - `x` may also be an iterator, or an iterable such as a data loader, of examples or batches, or of pairs of them and
      their `cond`. It is read in its order, `steps` batches of `batch_size`; at the end of an iterator training ends.
    - `validation`: held-out examples, or the pair of them and their `cond`. They are evaluated every `every` steps and
      at the end, and the result has the best weights instead of the last ones.
    - `patience`: end after this number of validations without improvement.
    - `optimizer`: a value such as `Adam(1e-3)`, or any optax transformation.
    - `init_from`: begin with the weights of this model, of a folder that `load` reads, or of a trained model by name.
    - `callback(step, metrics, variables)` is called every ten steps and at every validation with the means of the
      training metrics since the last call as `train/NAME`, a validation as `validation/NAME`, and a copy of the
      averaged weights, as `functional(model)` takes them.
    - `progress`: show a bar in a terminal or notebook.
    - `ema`: decay of the averaged weights, which the result has. The same seed gives the same bits. `init_examples`,
      `first_stage`, `skip_above` and `augment` are those of an Experiment.

    A class that is defined in a notebook trains, after a warning that the result cannot be saved.

    InputError for examples or conditions that do not fit the model, and for settings that cannot run;
    FloatingPointError if a loss or update is not finite, or after 100 skipped steps in a row.
    """
    if patience is not None and validation is None:
        raise InputError("patience needs validation examples")
    experiment = Experiment(
        model=model,
        data=ARRAYS if validation is None else VALIDATED,
        steps=inputs.number(steps, "steps", least=1),
        batch_size=inputs.number(batch_size, "examples of a batch", least=1),
        optimizer=_value(optimizer),
        seed=seed,
        ema=ema,
        evaluate=Evaluate(every=inputs.number(every, "steps", least=1), patience=patience),
        first_stage=None if first_stage is None else str(first_stage),
        init_from=IN_MEMORY if isinstance(init_from, Fitted) else init_from and str(init_from),
        init_examples=init_examples,
        skip_above=skip_above,
        augment=augment,
    )
    rows: Any = x
    if is_stream(x):
        if cond is not None:
            raise InputError("an iterator gives pairs of x and cond: there is no other cond")
        data, splits = Stream(model, rows, batch_size), []
    else:
        data = memory.split_of(model, rows, cond, "train")
        splits = [data]
    if validation is not None:
        pair = validation if isinstance(validation, tuple) else (validation, None)
        if len(pair) != 2:
            raise InputError("validation is examples, or the pair of examples and their cond")
        splits.append(memory.split_of(model, *pair, "validation"))
    program, frozen = Program(experiment, data), first_stages.load(experiment)
    _try(experiment.optimizer, program.like)
    judge = Validation(program, splits[-1]) if validation is not None else None
    run = _Fit(program, judge, callback)
    _warn_of_classes(experiment)
    if isinstance(init_from, Fitted):
        weights = initial.fitting(experiment, init_from.variables, IN_MEMORY)
    else:
        weights = initial.load(experiment)
    state = initial.put(first_stages.put(program.create(), frozen), experiment, weights)
    unit = "" if model.kind == "none" else unit_of(model.event, {})
    with Bar("fit", steps, unit=unit, shown=progress) as bar:
        run.train(state, bar)
    trained = Trained(experiment, program.model, run.variables, run.step, program.mesh)
    return Fitted(trained, tuple(run.history), conditions("jit", frozen, splits, weights))


class _Fit:
    """A training: its history, and the weights that result, with their step."""

    def __init__(self, program: Program, judge: Validation | None, callback: Callback | None):
        self.program, self.judge, self.callback = program, judge, callback
        self.history: list[dict[str, Any]] = []
        self.validations: dict[int, float] = {}
        self.step, self.variables = 0, {}

    def train(self, state: TrainState, bar: Bar) -> None:
        """Train from the initial state; the last weights, or the best by validation, become `variables`."""
        evaluate, steps = self.program.experiment.evaluate, self.program.experiment.steps
        point = Reached(0, {})
        for point in reached(self.program, state, prompt=self.callback is not None):
            metrics = self._log(point.step, "train", point.means)
            bar.advance(point.step, point.shown)
            if point.state is None:
                continue
            state, best = point.state, None
            if point.due and self.judge is not None:
                metrics |= self._validate(point.step, state, self.judge)
                best = unimproved(self.validations, point.step, evaluate)
            if self.callback is not None:
                self.callback(point.step, metrics, _copy(state))
            if best is not None:
                LOG.info("no improvement on validation since step %d", best)
                return
        if point.step < steps:
            LOG.warning("the iterator ended: trained %d of %d steps", point.step, steps)
        if self.judge is None:
            self.step, self.variables = point.step, evaluated(state)

    def _validate(self, step: int, state: TrainState, judge: Validation) -> dict[str, float]:
        judged = judge(state)
        for sentence in judged.findings.values():
            LOG.warning("step %d: %s", step, sentence)
        number = judged.value
        number = math.inf if number is None or math.isnan(number) else number
        if number <= min(self.validations.values(), default=math.inf):
            self.step, self.variables = step, _copy(state)
        self.validations[step] = number
        return self._log(step, "validation", judged.row)

    def _log(self, step: int, split: str, row: dict[str, float]) -> dict[str, float]:
        if row:
            self.history.append({"step": step, "split": split, **row})
        return {f"{split}/{name}": value for name, value in row.items()}


def _copy(state: TrainState) -> dict[str, Any]:
    """A copy of the evaluated weights: the next step reuses the memory of the state."""
    return jax.tree.map(jnp.copy, evaluated(state))


def _value(optimizer: Any) -> Any:
    """The optimiser as a value of a config; InputError if it is none."""
    if isinstance(optimizer, optax.GradientTransformation):
        return Transformation.of(optimizer)
    missing = [name for name in ("build", "accumulate") if not hasattr(optimizer, name)]
    if missing:
        kind = type(optimizer).__name__
        raise InputError(
            f"optimizer is a {kind} without {' and '.join(missing)}: give a value such as Adam(1e-3), or an optax"
            " transformation"
        )
    return optimizer


def _warn_of_classes(experiment: Experiment) -> None:
    """Warn, before the training, of classes without which the result could not be loaded."""
    try:
        sources.of(config_tree.foreign(experiment))
    except InputError as error:
        LOG.warning("the result cannot be saved: %s", error)


def _try(optimizer: Any, like: TrainState) -> None:
    """InputError if a transformation made in Python needs more than gradient, state and parameters."""
    if not isinstance(optimizer, Transformation):
        return
    try:
        jax.eval_shape(optimizer.build().update, like.params, like.opt_state, like.params)
    except TypeError as error:
        raise InputError(
            f"optimizer: {optimizer.text} cannot make an update: {first_line(error)}"
        ) from error
