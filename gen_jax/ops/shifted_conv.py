"""Shifted convolutions of PixelCNN++: row r reads rows r-h+1..r, column c reads columns c-left..c-left+w-1.

No masks: what must not be read lies outside the window (Salimans et al. 2017, 1701.05517, section 2.4). Each has a
parallel form over images (B, H, W, F) and a form for one row with the column axis first (W, B, F), so that a column is
contiguous and every tap is a matrix product over a slice.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from gen_jax.ops.convolution import convolve, dense


def shifted_conv(
    x: Float[Array, "B H W I"], kernel: Float[Array, "h w I O"], left: int, stride: int = 1
) -> Float[Array, "B H_out W_out O"]:
    """y[r, c] = sum_ij x[s r - h + 1 + i, s c - left + j] K[i, j]; zeros outside the image."""
    height, width = kernel.shape[:2]
    return convolve(x, kernel, ((height - 1, 0), (left, width - 1 - left)), stride)


def row_taps(
    row: Float[Array, "W_padded B I"], kernel: Float[Array, "w I O"], stride: int = 1
) -> Float[Array, "W_out B O"]:
    """What one row of the image, padded as the convolution pads it, gives to a row of the output."""
    width = kernel.shape[0]
    count = (row.shape[0] - width) // stride + 1
    taps = (row[j : j + stride * (count - 1) + 1 : stride] @ kernel[j] for j in range(width))
    return sum(taps, start=jnp.zeros((), row.dtype))


def site_taps(window: Float[Array, "w B I"], kernel: Float[Array, "w I O"]) -> Float[Array, "B O"]:
    """What one row gives to one site: `window` holds the w columns that it reads."""
    beside = jnp.concatenate(list(window), axis=-1)
    return beside @ jnp.reshape(kernel, (beside.shape[-1], -1))


def upsample(
    x: Float[Array, "*batch W I"], kernel: Float[Array, "2 w I O"]
) -> Float[Array, "*batch W 2 2 O"]:
    """Transposed convolution of stride 2 as four phases: y[2 r + i, 2 c + j] is phase [i, j] of (r, c).

    Width 2: phase j is x K[:, j]. Width 3 is shifted left by one: the odd phase also reads the next column.
    """
    inputs, outputs = kernel.shape[2:]
    own = kernel[:, -2:]
    flat = jnp.transpose(own, (2, 0, 1, 3)).reshape(inputs, 4 * outputs)
    phases = dense(x, flat).reshape(*x.shape[:-1], 2, 2, outputs)
    if kernel.shape[1] == 2:
        return phases
    beside = jnp.transpose(kernel[:, 0], (1, 0, 2)).reshape(inputs, 2 * outputs)
    next_column = jnp.pad(x[..., 1:, :], [(0, 0)] * (x.ndim - 2) + [(0, 1), (0, 0)])
    from_next = dense(next_column, beside)
    return phases.at[..., 1, :].add(from_next.reshape(*x.shape[:-1], 2, outputs))


def interleave(phases: Float[Array, "B H W 2 2 O"]) -> Float[Array, "B two_H two_W O"]:
    """The image of which `phases` holds the four pixels of each 2x2 block."""
    batch, height, width = phases.shape[:3]
    return jnp.swapaxes(phases, 2, 3).reshape(batch, 2 * height, 2 * width, -1)
