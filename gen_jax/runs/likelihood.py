"""Negative log-likelihood of a split: every example once, averaged weights, fixed noise, highest matmul precision.

bits/dim = nats / (D log 2); the standard error is that of the mean over the examples. The windows of a text depend on
each other over long distances (who speaks, in which scene), so its error is that of Newey and West (1987,
Econometrica 55), var = (g_0 + 2 sum_{l=1}^{L} (1 - l / (L + 1)) g_l) / n, where g_l is the autocovariance of windows l
apart and L = sqrt(n) rounded down, instead of g_0 / n. Continuous data have nats only: a density, and so its logarithm,
depends on the unit of the data. A model with a `carry` reads the examples in order as `batch_size` contiguous streams,
each from its beginning, including the characters after a text's last window: every character is predicted once, from
everything before it in its stream. Padding of windows of pieces is not counted, and nats are those of a step: the sum
over all steps by their number, with the error of this ratio. Where a piece begins, a model with a `carry` starts from
nothing; streams begin with a piece. So every step is predicted once, from everything before it in its piece.
"""

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Bool, Float

from gen_jax import inputs, progress, sharding
from gen_jax.conditions import conditional
from gen_jax.data.ahead import Ahead
from gen_jax.data.batches import take
from gen_jax.data.prepared import Split
from gen_jax.data.rows import Rows
from gen_jax.density import Functional, Solving, Value, fold_in, takes_draws
from gen_jax.errors import InputError
from gen_jax.ops.ode import Solver, stiff
from gen_jax.runs.state import cleared
from gen_jax.runs.summary import divergence, figure, solved
from gen_jax.typing import Batch, Event, PRNGKey, Variables


@dataclass(frozen=True)
class Result:
    """Negative log-likelihoods of the examples in nats, and their summary; the last may have only `rest` values."""

    per_example: np.ndarray
    event: Event
    value: Value
    draws: int | None = None  # if log_prob is random
    unit: str = "bits/dim"
    rest: int = 0  # number of values of the last example, if it is shorter
    in_order: bool = False  # neighbours depend on each other
    sizes: np.ndarray | None = (
        None  # number of values of each example, if they are windows of pieces
    )
    solver: Solver | None = None  # if log_prob solves an ODE

    @property
    def num_examples(self) -> int:
        """Number of whole examples, or of steps."""
        if self.sizes is not None:
            return int(self._sizes.sum())
        return len(self.per_example) - (self.rest > 0)

    @property
    def nats(self) -> float:
        """Mean in nats per whole example, or per step; a shorter last example counts by its number of values."""
        return float(self.per_example.sum() / self._sizes.sum())

    @property
    def nats_per(self) -> str:
        """What nats are counted for: an example, or a step of a piece."""
        return "example" if self.sizes is None else "step"

    @property
    def bits_per_dim(self) -> float | None:
        """Mean in bits per dimension; None for continuous data."""
        return None if self.event.levels is None else self.nats / self._scale

    @property
    def stderr(self) -> float:
        """Standard error of the mean, by `stderr_method`: in bits per dimension, or nats for continuous data."""
        count, whole = len(self.per_example), self.per_example + self.nats * (1 - self._sizes)
        if count < 2:
            return math.nan
        scale = self._scale * (1.0 if self.sizes is None else self._sizes.mean())
        if not self.in_order:
            return float(whole.std(ddof=1) / math.sqrt(count) / scale)
        return math.sqrt(newey_west(whole, self._lags)) / scale

    @property
    def stderr_method(self) -> str:
        """How the standard error is computed: for independent examples, or by Newey and West."""
        return f"Newey-West, {self._lags} lags" if self.in_order else "independent examples"

    @property
    def finding(self) -> str | None:
        """A sentence if an ODE was not solved, or if the number shows that training diverged."""
        unsolved = int(np.isnan(self.per_example).sum())
        if self.solver and unsolved:
            return stiff(unsolved, len(self.per_example), self.solver)
        return divergence(self.bits_per_dim, self.event.levels, self.unit)

    @property
    def _lags(self) -> int:
        return math.isqrt(len(self.per_example))

    @property
    def _sizes(self) -> np.ndarray:
        """Size of each example as a fraction of a whole one, or in steps."""
        if self.sizes is not None:
            return self.sizes / values_per(self.event, self.nats_per)
        sizes = np.ones(len(self.per_example))
        if self.rest:
            sizes[-1] = self.rest / self.event.size
        return sizes

    @property
    def _scale(self) -> float:
        if self.event.levels is None:
            return 1.0
        return values_per(self.event, self.nats_per) * math.log(2.0)

    def __str__(self) -> str:
        of = (self.stderr, self.unit, self.nats_per)
        if self.solver:
            how = solved(dataclasses.asdict(self.solver), self.draws)
            return f"{figure(self.value, self.nats, self.bits_per_dim, *of, how)}, {self.value}"
        number = figure(self.value, self.nats, self.bits_per_dim, *of)
        drawn = "" if self.draws is None else f" of {self.draws:,} draw{'s' * (self.draws > 1)}"
        return f"{number}, {self.value}{drawn}"


def values_per(event: Event, nats_per: str) -> int:
    """The number of values of an example, or of one of its steps."""
    return event.size // event.shape[0] if nats_per == "step" else event.size


def newey_west(values: Float[np.ndarray, " n"], lags: int) -> float:
    """Variance of the mean of a series whose values depend on each other up to `lags` apart."""
    deviations, count = values - values.mean(), len(values)
    shares = 1 - np.arange(lags + 1) / (lags + 1)
    covariances = [np.sum(deviations[l:] * deviations[: count - l]) for l in range(lags + 1)]  # noqa: E741
    total = 2 * np.dot(shares, covariances) - covariances[0]
    return float(max(total, 0.0) / (count * (count - 1)))


class Likelihoods:
    """The evaluation of a model, compiled once per batch size; call it with variables and a split."""

    def __init__(
        self, model: Functional, mesh: Mesh, batch_size: int, key: PRNGKey, draws: int = 1
    ):
        if model.model.kind == "none":
            raise InputError(f"{type(model.model).__name__} has no likelihood")
        self.model, self.mesh = model, mesh
        self.batch_size = batch_size
        self.key, self.draws = None, None
        if takes_draws(model.model):
            self.key, self.draws = fold_in(key, "evaluate"), draws
        whole, rows = NamedSharding(mesh, P()), NamedSharding(mesh, sharding.ROWS)
        self.log_prob = jax.jit(sharding.over(mesh, self._log_prob), out_shardings=whole)
        self.read_on = jax.jit(sharding.over(mesh, self._read_on), out_shardings=(whole, rows))

    def _log_prob(self, variables, batch, index):
        if "sizes" in batch:
            return self._log_prob_of_first(variables, batch)
        key = None if self.key is None else fold_in(self.key, index)
        with jax.default_matmul_precision("highest"):
            return self.model.log_prob(
                variables, batch["x"], key, cond=batch["cond"], draws=self.draws or 1
            )

    def _log_prob_of_first(self, variables, batch):
        """log p of the first `sizes` values of each row."""
        model = self.model.model
        [sizes] = inputs.counted(model, batch["sizes"])
        with jax.default_matmul_precision("highest"):
            sites = model.apply(variables, batch["x"], batch["cond"], method="log_prob_sites")
        return jnp.sum(jnp.where(model.counted(sizes), sites, 0.0), axis=1)

    def _read_on(self, variables, carry, x, sizes, begins):
        """log p of the first `sizes` values of each row, given the carry of its stream, and the carry after the row.

        Rows that begin a piece are given zeros; without pieces `begins` is None.
        """
        carry = carry if begins is None else cleared(carry, begins)
        variables = {**variables, "carry": carry}
        with jax.default_matmul_precision("highest"):
            sites, updated = self.model.model.apply(
                variables, x, method="log_prob_sites", mutable=["carry"]
            )
        counted = self.model.model.counted(sizes)
        return jnp.sum(jnp.where(counted, sites, 0.0), axis=1), updated["carry"]

    def __call__(self, variables: Variables, split: Split, limit: int | None = None) -> Result:
        """Evaluate all examples, or the first `limit`; rows that pad a batch for the devices are not counted."""
        if "carry" in variables:
            return self._in_order(variables, split, limit)
        model, values = self.model.model, []
        given = (split, limit, self.batch_size, self.mesh, conditional(model))
        count = len(split) if limit is None else min(limit, len(split))
        with progress.bar("evaluate", count) as advance:
            for index, batch, counted in batches(*given):
                log_prob = np.asarray(self.log_prob(variables, batch, index), np.float64)
                values.append(-log_prob[counted])
                advance(len(values[-1]))
        of = (split.event, model.value, self.draws, split.unit)
        sizes = None if split.sizes is None else split.sizes[:limit]
        solver = model.solver if isinstance(model, Solving) else None
        both = {"sizes": sizes, "solver": solver}
        return Result(np.concatenate(values), *of, in_order=split.in_order, **both)

    def _in_order(self, variables: Variables, split: Split, limit: int | None) -> Result:
        """Streams of equal length, the last ones shorter; the rest of a text is one more example, padded.

        Streams of pieces begin with a piece.
        """
        size, whole = split.event.size, len(split) if limit is None else min(limit, len(split))
        rest = split.rest if whole == len(split) else ()
        sizes = np.full(whole, size) if split.sizes is None else split.sizes[:whole]
        padded = np.resize(np.array(rest, split.x.dtype), size)
        if rest:
            sizes = np.append(sizes, len(rest))
        count = len(sizes)
        length = -(-count // self.batch_size)
        streams = np.arange(sharding.filled(self.batch_size, self.mesh))
        mine = sharding.own_rows(len(streams), self.mesh)
        starts = np.minimum(length * np.append(streams, len(streams)), count)
        begins = split.begins
        if begins is not None:
            first = np.append(np.flatnonzero(begins[:count]), count)
            starts = first[np.searchsorted(first, starts)]
        starts, stops = starts[:-1], starts[1:]  # those of padding rows are empty
        zeros = jax.tree.map(
            lambda leaf: np.zeros((len(streams), *leaf.shape[1:]), leaf.dtype), variables["carry"]
        )
        carry, values = sharding.put(zeros, self.mesh, sharding.ROWS), np.zeros(count)
        for rows in progress.counted(starts + np.arange(max(stops - starts))[:, None], "evaluate"):
            counted = rows < stops
            there = np.where(counted, rows, 0)[mine]
            x = split.x[np.minimum(there, whole - 1)]
            if rest:
                x[there == whole] = padded
            batch = (x, sizes[there], None if begins is None else begins[there])
            placed = sharding.put_own(batch, self.mesh, sharding.ROWS, mine, len(streams))
            log_prob, carry = self.read_on(variables, carry, *placed)
            values[rows[counted]] = -np.asarray(log_prob, np.float64)[counted]
        of = (split.event, self.model.model.value, None, split.unit, len(rest), split.in_order)
        return Result(values, *of, sizes=None if split.sizes is None else sizes)


def batches(
    split: Split, limit: int | None, batch_size: int, mesh: Mesh, conditional: bool
) -> Iterator[tuple[int, Batch, Bool[np.ndarray, " rows"]]]:
    """Index, batch and which of its rows count: every example of the split once, or the first `limit`."""
    count = len(split) if limit is None else min(limit, len(split))
    size = sharding.filled(batch_size, mesh)
    mine = sharding.own_rows(size, mesh)

    def counted(index: int) -> Bool[np.ndarray, " rows"]:
        last = min((index + 1) * batch_size, count)
        return index * batch_size + np.arange(size) < last

    def rows(index: int) -> Batch:
        there = np.where(counted(index), index * batch_size + np.arange(size), 0)
        return take(split, there[mine], conditional)

    number = -(-count // batch_size)
    read = Ahead(rows, number) if isinstance(split.x, Rows) else rows
    for index in range(number):
        placed = sharding.put_own(read(index), mesh, sharding.ROWS, mine, size)
        yield index, placed, counted(index)
