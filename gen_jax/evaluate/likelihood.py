"""Negative log-likelihood of a split: every example once, averaged weights, fixed noise, highest matmul precision.

bits/dim = nats / (D log 2); the standard error is that of the mean over the examples.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Bool

from gen_jax.data.batches import take
from gen_jax.data.prepared import Split
from gen_jax.density import Functional, Value, fold_in, takes_draws
from gen_jax.errors import InputError
from gen_jax.evaluate.catalogue import SIGN
from gen_jax.train import sharding
from gen_jax.typing import Batch, Event, PRNGKey, Variables


@dataclass(frozen=True)
class Result:
    """Per-example negative log-likelihoods in nats, and what they come to."""

    per_example: np.ndarray
    event: Event
    value: Value
    draws: int | None = None  # of a value that is made of them
    unit: str = "bits/dim"

    @property
    def nats(self) -> float:
        """Mean over the examples, nats per example."""
        return float(self.per_example.mean())

    @property
    def bits_per_dim(self) -> float:
        """Mean in bits per dimension."""
        return self.nats / self._scale

    @property
    def stderr(self) -> float:
        """Standard error of the mean in bits per dimension."""
        count = len(self.per_example)
        return (
            float(self.per_example.std(ddof=1) / math.sqrt(count) / self._scale)
            if count > 1
            else math.nan
        )

    @property
    def _scale(self) -> float:
        return self.event.size * math.log(2.0)

    def __str__(self) -> str:
        sign = SIGN[self.value]
        bits = f"{sign}{self.bits_per_dim:.4f} ± {self.stderr:.4f} {self.unit} ({sign}{self.nats:.2f} nats)"
        drawn = "" if self.draws is None else f" of {self.draws:,} draw{'s' * (self.draws > 1)}"
        return f"{bits}, {self.value}{drawn}"


class Likelihoods:
    """Compiled once for a batch size; call it with variables and a split."""

    def __init__(
        self, model: Functional, mesh: Mesh, batch_size: int, key: PRNGKey, draws: int = 1
    ):
        kind = model.model.kind
        if kind == "none":
            raise InputError(
                f"{type(model.model).__name__} has no likelihood: there is no bits/dim to evaluate;"
                " --distances compares samples with the data"
            )
        self.model, self.mesh = model, mesh
        self.batch_size = batch_size
        self.key, self.draws = None, None
        if takes_draws(model.model):
            self.key, self.draws = fold_in(key, "evaluate"), draws
        self.log_prob = jax.jit(self._log_prob, out_shardings=NamedSharding(mesh, P()))

    def _log_prob(self, variables, batch, index):
        key = None if self.key is None else fold_in(self.key, index)
        with jax.default_matmul_precision("highest"):
            return self.model.log_prob(
                variables, batch["x"], key, cond=batch["cond"], draws=self.draws or 1
            )

    def __call__(self, variables: Variables, split: Split, limit: int | None = None) -> Result:
        """All examples, or the first `limit`; what fills a batch up to split over the devices is not counted."""
        conditional, values = bool(self.model.model.num_classes), []
        for index, batch, counted in batches(split, limit, self.batch_size, self.mesh, conditional):
            log_prob = np.asarray(self.log_prob(variables, batch, index), np.float64)
            values.append(-log_prob[counted])
        value = self.model.model.value
        return Result(np.concatenate(values), split.event, value, self.draws, split.unit)


def batches(
    split: Split, limit: int | None, batch_size: int, mesh: Mesh, conditional: bool
) -> Iterator[tuple[int, Batch, Bool[np.ndarray, " rows"]]]:
    """Number, batch and which of its rows count, for every example of the split once or the first `limit`."""
    count = len(split) if limit is None else min(limit, len(split))
    for index, first in enumerate(range(0, count, batch_size)):
        rows = np.arange(first, first + sharding.filled(batch_size, mesh))
        counted = rows < min(first + batch_size, count)
        batch = take(split, np.where(counted, rows, 0), conditional)
        yield index, sharding.put(batch, mesh, P("data")), counted
