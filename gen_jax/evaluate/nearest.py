"""The nearest training images of some images, as a check against copying."""

import numpy as np
from jaxtyping import Float, Int, Num

AT_ONCE = 2**22  # numbers of training images in one product


def nearest(
    x: Num[np.ndarray, "N *event"], among: Num[np.ndarray, "M *event"]
) -> tuple[Int[np.ndarray, " N"], Float[np.ndarray, " N"]]:
    """The index of the nearest image for each x, and the root mean square difference of their values."""
    flat, size = x.reshape(len(x), -1).astype(np.float64), x[0].size
    best, least = np.zeros(len(x), np.int64), np.full(len(x), np.inf)
    rows = max(1, AT_ONCE // size)
    for first in range(0, len(among), rows):
        part = among[first : first + rows].reshape(-1, size).astype(np.float64)
        squares = (flat**2).sum(axis=1)[:, None] - 2 * flat @ part.T + (part**2).sum(axis=1)
        place = squares.argmin(axis=1)
        distance = squares[np.arange(len(x)), place]
        closer = distance < least
        best, least = np.where(closer, first + place, best), np.where(closer, distance, least)
    return best, np.sqrt(np.maximum(least, 0) / size)
