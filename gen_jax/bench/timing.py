"""Timing within one run: the programs of a row take turns, and ratios are computed per turn."""

import statistics
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, TypeVar

import jax

REPEATS = 5
METHOD = (
    "Every program is compiled and run once before it is timed, and timed until its result is ready. The programs of a"
    f" row take {REPEATS} turns, every other one in reverse order, so that a change of the machine's speed affects all"
    " of them. Times are medians, ratios are medians of the ratios per turn; `_range` has the smallest and the largest."
)
Clock = Callable[[], float]
Name = TypeVar("Name", bound=Hashable)


def seconds(program: Callable, *args: Any, clock: Clock = time.perf_counter) -> float:
    """Wall time of one call, until its result is ready."""
    begin = clock()
    jax.block_until_ready(program(*args))
    return clock() - begin


def turns(
    programs: Mapping[Name, Callable[[], Any]],
    repeats: int = REPEATS,
    clock: Clock = time.perf_counter,
) -> dict[Name, list[float]]:
    """Seconds of each program in each turn, after one call of each that is not timed."""
    for program in programs.values():
        jax.block_until_ready(program())
    times: dict[Name, list[float]] = {name: [] for name in programs}
    for turn in range(repeats):
        for name in reversed(times) if turn % 2 else times:
            times[name].append(seconds(programs[name], clock=clock))
    return times


def ratios(over: Sequence[float], under: Sequence[float]) -> list[float]:
    """The ratio of times in each turn."""
    return [a / b for a, b in zip(over, under, strict=True)]


def summary(name: str, values: Sequence[float]) -> dict[str, Any]:
    """Two fields: the median, and the smallest and largest value, to four digits."""
    low, high = rounded(min(values)), rounded(max(values))
    return {name: rounded(statistics.median(values)), f"{name}_range": [low, high]}


def rounded(x: float) -> float:
    """The number with four significant digits."""
    return float(f"{x:.4g}")
