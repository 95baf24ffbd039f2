"""Shifted convolutions of PixelCNN++: row r reads rows r-h+1..r, column c reads columns c-left..c-left+w-1.

They need no masks: what may not be read lies outside the window (Salimans et al. 2017, 1701.05517, section 2.4).
`row_taps` and `site_taps` give the share of one row of the image, for all columns or for one site. A row has its column
axis first (W, B, F), so that a column is contiguous and every tap is a matrix product over a slice.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from gen_jax.ops.convolution import convolve


def shifted_conv(
    x: Float[Array, "B H W I"], kernel: Float[Array, "h w I O"], left: int, stride: int = 1
) -> Float[Array, "B H_out W_out O"]:
    """y[r, c] = sum_ij x[s r - h + 1 + i, s c - left + j] K[i, j]; zeros outside the image."""
    height, width = kernel.shape[:2]
    return convolve(x, kernel, ((height - 1, 0), (left, width - 1 - left)), stride)


def row_taps(
    row: Float[Array, "W_padded B I"], kernel: Float[Array, "w I O"], stride: int = 1
) -> Float[Array, "W_out B O"]:
    """The share of one row, padded as the convolution pads it, in a row of the output."""
    width = kernel.shape[0]
    count = (row.shape[0] - width) // stride + 1
    taps = (row[j : j + stride * (count - 1) + 1 : stride] @ kernel[j] for j in range(width))
    return sum(taps, start=jnp.zeros((), row.dtype))


def site_taps(window: Float[Array, "w B I"], kernel: Float[Array, "w I O"]) -> Float[Array, "B O"]:
    """The share of one row in the output at one site; `window` holds the w columns that the site reads."""
    columns = jnp.concatenate(list(window), axis=-1)
    return columns @ jnp.reshape(kernel, (columns.shape[-1], -1))
