"""What readers return, the examples of each split as in the files, and checks that these are valid examples."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from jaxtyping import Int32, Integer, Shaped

from gen_jax.errors import InputError

MAX_CLASSES = 2**16
MAX_CHANNELS = 4  # largest last axis that counts as channels without an option
Channels = Literal["first", "last"] | None


@dataclass(frozen=True)
class Part:
    """Examples of one split in order; `origins` names the file (and array) of each.

    `x` is an array (N, D), (N, H, W, C) or (N, L), or a list of images (H, W, C) or sounds (n,) of different sizes.
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
class Reading:
    """What a reader returns: splits by name, levels with the reason, class names, how examples are shown.

    `cut`: a single file was already cut into contiguous splits. `rest`: symbols after the last window of a text.
    `pieces`: examples are sequences of vectors (n, D) of different lengths. `conversion`: what was done to pictures.
    """

    parts: dict[str, Part]
    levels: tuple[int, str] | None = None
    num_classes: int = 0
    class_names: list[str] = field(default_factory=list)
    presentation: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    cut: bool = False
    rest: dict[str, list[int]] = field(default_factory=dict)
    pieces: bool = False
    conversion: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Content:
    """What is written: integers below `levels` and int32 labels by split, in the order train, validation, test.

    `pieces`: the number of steps of each sequence whose windows the examples are. `conversion`: what was done to the
    pictures that were read; data sets with the same examples are the same whatever it says.
    """

    x: dict[str, np.ndarray]
    labels: dict[str, np.ndarray]
    levels: int
    num_classes: int = 0
    class_names: list[str] = field(default_factory=list)
    presentation: dict[str, Any] = field(default_factory=dict)
    rest: dict[str, list[int]] = field(default_factory=dict)
    pieces: dict[str, list[int]] = field(default_factory=dict)
    conversion: list[str] = field(default_factory=list)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of an example."""
        return next(iter(self.x.values())).shape[1:]


def examples(
    array: Shaped[np.ndarray, "..."], origin: str, channels: Channels = None
) -> Integer[np.ndarray, "N ..."]:
    """Integers (N, D) or (N, H, W, C), with a channel axis added to grey images; InputError for anything else.

    `channels` says which of four axes has the channels; by default the last one, if that is plausible.
    """
    if array.dtype == bool:
        array = array.astype(np.uint8)
    if array.dtype.kind not in "iu":  # timedelta64 is an np.integer
        floating = np.issubdtype(array.dtype, np.floating)
        nan = " and contains NaN" if floating and np.isnan(array).any() else ""
        raise InputError(
            f"{origin} is {array.dtype}{nan}; only integers are imported, as levels 0, 1, 2, ..."
        )
    if array.ndim not in (2, 3, 4):
        raise InputError(
            f"{origin} has shape {array.shape}; it should be (N, D), (N, H, W) or (N, H, W, C)"
        )
    if not array.size:
        raise InputError(f"{origin} has shape {array.shape}: it contains no examples")
    if array.ndim == 4:
        return _channels_last(array, origin, channels)
    if channels:
        raise InputError(
            f"{origin} has shape {array.shape}; --channels-{channels} is for arrays of 4 axes"
        )
    return array[..., None] if array.ndim == 3 else array


def _channels_last(
    array: Integer[np.ndarray, "N first second third"], origin: str, channels: Channels
) -> Integer[np.ndarray, "N H W C"]:
    second, _, last = array.shape[1:]
    if channels == "first":
        return np.ascontiguousarray(array.transpose(0, 2, 3, 1))
    # If the last axis is 2 or 4 and the second is 1 or 3, either may be the channels.
    unclear = last not in (1, 3) and second in (1, 3)
    if channels is None and (last > MAX_CHANNELS or unclear):
        why = (
            "both its second and its last axis may be the channels"
            if last <= MAX_CHANNELS
            else f"its last axis, {last}, is not a plausible number of channels"
            + (f", its second, {second}, is" if second <= MAX_CHANNELS else "")
        )
        raise InputError(
            f"{origin} has shape {array.shape}: {why}; --channels-first reads it as x.transpose(0, 2, 3, 1),"
            " --channels-last unchanged"
        )
    return array


def class_labels(
    array: Shaped[np.ndarray, "..."], origin: str, count: int
) -> Int32[np.ndarray, " N"]:
    """The class of each example; InputError if they are not integers, out of range or of another length."""
    if array.dtype.kind not in "iub":
        raise InputError(f"{origin} is {array.dtype}; labels are integers 0, 1, 2, ...")
    if array.shape[1:] == (1,):
        array = array[:, 0]
    if array.shape != (count,):
        raise InputError(f"{origin} has shape {array.shape}, but there are {count} examples")
    if array.min() < 0 or array.max() >= MAX_CLASSES:
        raise InputError(
            f"{origin}: labels run from {array.min()} to {array.max()}, they should lie in 0..{MAX_CLASSES - 1}"
        )
    return array.astype(np.int32)
