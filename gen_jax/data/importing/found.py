"""What the readers hand over: examples of each split, as the files hold them."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from gen_jax.errors import InputError

SPLIT_NAMES = {
    "train": "train",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
}
ORDER = ("train", "validation", "test")


@dataclass(frozen=True)
class Part:
    """Examples of one split in their order; `origins` names the file (and array) of each.

    `x` is an array (N, D), (N, H, W, C) or (N, L), or a list of images (H, W, C) of several sizes.
    """

    x: np.ndarray | list[np.ndarray]
    origins: list[str]
    labels: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.origins)

    def take(self, indices: Sequence[int] | np.ndarray) -> "Part":
        """The examples at `indices`."""
        x = [self.x[i] for i in indices] if isinstance(self.x, list) else self.x[indices]
        labels = None if self.labels is None else self.labels[indices]
        return Part(x, [self.origins[i] for i in indices], labels)


@dataclass(frozen=True)
class Found:
    """Splits by name, and what only the format knows: levels, classes and their names, the bytes of an alphabet."""

    parts: dict[str, Part]
    levels: int | None = None
    num_classes: int = 0
    class_names: list[str] = field(default_factory=list)
    alphabet: list[int] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Content:
    """All that is written: integers below `levels` and int32 labels by split, in the order train, validation, test."""

    x: dict[str, np.ndarray]
    labels: dict[str, np.ndarray]
    levels: int
    num_classes: int = 0
    class_names: list[str] = field(default_factory=list)
    alphabet: list[int] = field(default_factory=list)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one example."""
        return next(iter(self.x.values())).shape[1:]


def one_file(paths: Sequence[object], what: str) -> None:
    """InputError where a format that fits in one file comes in several."""
    if len(paths) > 1:
        raise InputError(f"one {what} makes a data set, not {len(paths)}: {paths[0]}, {paths[1]}")
