"""Dynamic binarisation, in a module without jax, since the builders import it when data sets are listed."""

import numpy as np
from jaxtyping import UInt8

FIXED_DRAW = (0, 0)  # seed for evaluating the train split; validation and test are stored


def binarised(greys: UInt8[np.ndarray, "..."], seed: tuple[int, ...]) -> UInt8[np.ndarray, "..."]:
    """Each pixel drawn from Bernoulli(grey / 255), exactly, as a pure function of the seed.

    0 stays 0 and 255 becomes 1.
    """
    below = np.random.default_rng(seed).integers(0, 255, greys.shape, dtype=np.uint8)
    return (below < greys).astype(np.uint8)
