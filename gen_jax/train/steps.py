"""The steps of a training, for a run and for examples in memory: its points, with metrics, and when to validate."""

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from gen_jax import processes
from gen_jax.data.stream import Ended
from gen_jax.runs.state import TrainState
from gen_jax.train.program import MAX_STEPS_PER_CALL, Call, Program, steps_per_call

CALLS = 10  # after this number of calls several processes agree on whether to stop
Pending = dict[str, Any]  # `step`, those done before; `rows`, the values of each metric


class Reached(NamedTuple):
    """A point of a training: the means of the training metrics of the steps since the previous one.

    - `state`: the state after `step` steps, valid until the next point; None if the device has already gone on.
    - `due`: it is time to validate.
    - `stop`: somebody asked to stop, and there are no more points.
    - `pending`: the metrics of steps whose mean is not logged yet, as a point between two logged ones was the last;
      then there are no `means`.
    """

    step: int
    means: dict[str, float]
    state: TrainState | None = None
    due: bool = False
    stop: bool = False
    pending: Pending | None = None

    @property
    def shown(self) -> float:
        """The number at the progress bar: bits/dim, or the loss of a model without them."""
        return self.means.get("bits_per_dim", self.means.get("loss", math.nan))


def reached(
    program: Program,
    state: TrainState,
    start: int = 0,
    *,
    until: int | None = None,
    prompt: bool = False,
    stopping: Callable[[], bool] | None = None,
    note: Callable[[], str] = lambda: "",
    pending: Pending | None = None,
) -> Iterator[Reached]:
    """A point every ten steps, at every validation, at the end (`until` or that of a stream), where `stopping` is true.

    The device runs ahead of the points that need no state, unless they are `prompt`. Means are over the same steps
    however often a run stops: one that continues is given what was `pending`. Several processes stop together, within
    ten calls. FloatingPointError, with the note, where `Program.means` finds that training must stop.
    """
    every, last = program.experiment.evaluate.every, program.experiment.steps
    # A run may have stopped between two calls of a backend with shorter ones.
    per_call = math.gcd(steps_per_call(program.experiment), start)
    # Calls whose metrics are not fetched: device and host work in parallel.
    running: list[Call] = [] if pending is None else _calls(pending, per_call)
    end = last if until is None else until
    for step in range(start, end, per_call):
        try:
            state, metrics = program.steps(state, step, per_call)
        except Ended:
            if running:
                yield Reached(*program.means(running, note()), state, due=True)
            return
        if running and step % MAX_STEPS_PER_CALL == 0:
            yield Reached(*program.means(running, note()))
            running = []
        running.append((step, metrics))
        done = step + per_call
        due, logged = done % every == 0 or done == last, done % MAX_STEPS_PER_CALL == 0
        asked = due or not processes.several() or done // per_call % CALLS == 0
        stop = stopping is not None and asked and processes.of_any(stopping())
        if stop and not (due or logged or done == end):
            program.means(running, note())
            yield Reached(done, {}, state, stop=True, pending=_pending(running))
        elif due or stop or done == end or (prompt and logged):
            yield Reached(*program.means(running, note()), state, due, stop)
            running = []
        if stop:
            return


def _pending(running: list[Call]) -> Pending:
    """The metrics of some calls, as JSON."""
    first, names = running[0][0], running[0][1]
    rows = {name: np.concatenate([np.asarray(call[name]) for _, call in running]) for name in names}
    return {"step": first, "rows": {name: row.tolist() for name, row in rows.items()}}


def _calls(pending: Pending, per_call: int) -> list[Call]:
    """The same metrics as calls of `per_call` steps, which divide their number."""
    first, names = pending["step"], pending["rows"]
    parts = {name: jnp.reshape(jnp.array(row, jnp.float32), (-1, per_call)) for name, row in names.items()}  # fmt: skip
    count = len(next(iter(parts.values())))
    return [
        (first + call * per_call, {name: part[call] for name, part in parts.items()})
        for call in range(count)
    ]
