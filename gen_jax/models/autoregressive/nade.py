"""NADE: log p(x) = sum_d log p(x_d | x_<d), z_d = b_d + V_d sigma(a_d), a_{d+1} = a_d + W_d x_d, a_1 = c.

It has one layer of hidden units, and all conditionals share the input weights. The likelihood costs O(HD) an example, a
step of the sampler O(H) (Larochelle and Murray 2011; Uria, Cote, Gregor, Murray and Larochelle 2016, 1605.02226,
equations 2 and 3, algorithm 1). A binary value is the input itself and has a logit as output; a value of more levels is
one-hot and has a softmax.
"""

from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int, Integer

from gen_jax.check import require
from gen_jax.models.autoregressive.sequence import Sequence, Time
from gen_jax.ops.scaling import num_indicators, to_indicators


class NADE(Sequence):
    """`hidden`: H. The values are in raster order or, with `order_seed`, in a fixed random order."""

    system: ClassVar[str] = "nade"

    hidden: int = 500
    order_seed: int | None = None  # pyright: ignore[reportIncompatibleVariableOverride]

    @nn.compact
    def body(
        self, x: Int[Array, "B *sites"], cond: Any, train: bool, time: Time
    ) -> Float[Array, "B *sites P"]:
        self.check()
        D, H, P = self.event.size, self.hidden, self.head.size
        inputs = num_indicators(self.levels)
        init, zeros = nn.initializers.variance_scaling, nn.initializers.zeros
        fan_in = init(1.0, "fan_in", "normal", in_axis=(0, 1), out_axis=2)
        kernel = self.param("kernel", fan_in, (D, inputs, H))
        hidden_bias = self.param("hidden_bias", zeros, (H,))
        fan_in = init(1.0, "fan_in", "normal", in_axis=2, out_axis=1, batch_axis=0)
        out_kernel = self.param("out_kernel", fan_in, (D, P, H))
        bias = self.param("bias", zeros, (D, P))
        if time is None:
            return bias + conditionals(kernel, out_kernel, hidden_bias, x)
        start = jnp.broadcast_to(hidden_bias, (x.shape[0], H))
        a = self.variable("cache", "a", lambda: start)
        # choose first and add then: XLA writes such a sum in place
        a.value = absorb(jnp.where(time == 0, start, a.value), kernel[time - 1], x)
        return bias[time] + logits(a.value, out_kernel[time])

    def check(self) -> None:
        require(self.hidden >= 1, f"nade needs hidden >= 1, not {self.hidden}")


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
    bias: Float[Array, " H"],
    x: Integer[Array, "B D"],
) -> Float[Array, "B D P"]:
    """V_d sigma(a_d) for all d, in order of generation.

    The backward pass recomputes a_d = a_{d+1} - W_d x_d. So it needs O(BH) memory instead of O(BDH), and the gradient
    of each W_d and V_d is one product over the batch.
    """
    return _forward(kernel, out_kernel, bias, x)[0]


def _forward(kernel, out_kernel, bias, x):
    def body(a, inputs):
        w, v, value = inputs
        return absorb(a, w, value), logits(a, v)

    start = jnp.broadcast_to(bias, (x.shape[0], bias.shape[0]))
    a, z = lax.scan(body, start, (kernel, out_kernel, x.T))
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

    inputs = (kernel, out_kernel, x.T, jnp.swapaxes(dz, 0, 1))
    (_, da), (dw, dv) = lax.scan(body, (a, jnp.zeros_like(a)), inputs, reverse=True)
    return dw, dv, jnp.sum(da, axis=0), None


conditionals.defvjp(_forward, _backward)
