"""Rules of the import: which examples are train, validation and test, how many levels there are, tiles."""

import re
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
from jaxtyping import Integer

from gen_jax.data.importing.content import Part
from gen_jax.data.importing.splits import ORDER, split_of
from gen_jax.errors import InputError, near

DEFAULT_SHARES = "train=0.9,validation=0.05,test=0.05"
MAX_LEVELS = 2**16
SHOWN = 10  # longest list that is shown in full
SHARE = re.compile(r"1|0?\.\d{1,9}|\d{1,9}/[1-9]\d{0,8}")


def parse_shares(rule: str) -> dict[str, Fraction]:
    """`train=0.8,validation=0.1,test=0.1` as exact shares that add up to one, in that order."""
    shares = {}
    for item in rule.split(","):
        name, _, share = (word.strip() for word in item.partition("="))
        split = split_of(name)
        if split is None:
            raise InputError(
                f"--split: {name!r} is not train, validation or test{near(name, ORDER)}"
            )
        if not SHARE.fullmatch(share) or not 0 < Fraction(share) <= 1:
            raise InputError(
                f"--split: the share of {name} should be a number like 0.8 or 4/5, not {share!r}"
            )
        if split in shares:
            raise InputError(f"--split names {split} twice")
        shares[split] = Fraction(share)
    if sum(shares.values()) != 1:
        raise InputError(
            f"--split: the shares of {rule!r} add up to {float(sum(shares.values()))}, not 1"
        )
    return {name: shares[name] for name in ORDER if name in shares}


def bounds(count: int, shares: dict[str, Fraction]) -> dict[str, tuple[int, int]]:
    """Contiguous ranges of 0..count by shares, each bound rounded down."""
    ends = [int(count * sum(list(shares.values())[: i + 1])) for i in range(len(shares))]
    return dict(zip(shares, zip([0, *ends], ends, strict=False), strict=True))


def divide(
    parts: dict[str, Part], rule: str | None, class_names: Sequence[str] = ()
) -> tuple[dict[str, Part], list[str]]:
    """Cut train by the rule, or by `DEFAULT_SHARES` if there is only train; otherwise keep the splits.

    Examples stay in order. If they have labels, each class is cut separately, so that a data set sorted by class has
    all classes in every split.
    """
    if rule is None and set(parts) != {"train"}:
        missing = [name for name in ORDER if name not in parts]
        return parts, [f"the files have no {' and no '.join(missing)} split"] * bool(missing)
    shares = parse_shares(DEFAULT_SHARES if rule is None else rule)
    if "train" not in parts:
        raise InputError(
            f"--split divides the training examples, but the files have only {', '.join(parts)}"
        )
    twice = [name for name in shares if name != "train" and name in parts]
    if twice:
        raise InputError(f"--split names {twice[0]}, which the files already have")
    cut = _cut(parts["train"], shares, class_names)
    counts = ", ".join(f"{name} {len(part)}" for name, part in cut.items())
    how = "each class separately, in order" if parts["train"].labels is not None else "in order"
    why = "by --split" if rule else f"by default ({DEFAULT_SHARES})"
    rest = {name: part for name, part in parts.items() if name != "train"}
    return cut | rest, [f"{len(parts['train'])} examples are split {why}, {how}: {counts}"]


def _cut(part: Part, shares: dict[str, Fraction], class_names: Sequence[str]) -> dict[str, Part]:
    labels = np.zeros(len(part), np.int32) if part.labels is None else part.labels
    chosen: dict[str, list[np.ndarray]] = {name: [] for name in shares}
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        for name, (start, stop) in bounds(len(members), shares).items():
            chosen[name].append(members[start:stop])
    cut = {name: part.take(np.sort(np.concatenate(groups))) for name, groups in chosen.items()}
    for name in cut:
        if not len(cut[name]):
            counts = [
                f"{named(int(label), class_names)} has {count}"
                for label, count in zip(*np.unique(labels, return_counts=True), strict=True)
            ]
            each = f" (each class is divided separately: {listed(counts)})"
            raise InputError(
                f"{part.origins[0]}: {len(part)} examples are too few, split {name} would be empty"
                + each * (part.labels is not None)
                + "; give other shares with --split"
            )
    return cut


def missing_classes(parts: dict[str, Part], class_names: Sequence[str]) -> list[str]:
    """A sentence naming the classes that some split lacks, or nothing if every split has all classes."""
    counts = {
        name: np.bincount(part.labels) for name, part in parts.items() if part.labels is not None
    }
    most = max((len(count) for count in counts.values()), default=0)
    counts = {name: np.pad(count, (0, most - len(count))) for name, count in counts.items()}
    phrases = []
    for label in range(most):
        total = sum(int(count[label]) for count in counts.values())
        without = [name for name, count in counts.items() if not count[label]]
        if total and without:
            phrases.append(
                f"class {named(label, class_names)} ({total}) has none in {' and '.join(without)}"
            )
    return [f"too few examples: {listed(phrases, '; ')}"] * bool(phrases)


def named(label: int, class_names: Sequence[str]) -> str:
    """A class as text: its number, and its name if it has one."""
    return f"{label} {class_names[label]!r}" if label < len(class_names) else str(label)


def listed(items: Sequence[str], between: str = ", ") -> str:
    """The first items, and how many more there are."""
    more = f"{between}and {len(items) - SHOWN} more" if len(items) > SHOWN else ""
    return between.join(items[:SHOWN]) + more


def choose_levels(
    parts: dict[str, Part], asked: int | None, of_format: tuple[int, str] | None
) -> tuple[int, str]:
    """The number of levels and the reason: as asked, as the format says, 2 if all values are 0 or 1, or 256.

    InputError naming file and array if a value is negative or too high.
    """
    if asked is not None and not 2 <= asked <= MAX_LEVELS:
        raise InputError(f"--levels should be 2 to {MAX_LEVELS}, not {asked}")
    extremes = {name: _extremes(part) for name, part in parts.items()}
    low = min(low for low, _ in extremes.values())
    high = max(high for _, high in extremes.values())
    values = f"values run from {low} to {high}"
    levels = asked or (of_format[0] if of_format else 2 if high <= 1 else 256)
    for name, part in parts.items():
        if extremes[name][0] < 0:
            raise InputError(f"{_origin(part, low=0)}: {values}, but levels count from 0")
        if extremes[name][1] >= levels:
            most = (
                f"--levels {asked} allows 0 to {asked - 1}"
                if asked
                else "for more than 255 give --levels"
            )
            raise InputError(f"{_origin(part, high=levels - 1)}: {values}, {most}")
    if asked:
        return levels, f"{levels} levels as asked; {values}"
    if of_format:
        return levels, f"{levels} levels, {of_format[1]}"
    return levels, f"{levels} levels by default; {'all values are 0 or 1' if high <= 1 else values}"


def _extremes(part: Part) -> tuple[int, int]:
    arrays = [x for x in (part.x if isinstance(part.x, list) else [part.x]) if x.size]
    if not arrays:
        return 0, 0
    return min(int(x.min()) for x in arrays), max(int(x.max()) for x in arrays)


def _origin(part: Part, low: int | None = None, high: int | None = None) -> str:
    """The origin of the first example with a value below `low` or above `high`."""
    for x, origin in zip(part.x, part.origins, strict=True):
        if (low is not None and x.min() < low) or (high is not None and x.max() > high):
            return origin
    raise AssertionError("no value is out of range")


def tiles_of(image: Integer[np.ndarray, "H W C"], side: int) -> Integer[np.ndarray, "n S S C"]:
    """Tiles (S, S, C) from the upper left corner, row by row; incomplete tiles at the borders are dropped."""
    height, width, channels = image.shape
    rows, columns = height // side, width // side
    inside = image[: rows * side, : columns * side]
    grid = inside.reshape(rows, side, columns, side, channels).swapaxes(1, 2)
    return grid.reshape(rows * columns, side, side, channels)


def tile(parts: dict[str, Part], side: int) -> tuple[dict[str, Part], list[str]]:
    """All images as tiles, with the tiles of an image in the same split; InputError if an image is too small."""
    tiled, before, after, images = {}, 0, 0, 0
    for name, part in parts.items():
        cuts = []
        for image, origin in zip(part.x, part.origins, strict=True):
            if image.ndim != 3:
                raise InputError(f"{origin} has no images; --tiles is for images")
            if min(image.shape[:2]) < side:
                raise InputError(
                    f"{origin} is {image.shape[0]}x{image.shape[1]}, too small for --tiles {side}"
                )
            cuts.append(tiles_of(image, side))
            before += image.shape[0] * image.shape[1]
        counts = [len(tiles) for tiles in cuts]
        labels = None if part.labels is None else part.labels.repeat(counts)
        origins = [
            origin for origin, count in zip(part.origins, counts, strict=True) for _ in range(count)
        ]
        tiled[name] = Part(np.concatenate(cuts), origins, labels)
        after, images = after + len(origins) * side**2, images + len(part)
    share = (before - after) / before
    return tiled, [
        f"{images} images are cut into {after // side**2} tiles of {side}x{side};"
        f" {before - after} of {before} pixels ({share:.1%}) at the borders are dropped"
    ]
