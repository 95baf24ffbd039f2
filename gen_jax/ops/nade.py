"""The conditionals of NADE: z_d = V_d sigma(a_d), a_{d+1} = a_d + W_d x_d, a_1 = c, one after the other.

Larochelle and Murray 2011; Uria, Cote, Gregor, Murray and Larochelle 2016, 1605.02226, equations 2 and 3, algorithm 1.
"""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Integer

from gen_jax.ops.convolution import gathered
from gen_jax.ops.scaling import to_indicators


def hidden(a: Float[Array, "B H"]) -> Float[Array, "B H"]:
    """sigma(a), computed as (1 + tanh(a / 2)) / 2, which is faster on CPU than an exponential and a division."""
    return 0.5 * jnp.tanh(0.5 * a) + 0.5


def logits(a: Float[Array, "B H"], out_kernel: Float[Array, "P H"]) -> Float[Array, "B P"]:
    """V_d sigma(a_d)."""
    return hidden(a) @ out_kernel.T


def absorb(
    a: Float[Array, "B H"], kernel: Float[Array, "I H"], x: Integer[Array, " B"]
) -> Float[Array, "B H"]:
    """a_{d+1} = a_d + W_d x_d."""
    return a + to_indicators(x, kernel.shape[0], a.dtype) @ kernel


@jax.custom_vjp
def conditionals(
    kernel: Float[Array, "D I H"],
    out_kernel: Float[Array, "D P H"],
    start: Float[Array, "B H"],
    x: Integer[Array, "B D"],
) -> Float[Array, "B D P"]:
    """V_d sigma(a_d) for all d, in order of generation; `start` is a_1 of each example.

    The backward pass recomputes a_d = a_{d+1} - W_d x_d. So it needs O(BH) memory instead of O(BDH), and the gradient
    of each W_d and V_d is one product over the batch.
    """
    return _forward(kernel, out_kernel, start, x)[0]


def _forward(kernel, out_kernel, start, x):
    def body(a, inputs):
        w, v, value = inputs
        return absorb(a, w, value), logits(a, v)

    a, z = lax.scan(body, start, (gathered(kernel), gathered(out_kernel), x.T))
    return jnp.swapaxes(z, 0, 1), (kernel, out_kernel, x, a)


def _backward(residuals, dz):
    kernel, out_kernel, x, a = residuals

    def body(carry, inputs):
        a, da = carry
        w, v, value, dz = inputs
        u = to_indicators(value, w.shape[0], a.dtype)
        dw = u.T @ da
        a = a - u @ w
        h = hidden(a)
        return (a, da + (dz @ v) * h * (1 - h)), (dw, dz.T @ h)

    inputs = (gathered(kernel), gathered(out_kernel), x.T, jnp.swapaxes(dz, 0, 1))
    (_, da), (dw, dv) = lax.scan(body, (a, jnp.zeros_like(a)), inputs, reverse=True)
    return gathered(dw), gathered(dv), da, None


conditionals.defvjp(_forward, _backward)
