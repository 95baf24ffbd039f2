"""A trained model in Python: `fit` (`fitting.py`) and `load` return a `Fitted` value."""

import json
import operator
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from jaxtyping import Float, Shaped

from gen_jax import disk, inputs
from gen_jax.classes import Trust
from gen_jax.coding.codec import Codec, Content
from gen_jax.coding.files import LABELS
from gen_jax.conditions import Condition, parts_of
from gen_jax.data import memory
from gen_jax.data.memory import Given, Rows
from gen_jax.data.prepared import Split
from gen_jax.errors import InputError
from gen_jax.evaluate import draw, features
from gen_jax.runs import weights
from gen_jax.runs.likelihood import Likelihoods, Result
from gen_jax.runs.run import Run, Trained, load_run
from gen_jax.runs.workdir import WorkDir


@dataclass(frozen=True)
class Fitted:
    """A trained model. `history` has the rows of metrics.jsonl: training metrics as means over ten steps, validations.

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
        conditions = memory.condition(self.model, cond, n)
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
        return draw.complete(self.trained, split.x[:], mask, seed, split.labels, temperature)

    def compress(self, x: Rows, cond: Given = None) -> bytes:
        """The bytes of a file of the model's number of bits, which `gen-jax decompress` reads too.

        The file holds the classes. What else the model is given it does not hold: only `decompress` with the same
        values reads it.
        """
        split = self._split(x, cond)
        label, values = parts_of(self.model, split.labels)
        content = Content("npz", {"x": split.x[:]}, label, "" if label is None else label.dtype.str)
        return self._codec.compress(content, values)[0]

    def decompress(self, data: bytes, values: Sequence[Rows] = ()) -> dict[str, np.ndarray]:
        """The arrays of a compressed file by name: `x`, and `labels` if the model has classes.

        `values`: what the model is given besides classes, one batch for each of its `conditions`.
        """
        content = self._codec.decompress(data, values)
        if content.labels is None or not content.labels_dtype:
            return dict(content.arrays)
        return {**content.arrays, LABELS: content.labels.astype(content.labels_dtype)}

    def save(self, path: str | Path, form: weights.Form = "npz") -> None:
        """Write a new folder that `load` and the commands read: config.json, metrics.jsonl and weights.npz.

        `form="safetensors"`: weights.safetensors instead.

        InputError if the folder exists, or if the experiment could not be read back because it contains, for example,
        a class defined in a notebook.
        """
        out, trained = Path(path), self.trained
        if isinstance(trained, Run):
            weights.export(trained.workdir, trained.variables, trained.step, out, form=form)
            return
        if os.path.lexists(out):
            raise InputError(f"{out} exists; save to a new folder")
        out.parent.mkdir(parents=True, exist_ok=True)
        with disk.new_folder(out) as folder:
            workdir = WorkDir(folder, {"command": "gen_jax.fit"})
            workdir.claim(trained.experiment, dict(self.machine), trained=True)
            lines = [json.dumps(row) + "\n" for row in self.history]
            disk.write_atomically(workdir.metrics, "".join(lines))
            weights.write(workdir, dict(trained.variables), trained.step, form)

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
        return memory.split_of(self.model, x, cond, "examples")


def load(path: str | Path, trust: Trust = False) -> Fitted:
    """The model of a work directory, at its best checkpoint, or of an exported folder, or a trained one by name.

    The folder is read as data: `trust` allows importing classes from outside gen_jax. InputError if there is no such
    folder or trained model, or it has no weights yet, or is damaged.
    """
    run = load_run(Path(path), trust)
    return Fitted(run, tuple(run.workdir.metrics_rows()))
