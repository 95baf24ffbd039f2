"""Causal convolutions as cropped ones: no multiplication by a masked zero where a whole row or column is closed.

Each causal one has a parallel form over an image and a form for one row or one site over a window that the caller
keeps. `strict` moves the window by one, so that the output does not read its own row (vertical) or column (horizontal).
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from gen_jax.ops.convolution import convolve, dense


def vertical_conv(
    x: Float[Array, "B H W I"], kernel: Float[Array, "h w I O"], strict: bool
) -> Float[Array, "B H W O"]:
    """Row r reads rows r-h+1..r (strict: r-h..r-1) and columns c-w//2..c+w//2; zeros outside the image."""
    height, width = kernel.shape[:2]
    rows = (height, -1) if strict else (height - 1, 0)
    columns = (width // 2, (width - 1) // 2)
    return convolve(x, kernel, (rows, columns))


def vertical_conv_row(
    window: Float[Array, "B h W I"], kernel: Float[Array, "h w I O"]
) -> Float[Array, "B W O"]:
    """One row of `vertical_conv`: `window` holds the h rows that it reads."""
    width = kernel.shape[1]
    columns = (width // 2, (width - 1) // 2)
    return convolve(window, kernel, ((0, 0), columns))[:, 0]


def horizontal_conv(
    x: Float[Array, "B H W I"], kernel: Float[Array, "w I O"], strict: bool
) -> Float[Array, "B H W O"]:
    """Column c reads columns c-w+1..c (strict: c-w..c-1) of its own row; zeros outside the image."""
    width = kernel.shape[0]
    if width == 1 and not strict:
        return dense(x, kernel[0])
    columns = (width, -1) if strict else (width - 1, 0)
    return convolve(x, kernel[None], ((0, 0), columns))


def horizontal_conv_site(
    window: Float[Array, "B w I"], kernel: Float[Array, "w I O"]
) -> Float[Array, "B O"]:
    """One site of `horizontal_conv`: `window` holds the w columns that it reads."""
    width, inputs = window.shape[1:]
    beside = jnp.concatenate([window[:, i] for i in range(width)], axis=-1)  # no transposition
    return beside @ jnp.reshape(kernel, (width * inputs, -1))


def same_conv(
    x: Float[Array, "B H W I"], kernel: Float[Array, "h w I O"]
) -> Float[Array, "B H W O"]:
    """Neither cropped nor causal: sites read in all directions; zeros outside the image."""
    return convolve(x, kernel, "SAME")
