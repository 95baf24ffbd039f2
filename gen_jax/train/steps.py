"""The steps of a training, for a run and for examples in memory: its points, with metrics, and when to validate."""

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

from gen_jax.data.stream import Ended
from gen_jax.runs.state import TrainState
from gen_jax.train.program import MAX_STEPS_PER_CALL, Call, Program, steps_per_call


class Reached(NamedTuple):
    """A point of a training: the means of the training metrics of the steps since the previous one.

    - `state`: the state after `step` steps, valid until the next point; None if the device has already gone on.
    - `due`: it is time to validate.
    - `stop`: somebody asked to stop, and there are no more points.
    """

    step: int
    means: dict[str, float]
    state: TrainState | None = None
    due: bool = False
    stop: bool = False


def reached(
    program: Program,
    state: TrainState,
    start: int = 0,
    *,
    until: int | None = None,
    prompt: bool = False,
    stopping: Callable[[], bool] = lambda: False,
    note: Callable[[], str] = lambda: "",
) -> Iterator[Reached]:
    """A point every ten steps, at every validation, at the end (`until` or that of a stream), where `stopping` is true.

    The device runs ahead of the points that need no state, unless they are `prompt`. FloatingPointError, with the note,
    where `Program.means` finds that training must stop.
    """
    every, last = program.experiment.evaluate.every, program.experiment.steps
    # A run may have stopped between two calls of a backend with shorter ones.
    per_call = math.gcd(steps_per_call(program.experiment), start)
    # Calls whose metrics are not fetched: device and host work in parallel.
    running: list[Call] = []
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
        done, stop = step + per_call, stopping()
        due = done % every == 0 or done == last
        if due or stop or done == end or (prompt and done % MAX_STEPS_PER_CALL == 0):
            yield Reached(*program.means(running, note()), state, due, stop)
            running = []
        if stop:
            return
