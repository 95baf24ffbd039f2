"""Space to channels and back (Dinh et al. 2016, 1605.08803, section 3.6 and figure 3)."""

import numpy as np
from jaxtyping import Array, Float, Int


def squeeze(x: Float[Array, "B H W C"]) -> Float[Array, "B H//2 W//2 4*C"]:
    """Each 2x2 block of a channel becomes four neighbouring channels, row by row; ValueError on odd sides."""
    batch, height, width, channels = x.shape
    if height % 2 or width % 2:
        raise ValueError(f"sides {height}x{width} are not even")
    x = x.reshape(batch, height // 2, 2, width // 2, 2, channels)
    return x.transpose(0, 1, 3, 5, 2, 4).reshape(batch, height // 2, width // 2, 4 * channels)


def unsqueeze(x: Float[Array, "B H W C"]) -> Float[Array, "B 2*H 2*W C//4"]:
    """The inverse of `squeeze`."""
    batch, height, width, channels = x.shape
    x = x.reshape(batch, height, width, channels // 4, 2, 2)
    return x.transpose(0, 1, 4, 2, 5, 3).reshape(batch, 2 * height, 2 * width, channels // 4)


def diagonal_first(channels: int) -> Int[np.ndarray, " four_times_channels"]:
    """The squeezed channels in the order in which half are factored out.

    First those of both diagonal pixels of every block, so that what stays and what leaves are two checkerboards.
    """
    return (4 * np.arange(channels) + np.array([0, 3, 1, 2])[:, None]).ravel()
