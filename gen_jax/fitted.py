"""Training and loading a model from Python: `fit` takes arrays, `load` a folder, and both return a `Fitted` value.

`fit` runs the same compiled steps as `gen-jax train` (`train/program.py`) without data set, config or folder, and gives
the same bits for the same experiment, examples and number of devices. It returns the weights of the last step, whereas
`gen-jax train` validates and keeps the best checkpoint.
"""

import json
import operator
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

import jax
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Float, Shaped

from gen_jax import disk, inputs
from gen_jax.classes import Trust
from gen_jax.coding.codec import Codec, Content
from gen_jax.coding.files import LABELS
from gen_jax.conditions import Condition, events_of, parts_of
from gen_jax.data.prepared import ARRAYS, Split
from gen_jax.errors import InputError
from gen_jax.evaluate import draw, features
from gen_jax.experiment import Experiment
from gen_jax.ops.augment import Augmentation
from gen_jax.optimizer import Adam
from gen_jax.runs import weights
from gen_jax.runs.likelihood import Likelihoods, Result
from gen_jax.runs.run import Run, Trained, evaluated, load_run
from gen_jax.runs.workdir import WorkDir
from gen_jax.train import first_stage as first_stages
from gen_jax.train.loop import conditions
from gen_jax.train.program import MAX_STEPS_PER_CALL, Program, steps_per_call

Rows = ArrayLike | Sequence[Any]  # nested lists too
Given = Rows | Condition | None
Report = Callable[[int, dict[str, float]], Any]


@dataclass(frozen=True)
class Fitted:
    """A trained model. `history` has the means of the training metrics over every ten steps, as in metrics.jsonl.

    It computes under the protocol of the commands: averaged weights, highest matmul precision, rows split over all
    devices, noise by seed. InputError, in one sentence, for bad input.
    """

    trained: Trained
    history: tuple[dict[str, Any], ...] = ()
    machine: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}), repr=False)

    @property
    def model(self) -> Any:
        """The model as a Linen module."""
        return self.trained.experiment.model

    @property
    def variables(self) -> Mapping[str, Any]:
        """The averaged weights and collections, for `functional(model)` and `model.apply`."""
        return self.trained.variables

    @property
    def step(self) -> int:
        """The training step of the weights."""
        return self.trained.step

    def log_prob(
        self, x: Rows, cond: Given = None, draws: int | None = None
    ) -> Float[np.ndarray, " B"]:
        """log p(x) in nats, one number per example: exact, or a bound or estimate with `draws` draws (`model.value`).

        A recurrent model starts each event from a zero state here; `evaluate` carries its state from event to event.
        """
        variables = {name: tree for name, tree in self.variables.items() if name != "carry"}
        return -self._likelihoods(draws)(variables, self._split(x, cond)).per_example

    def evaluate(self, x: Rows, cond: Given = None, draws: int | None = None) -> Result:
        """Mean negative log-likelihood with its standard error; it prints like `gen-jax evaluate`."""
        return self._likelihoods(draws)(self.variables, self._split(x, cond))

    def bits_per_dim(self, x: Rows, cond: Given = None, draws: int | None = None) -> float | None:
        """Mean bits per dimension of `evaluate`; None for continuous data."""
        return self.evaluate(x, cond, draws).bits_per_dim

    def sample(
        self, n: int, seed: int = 0, cond: Given = None, temperature: float = 1.0
    ) -> Shaped[np.ndarray, "n *event"]:
        """n samples, the same as of `gen-jax sample --num n`.

        `cond` is one class for all, or a class or condition for each; by default a model takes all its classes in turn.
        """
        n = inputs.number(n, "samples", least=1)
        if cond is None or (not isinstance(cond, Condition) and np.ndim(cond) == 0):
            label = None if cond is None else operator.index(np.asarray(cond)[()])
            return draw.sample(self.trained, n, seed, label, temperature)
        conditions = _condition(self.model, cond, n)
        return draw.sample(self.trained, n, seed, None, temperature, cond=conditions)

    def features(
        self, x: Rows, cond: Given = None, block: int | None = None
    ) -> Float[np.ndarray, "B F"]:
        """Latents of each example, or, of a model without latents, the mean over places of its last block's output.

        `block`, from 1: that block's output. InputError if the model has neither, or no such block.
        """
        return features.features(self.trained, self._split(x, cond), block)

    def complete(
        self,
        x: Rows,
        keep: Rows,
        seed: int = 0,
        cond: Given = None,
        temperature: float = 1.0,
    ) -> Shaped[np.ndarray, "B *event"]:
        """Each event with the values outside the mask `keep` sampled.

        InputError if the mask is not a prefix of the model's generation order.
        """
        split = self._split(x, cond)
        mask = np.broadcast_to(np.asarray(keep, bool), self.model.event.shape)
        return draw.complete(self.trained, split.x, mask, seed, split.labels, temperature)

    def compress(self, x: Rows, cond: Given = None) -> bytes:
        """The bytes of a file of the model's number of bits, which `gen-jax decompress` reads too.

        The file holds the classes. What else the model is given it does not hold: only `decompress` with the same
        values reads it.
        """
        split = self._split(x, cond)
        label, values = parts_of(self.model, split.labels)
        content = Content("npz", {"x": split.x}, label, "" if label is None else label.dtype.str)
        return self._codec.compress(content, values)[0]

    def decompress(self, data: bytes, values: Sequence[Rows] = ()) -> dict[str, np.ndarray]:
        """The arrays of a compressed file by name: `x`, and `labels` if the model has classes.

        `values`: what the model is given besides classes, one batch for each of its `conditions`.
        """
        content = self._codec.decompress(data, values)
        if content.labels is None or not content.labels_dtype:
            return dict(content.arrays)
        return {**content.arrays, LABELS: content.labels.astype(content.labels_dtype)}

    def save(self, path: str | Path) -> None:
        """Write a new folder that `load` and the commands read: config.json, metrics.jsonl and weights.npz.

        InputError if the folder exists, or if the experiment could not be read back because it contains, for example,
        a class defined in a notebook.
        """
        out, trained = Path(path), self.trained
        if isinstance(trained, Run):
            weights.export(trained.workdir, trained.variables, trained.step, out)
            return
        if os.path.lexists(out):
            raise InputError(f"{out} exists; save to a new folder")
        out.parent.mkdir(parents=True, exist_ok=True)
        with disk.new_folder(out) as folder:
            workdir = WorkDir(folder, {"command": "gen_jax.fit"})
            workdir.claim(trained.experiment, dict(self.machine))
            lines = [json.dumps(row) + "\n" for row in self.history]
            disk.write_atomically(workdir.metrics, "".join(lines))
            weights.write(workdir.weights, trained.variables, trained.step)

    @cached_property
    def _codec(self) -> Codec:
        return Codec(self.model, self.trained.variables)

    @cached_property
    def _usual_likelihoods(self) -> Likelihoods:
        return self.trained.likelihoods()

    def _likelihoods(self, draws: int | None) -> Likelihoods:
        if draws is None:
            return self._usual_likelihoods
        return self.trained.under(None, inputs.number(draws, "draws", least=1)).likelihoods()

    def _split(self, x: Rows, cond: Given) -> Split:
        return _split_of(self.model, x, cond, "examples")


def fit(
    model: Any,
    x: Rows,
    *,
    steps: int,
    cond: Given = None,
    optimizer: Any = Adam(),  # noqa: B008  a frozen value
    batch_size: int = 64,
    seed: int = 0,
    ema: float = 0.999,
    init_examples: int | None = None,
    first_stage: str | Path | None = None,
    skip_above: float | None = None,
    augment: tuple[Augmentation, ...] = (),
    report: Report | None = None,
) -> Fitted:
    """Train a model on examples x (N, *event), with their classes or conditions in `cond` if the model takes them.

    `optimizer` is a value such as `Adam(1e-3)`. `ema` is the decay of the averaged weights, which the result has. The
    same seed gives the same bits. `report(step, means)` is called every ten steps with the means of the training
    metrics. `init_examples`, `first_stage`, `skip_above` and `augment` are those of an Experiment.

    InputError for examples or conditions that do not fit the model, and for settings that cannot run;
    FloatingPointError if a loss or update is not finite, or after 100 skipped steps in a row.
    """
    missing = [name for name in ("build", "accumulate") if not hasattr(optimizer, name)]
    if missing:
        kind = type(optimizer).__name__
        raise InputError(
            f"optimizer is a {kind} without {' and '.join(missing)}: give a value such as Adam(1e-3)"
        )
    experiment = Experiment(
        model=model,
        data=ARRAYS,
        steps=inputs.number(steps, "steps", least=1),
        batch_size=inputs.number(batch_size, "examples of a batch", least=1),
        optimizer=optimizer,
        seed=seed,
        ema=ema,
        first_stage=None if first_stage is None else str(first_stage),
        init_examples=init_examples,
        skip_above=skip_above,
        augment=augment,
    )
    split = _split_of(model, x, cond, "train")
    program, frozen = Program(experiment, split), first_stages.load(experiment)
    state, per_call = first_stages.put(program.create(), frozen), steps_per_call(experiment)
    history, running = [], []

    def log() -> None:
        done, means = program.means(running)
        history.append({"step": done, "split": "train", **means})
        running.clear()
        if report is not None:
            report(done, means)

    for step in range(0, steps, per_call):
        state, metrics = program.steps(state, step, per_call)
        if running and step % MAX_STEPS_PER_CALL == 0:
            log()
        running.append((step, metrics))
    log()
    trained = Trained(experiment, program.model, evaluated(state), steps, program.mesh)
    return Fitted(trained, tuple(history), conditions("jit", frozen, (split,)))


def load(path: str | Path, trust: Trust = False) -> Fitted:
    """The model of a work directory, at its best checkpoint, or of an exported folder, or a trained one by name.

    XX, or it has no weights yet, or is damaged.
    """
    run = load_run(Path(path), trust)
    return Fitted(run, tuple(run.workdir.metrics_rows()))


def _split_of(model: Any, x: Rows, cond: Given, name: str) -> Split:
    """Checked examples with their classes or conditions, in the types of a prepared data set."""
    checked = inputs.examples(model.event, x if isinstance(x, jax.Array) else np.asarray(x))
    dtype = np.float32 if model.event.levels is None else np.min_scalar_type(model.event.levels - 1)
    values = np.asarray(jax.device_get(checked.values)).astype(dtype)
    if not len(values):
        raise InputError("there are no examples")
    labels = _condition(model, cond, len(values))
    return Split(ARRAYS.name, "", name, values, labels, model.event, model.num_classes)


def _condition(model: Any, cond: Given, n: int) -> Any:
    """The checked classes and conditions of n examples."""

    def array(rows: Any) -> Any:
        if isinstance(rows, Condition):
            return Condition(array(rows.label), tuple(map(array, rows.values)))
        return rows if rows is None or isinstance(rows, jax.Array) else np.asarray(rows)

    name, events = type(model).__name__, events_of(model)
    checked = inputs.condition(name, model.num_classes, events, array(cond), n).values
    return jax.tree.map(lambda part: np.asarray(jax.device_get(part)), checked)
