"""Orders of generation: permutations of the positions of an event."""

import numpy as np
from jaxtyping import Int


def order_of(size: int, seed: int | None = None) -> Int[np.ndarray, " size"]:
    """Raster order, or a random permutation from `seed`; its stream is frozen, so weights keep their order for good."""
    if seed is None:
        return np.arange(size)
    return np.random.RandomState(seed).permutation(size)
