"""Validation during training: likelihood and diagnosis of the averaged weights, and when no improvement ends it."""

import math
from collections.abc import Mapping
from typing import NamedTuple

from gen_jax.data.prepared import Split
from gen_jax.experiment import Evaluate
from gen_jax.runs.diagnosis import Diagnosis
from gen_jax.runs.likelihood import Likelihoods, Result
from gen_jax.runs.state import TrainState
from gen_jax.train.program import Program


class Judged(NamedTuple):
    """What a validation measures: named scalars, warnings by name, and the likelihood.

    `value`: the number by which the best weights are chosen, smaller is better; None for a model without likelihood.
    """

    row: dict[str, float]
    findings: dict[str, str]
    result: Result | None
    value: float | None


class Validation:
    """The validation of a training on a split, or on its first `evaluate.examples`; compiled at the first call."""

    def __init__(self, program: Program, split: Split):
        experiment, self.split = program.experiment, split
        self.evaluate = judge = experiment.evaluate
        of = (program.model, program.mesh, judge.batch_size, program.key)
        self._diagnosis = Diagnosis(*of)
        likely = experiment.model.kind != "none"
        self._likelihoods = Likelihoods(*of, judge.validation_draws) if likely else None

    @property
    def unit(self) -> str:
        """The unit of the training's main number."""
        return "loss" if self._likelihoods is None else self.split.unit

    def __call__(self, state: TrainState) -> Judged:
        """Judge the averaged weights of a state."""
        variables, limit = {"params": state.ema, **state.collections}, self.evaluate.examples
        row, findings = self._diagnosis(variables, self.split, limit)
        if self._likelihoods is None:
            return Judged(row, findings, None, None)
        result = self._likelihoods(variables, self.split, limit)
        if result.finding:
            findings = {**findings, "divergence": result.finding}
        row, bits = {"nats": result.nats, **row}, result.bits_per_dim
        if bits is None:
            return Judged(row, findings, result, result.nats)
        return Judged({"bits_per_dim": bits, **row}, findings, result, bits)


def unimproved(validations: Mapping[int, float], done: int, evaluate: Evaluate) -> int | None:
    """The best step if the `patience` validations after it up to step `done` brought no improvement, otherwise None.

    `validations`: the numbers by step, of which the best must be one.
    """
    judged = {
        step: value for step, value in validations.items() if step <= done and math.isfinite(value)
    }
    if evaluate.patience is None or not judged:
        return None
    best = min(judged, key=lambda step: (judged[step], -step))
    return best if done - best >= evaluate.patience * evaluate.every else None
