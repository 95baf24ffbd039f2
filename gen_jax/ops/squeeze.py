"""Space to channels and back (Dinh et al. 2016, 1605.08803, section 3.6); a vector as its parts at several scales."""

import math
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


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


def column_pairs(x: Float[Array, "B H W C"]) -> Float[Array, "B H W//2 2*C"]:
    """Each pair of columns becomes one column with all channels of the left one, then those of the right one."""
    batch, height, width, channels = x.shape
    return x.reshape(batch, height, width // 2, 2 * channels)


def columns(x: Float[Array, "B H W C"]) -> Float[Array, "B H 2*W C//2"]:
    """The inverse of `column_pairs`."""
    batch, height, width, channels = x.shape
    return x.reshape(batch, height, 2 * width, channels // 2)


def pixel_blocks(x: Float[Array, "B H W C"], side: int = 2) -> Float[Array, "B h w P"]:
    """Each block of side x side pixels becomes one with all channels of its first pixel, then the second's, by rows."""
    batch, height, width, channels = x.shape
    x = x.reshape(batch, height // side, side, width // side, side * channels)
    return x.swapaxes(2, 3).reshape(batch, height // side, width // side, side**2 * channels)


def pixels(x: Float[Array, "B h w P"], side: int = 2) -> Float[Array, "B H W C"]:
    """The inverse of `pixel_blocks`."""
    batch, height, width, channels = x.shape
    x = x.reshape(batch, height, width, side, channels // side)
    return x.swapaxes(2, 3).reshape(batch, side * height, side * width, channels // side**2)


def parts_of(
    z: Float[Array, "B D"], shapes: Sequence[tuple[int, ...]]
) -> list[Float[Array, "B *shape"]]:
    """A vector cut into arrays of these shapes, as the values that leave a flow at several scales."""
    ends = np.cumsum([math.prod(shape) for shape in shapes[:-1]]).tolist()
    parts = jnp.split(z, ends, axis=-1)
    return [part.reshape(-1, *shape) for part, shape in zip(parts, shapes, strict=True)]
