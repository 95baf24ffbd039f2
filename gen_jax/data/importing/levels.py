"""How many levels the integers have, and the type they are stored in."""

import numpy as np

from gen_jax.data.importing.found import Part
from gen_jax.errors import InputError

MAX_LEVELS = 2**16


def choose(parts: dict[str, Part], asked: int | None, own: int | None) -> tuple[int, str]:
    """As asked, else what the format says, else 2 where all values are 0 or 1, else 256; and why, in words.

    InputError that names file and array where a value is negative or too high.
    """
    if asked is not None and not 2 <= asked <= MAX_LEVELS:
        raise InputError(f"--levels should be 2 to {MAX_LEVELS}, not {asked}")
    extremes = {name: _extremes(part) for name, part in parts.items()}
    low = min(low for low, _ in extremes.values())
    high = max(high for _, high in extremes.values())
    values = f"values run from {low} to {high}"
    levels = asked or own or (2 if high <= 1 else 256)
    for name, part in parts.items():
        if extremes[name][0] < 0:
            raise InputError(f"{_origin(part, low=0)}: {values}, levels count from 0")
        if extremes[name][1] >= levels:
            most = (
                f"--levels {asked} allows 0 to {asked - 1}" if asked else "above 255 give --levels"
            )
            raise InputError(f"{_origin(part, high=levels - 1)}: {values}, {most}")
    if asked:
        return levels, f"{levels} levels as asked; {values}"
    if own:
        return levels, f"{levels} levels, one for each distinct byte of the text"
    return levels, f"{levels} levels by default; {'all values are 0 or 1' if high <= 1 else values}"


def storage(levels: int) -> type[np.unsignedinteger]:
    """The smallest unsigned type for 0..levels-1."""
    return np.uint8 if levels <= 256 else np.uint16


def _extremes(part: Part) -> tuple[int, int]:
    arrays = part.x if isinstance(part.x, list) else [part.x]
    return min(int(x.min()) for x in arrays), max(int(x.max()) for x in arrays)


def _origin(part: Part, low: int | None = None, high: int | None = None) -> str:
    """Where the first example with a value below `low` or above `high` comes from."""
    for x, origin in zip(part.x, part.origins, strict=True):
        if (low is not None and x.min() < low) or (high is not None and x.max() > high):
            return origin
    raise AssertionError("no value is out of range")
