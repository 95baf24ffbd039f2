"""NADE's conditionals: z_d = V_d sigma(a_d) with the running sum a_{d+1} = a_d + W_d x_d, a_1 = c, in O(HD) an example.

A symbol enters as itself where a site has one input weight, else one-hot (Larochelle and Murray 2011; Uria, Cote,
Gregor, Murray and Larochelle 2016, 1605.02226, algorithm 1).
"""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Integer

from gen_jax.ops.scaling import to_indicators


def hidden(a: Float[Array, "B H"]) -> Float[Array, "B H"]:
    """sigma(a), as (1 + tanh(a / 2)) / 2: less than the time of an exponential and a division on CPU."""
    return 0.5 * jnp.tanh(0.5 * a) + 0.5


def site(a: Float[Array, "B H"], out_kernel: Float[Array, "P H"]) -> Float[Array, "B P"]:
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
    bias: Float[Array, " H"],
    x: Integer[Array, "B D"],
) -> Float[Array, "B D P"]:
    """All z_d, sites in order of generation.

    The backward pass runs the sum back, a_d = a_{d+1} - W_d x_d, so that memory is O(BH) and not O(BDH), and every
    weight's gradient is one product over the batch.
    """
    return _forward(kernel, out_kernel, bias, x)[0]


def _forward(kernel, out_kernel, bias, x):
    def body(a, inputs):
        w, v, value = inputs
        return absorb(a, w, value), site(a, v)

    start = jnp.broadcast_to(bias, (x.shape[0], bias.shape[0]))
    a, z = lax.scan(body, start, (kernel, out_kernel, x.T))
    return jnp.swapaxes(z, 0, 1), (kernel, out_kernel, x, a)


def _backward(kept, dz):
    kernel, out_kernel, x, a = kept

    def body(carry, inputs):
        a, da = carry
        w, v, value, dz = inputs
        u = to_indicators(value, w.shape[0], a.dtype)
        dw = u.T @ da
        a = a - u @ w
        h = hidden(a)
        return (a, da + (dz @ v) * h * (1 - h)), (dw, dz.T @ h)

    inputs = (kernel, out_kernel, x.T, jnp.swapaxes(dz, 0, 1))
    (_, da), (dw, dv) = lax.scan(body, (a, jnp.zeros_like(a)), inputs, reverse=True)
    return dw, dv, jnp.sum(da, axis=0), None


conditionals.defvjp(_forward, _backward)
