"""Time within one run: the programs of a row take turns, and ratios are taken turn by turn."""

import statistics
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, TypeVar

import jax

REPEATS = 5
METHOD = (
    "Every program is compiled and run once before it is timed, and waited for to the end. The programs of a row take"
    f" {REPEATS} turns, in every other one in reverse, so that a change of the machine's speed meets all of them. Times"
    " are medians, ratios the medians of the ratios turn by turn; `_range` holds the smallest and the largest."
)
Clock = Callable[[], float]
Name = TypeVar("Name", bound=Hashable)


def seconds(program: Callable, *args: Any, clock: Clock = time.perf_counter) -> float:
    """Wall time of one call, waited for."""
    begin = clock()
    jax.block_until_ready(program(*args))
    return clock() - begin


def turns(
    programs: Mapping[Name, Callable[[], Any]],
    repeats: int = REPEATS,
    clock: Clock = time.perf_counter,
) -> dict[Name, list[float]]:
    """Seconds of each program, turn by turn, after one call of each that is not timed."""
    for program in programs.values():
        jax.block_until_ready(program())
    found: dict[Name, list[float]] = {name: [] for name in programs}
    for turn in range(repeats):
        for name in reversed(found) if turn % 2 else found:
            found[name].append(seconds(programs[name], clock=clock))
    return found


def ratios(over: Sequence[float], under: Sequence[float]) -> list[float]:
    """Quotients turn by turn."""
    return [a / b for a, b in zip(over, under, strict=True)]


def summary(name: str, values: Sequence[float]) -> dict[str, Any]:
    """Two fields: the median, and smallest and largest; four digits of each."""
    low, high = rounded(min(values)), rounded(max(values))
    return {name: rounded(statistics.median(values)), f"{name}_range": [low, high]}


def rounded(x: float) -> float:
    """The number with four significant digits."""
    return float(f"{x:.4g}")
