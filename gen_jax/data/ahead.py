"""Batches read ahead by threads: they are pure functions of their number, so the order of reading changes nothing."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

T = TypeVar("T")

THREADS = 4
AHEAD = 10  # batches; as many as the most steps of one call


class Ahead(Generic[T]):
    """`make(number)` for one number after the other; threads already make the next ones, those below `end` if given."""

    def __init__(self, make: Callable[[int], T], end: int | None = None):
        self.make, self.end = make, end
        self._threads = ThreadPoolExecutor(THREADS)
        self._made: dict[int, Future[T]] = {}

    def __call__(self, number: int) -> T:
        """The batch of any number; an error in making it is raised here."""
        end = number + AHEAD + 1 if self.end is None else min(number + AHEAD + 1, self.end)
        wanted = range(number, max(end, number + 1))
        there = self._made
        self._made = {n: there.get(n) or self._threads.submit(self.make, n) for n in wanted}
        return self._made.pop(number).result()
