"""NADE: log p(x) = sum_d log p(x_d | x_<d), z_d = b_d + V_d sigma(a_d), a_{d+1} = a_d + W_d x_d, a_1 = c.

It has one layer of hidden units, and all conditionals share the input weights. The likelihood costs O(HD) an example, a
step of the sampler O(H) (Larochelle and Murray 2011; Uria, Cote, Gregor, Murray and Larochelle 2016, 1605.02226,
equations 2 and 3, algorithm 1). A binary value is the input itself and has a logit as output; a value of more levels is
one-hot and has a softmax.
"""

from typing import Any, ClassVar

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from gen_jax.check import require
from gen_jax.models.autoregressive.sequence import Sequence, Time
from gen_jax.ops.convolution import gathered
from gen_jax.ops.nade import absorb, conditionals, logits
from gen_jax.ops.scaling import num_indicators


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
        bias = gathered(self.param("bias", zeros, (D, P)))
        start = jnp.broadcast_to(hidden_bias, (x.shape[0], H))
        if time is None:
            return bias + conditionals(kernel, out_kernel, start, x)
        a = self.variable("cache", "a", lambda: start)
        # choose first and add then: XLA writes such a sum in place
        a.value = absorb(jnp.where(time == 0, start, a.value), kernel[time - 1], x)
        return bias[time] + logits(a.value, out_kernel[time])

    def check(self) -> None:
        require(self.hidden >= 1, f"nade needs hidden >= 1, not {self.hidden}")
