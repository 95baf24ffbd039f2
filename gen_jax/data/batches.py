"""`batch(step)`: a pure function of (seed, step), so that resuming needs no iterator state."""

from dataclasses import dataclass
from functools import cached_property

import grain
import jax
import numpy as np
from jaxtyping import Int

from gen_jax.conditions import rows_of
from gen_jax.data.dynamic import binarised
from gen_jax.data.prepared import Split
from gen_jax.errors import InputError
from gen_jax.typing import Batch

Mine = Int[np.ndarray, " rows"] | slice  # the rows of a batch that are on devices of this process
ALL = slice(None)


@dataclass(frozen=True)
class Batches:
    """Endless shuffled batches of a split, every epoch a permutation; InputError if a batch exceeds the split.

    `contiguous`: row b of consecutive batches reads the split's examples in order; all rows restart together at the end
    of an epoch. Examples left over by the division are skipped at its start or end, by seed.

    Windows of pieces come with `sizes`, the number of values of each that are no padding.
    """

    split: Split
    batch_size: int
    seed: int
    conditional: bool = False
    contiguous: bool = False

    def __post_init__(self):
        if self.batch_size > len(self.split):
            raise InputError(
                f"batch_size {self.batch_size} exceeds the {len(self.split)} examples of {self.split.split}"
            )

    @property
    def source(self) -> str:
        """Where the examples are from, as in a message."""
        return self.split.split

    @cached_property
    def _order(self):
        examples = grain.MapDataset.range(len(self.split)).seed(self.seed).shuffle()
        return examples.repeat().batch(self.batch_size)

    def indices(self, step: int) -> np.ndarray:
        """The indices of the examples in the batch of a step."""
        if not self.contiguous:
            return np.asarray(self._order[step])
        epoch, place = divmod(step, self._length)
        left_over = len(self.split) - self._length * self.batch_size
        first = np.random.default_rng((self.seed, epoch)).integers(left_over + 1)
        return first + np.arange(self.batch_size) * self._length + place

    @property
    def _length(self) -> int:
        """The number of examples per row in an epoch of contiguous streams."""
        return len(self.split) // self.batch_size

    def batch(self, step: int, mine: Mine = ALL) -> Batch:
        """The batch of a step: `x` (a new draw if the split has greys) and `cond` for a conditional model.

        Contiguous batches also have `begins`: whether a stream, or a piece in it, begins in each row. `mine`: only
        these rows, as they are in the whole batch; the noise of greys is drawn for all rows all the same.
        """
        every = self.indices(step)
        indices = every[mine]
        batch = take(self.split, indices, self.conditional)
        if self.contiguous:
            batch["begins"] = np.full(len(indices), step % self._length == 0)
            if self.split.begins is not None:
                batch["begins"] |= self.split.begins[indices]
        if self.split.greys is not None:
            batch["x"] = binarised(self.split.greys[every], (self.seed, step))[mine]
        return batch

    def first(self, examples: int | None = None) -> Batch:
        """The examples that initialise a model: the batch of step 0, or the first batches that hold `examples`."""
        count = 1 if examples is None else -(-min(examples, len(self.split)) // self.batch_size)
        rows = [self.batch(step) for step in range(count)]
        return jax.tree.map(lambda *parts: np.concatenate(parts), *rows)


def spread(total: int, count: int) -> np.ndarray:
    """At most `count` indices spread evenly over a split, since some data sets are sorted by class."""
    return np.linspace(0, total - 1, min(count, total)).astype(int)


def take(split: Split, indices: np.ndarray, conditional: bool) -> Batch:
    """The examples at `indices`, with labels for a conditional model, and `sizes` if they are windows of pieces."""
    batch: Batch = {
        "x": split.x[indices],
        "cond": rows_of(split.labels, indices) if conditional else None,
    }
    if split.sizes is not None:
        batch["sizes"] = split.sizes[indices].astype(np.int32)
    return batch
