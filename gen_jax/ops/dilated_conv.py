"""Dilated causal convolution, y_t = sum_{j<k} K_j x_{t - (k-1-j) d}: its last tap reads its own time, none a later one.

In steps it keeps a queue of the last (k - 1) d inputs and the present one, so that a step costs k products whatever the
dilation (Paine et al. 2016, 1611.09482). Zeros stand before the first time.
"""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from gen_jax.ops.convolution import convolve


def dilated_conv(
    x: Float[Array, "B L I"], kernel: Float[Array, "k I O"], dilation: int
) -> Float[Array, "B L O"]:
    """All times at once."""
    earlier = (kernel.shape[0] - 1) * dilation
    return convolve(x, kernel, ((earlier, 0),), dilation=dilation)


def empty_queue(
    kernel: int, dilation: int, n: int, inputs: int, dtype: jnp.dtype
) -> Float[Array, "slots n I"]:
    """Zeros for (kernel - 1) dilation + 1 inputs; the input of time t goes to slot t mod their number."""
    return jnp.zeros(((kernel - 1) * dilation + 1, n, inputs), dtype)


def dilated_conv_step(
    queue: Float[Array, "slots B I"],
    x: Float[Array, "B I"],
    kernel: Float[Array, "k I O"],
    dilation: int,
    time: Int[Array, ""],
) -> tuple[Float[Array, "slots B I"], Float[Array, "B O"]]:
    """y at one time, and the queue with x in the place of its oldest input.

    What is read is read after the writing: only so does a loop keep its queue in place, without a copy a step.
    """
    slots, (taps, _, outputs) = queue.shape[0], kernel.shape
    queue = lax.dynamic_update_index_in_dim(queue, x.astype(queue.dtype), time % slots, 0)
    ago = [(taps - 1 - tap) * dilation for tap in range(taps - 1)]
    earlier = [lax.dynamic_index_in_dim(queue, (time - t) % slots, keepdims=False) for t in ago]
    window = jnp.concatenate([*earlier, x.astype(queue.dtype)], axis=-1)
    return queue, window @ kernel.reshape(-1, outputs)
