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
    rows: Float[Array, "h W B I"], kernel: Float[Array, "h w I O"]
) -> Float[Array, "W B O"]:
    """One row of `vertical_conv`: `rows` holds the h rows that it reads."""
    width = kernel.shape[1]
    columns = (width // 2, (width - 1) // 2)
    image = jnp.transpose(rows, (2, 0, 1, 3))
    return jnp.swapaxes(convolve(image, kernel, ((0, 0), columns))[:, 0], 0, 1)


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
    window: Float[Array, "w B I"], kernel: Float[Array, "w I O"]
) -> Float[Array, "B O"]:
    """One site of `horizontal_conv`: `window` holds the w columns that it reads."""
    joined = jnp.concatenate(list(window), axis=-1)
    return joined @ jnp.reshape(kernel, (joined.shape[-1], -1))


def same_conv(
    x: Float[Array, "B H W I"], kernel: Float[Array, "h w I O"]
) -> Float[Array, "B H W O"]:
    """Neither cropped nor causal: sites read in all directions; zeros outside the image."""
    return convolve(x, kernel, "SAME")
