"""Batches from an iterator of examples, for `fit`: in the iterator's order, each read once, none kept."""

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

import jax
import numpy as np

from gen_jax.conditions import conditional, rows_of
from gen_jax.data import memory
from gen_jax.data.batches import ALL, Mine, take
from gen_jax.errors import InputError
from gen_jax.typing import Batch


class Ended(Exception):  # noqa: N818  no error
    """The iterator has no more examples for a whole batch."""


def is_stream(x: Any) -> bool:
    """Whether these examples are an iterator or another iterable, not an array or nested sequences of numbers."""
    array = isinstance(x, np.ndarray | jax.Array | list | tuple) or hasattr(x, "__array__")
    return isinstance(x, Iterable) and not array


class Stream:
    """The counterpart of `Batches`: `batch(step)` for one step after the other.

    An item is an example, a batch of examples, or a pair of either and its classes or conditions; images of one channel
    may lack its axis. An iterable that can be iterated again, such as a data loader, begins anew at its end; an
    iterator ends with `Ended`. InputError, when it is read, for an item that does not fit the model.
    """

    source = "the iterator"

    def __init__(self, model: Any, items: Iterable[Any], batch_size: int):
        self.model, self.items, self.batch_size = model, items, batch_size
        self._ahead: deque[Batch] = deque()  # batches read for `first`
        self._next = 0
        self._batches = self._read()

    def indices(self, step: int) -> np.ndarray:
        """The places in the stream of the examples of a batch."""
        return step * self.batch_size + np.arange(self.batch_size)

    def first(self, examples: int | None = None) -> Batch:
        """The first batch, or the first batches that hold `examples`; they are trained on all the same."""
        count = 1 if examples is None else -(-examples // self.batch_size)
        try:
            while len(self._ahead) < count:
                self._ahead.append(next(self._batches))
        except StopIteration:
            if not self._ahead:
                raise InputError(
                    f"the iterator has fewer examples than a batch of {self.batch_size}"
                ) from None
        return jax.tree.map(lambda *parts: np.concatenate(parts), *self._ahead)

    def batch(self, step: int, mine: Mine = ALL) -> Batch:
        """The batch of a step, which must be the one after the last, or these rows of it."""
        if step != self._next:
            raise ValueError(f"a stream gives step {self._next} next, not {step}")
        try:
            batch = self._ahead.popleft() if self._ahead else next(self._batches)
        except StopIteration:
            raise Ended from None
        self._next += 1
        return rows_of(batch, mine)

    def _read(self) -> Iterator[Batch]:
        """All batches. Examples of an iterable that do not fill one at its end go into the next."""
        parts: list[Any] = []
        count = 0
        for x, cond in self._parts():
            parts.append((x, cond))
            count += len(x)
            if count < self.batch_size:
                continue
            x, cond = jax.tree.map(lambda *rows: np.concatenate(rows), *parts)
            split = memory.split_of(self.model, x, cond, self.source)
            for start in range(0, count - self.batch_size + 1, self.batch_size):
                rows = np.arange(start, start + self.batch_size)
                yield take(split, rows, conditional(self.model))
            rest = slice(count - count % self.batch_size, None)
            parts, count = [(x[rest], rows_of(cond, rest))], count % self.batch_size

    def _parts(self) -> Iterator[tuple[np.ndarray, Any]]:
        """Each item as a batch of examples with their conditions."""
        while True:
            empty = True
            for item in self.items:
                empty = False
                yield self._part(item)
            if empty or iter(self.items) is self.items:
                return

    def _part(self, item: Any) -> tuple[np.ndarray, Any]:
        if isinstance(item, dict):
            raise InputError(
                f"the iterator gives dicts with {', '.join(map(str, item))}: give x, or the pair of x and its cond"
            )
        pair = isinstance(item, tuple) or (
            isinstance(item, list) and len(item) == 2 and all(hasattr(p, "shape") for p in item)
        )
        x, cond = item if pair else (item, None)
        x, shape = np.asarray(x), self.model.event.shape
        if x.shape == shape or (*x.shape, 1) == shape:
            one = lambda part: np.asarray(part)[None]  # noqa: E731
            return x.reshape(1, *shape), jax.tree.map(one, memory.as_arrays(cond))
        if x.shape[1:] != shape:
            raise InputError(
                f"the iterator gives shape {x.shape}: examples of the model have {shape}, batches one axis more"
            )
        return x, jax.tree.map(np.asarray, memory.as_arrays(cond))
