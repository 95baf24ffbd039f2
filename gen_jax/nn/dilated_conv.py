"""Layers of WaveNet: dilated causal convolutions, gated residual layers, frames brought to the rate of the samples.

`__call__` is over all times, `step` over one with a queue that the caller keeps.
"""

import flax.linen as nn
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype
from jaxtyping import Array, Float, Int

from gen_jax.nn.conv import Dense
from gen_jax.ops import dilated_conv
from gen_jax.ops.gates import gated_tanh
from gen_jax.typing import Dtype

Queue = Float[Array, "slots B I"]


class DilatedConv(nn.Module):
    """A causal convolution of `kernel` >= 2 taps, `dilation` apart."""

    features: int
    kernel: int = 2
    dilation: int = 1
    dtype: Dtype = None

    def _weights(self, x):
        shape = (self.kernel, x.shape[-1], self.features)
        kernel = self.param("kernel", nn.initializers.lecun_normal(), shape)
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        return promote_dtype(x, kernel, bias, dtype=self.dtype)

    @nn.compact
    def __call__(self, x: Float[Array, "B L I"]) -> Float[Array, "B L O"]:
        """All times at once."""
        x, kernel, bias = self._weights(x)
        return dilated_conv.dilated_conv(x, kernel, self.dilation) + bias

    @nn.nowrap
    def init_queue(self, n: int, inputs: int, dtype: jnp.dtype) -> Queue:
        """Nothing before."""
        return dilated_conv.empty_queue(self.kernel, self.dilation, n, inputs, dtype)

    @nn.compact
    def step(
        self, queue: Queue, x: Float[Array, "B I"], time: Int[Array, ""]
    ) -> tuple[Queue, Float[Array, "B O"]]:
        """One time, which the queue then holds too."""
        x, kernel, bias = self._weights(x)
        queue, y = dilated_conv.dilated_conv_step(queue, x, kernel, self.dilation, time)
        return queue, y + bias


class WaveNetLayer(nn.Module):
    """z = tanh(W_f * h + V_f y) . sigma(W_g * h + V_g y), h' = h + W z, skip = S z.

    (van den Oord et al. 2016, 1609.03499, equations 2 and 3, figure 4.) `conditional`: there is a condition y, whose
    terms have no bias. The `last` layer has no h', which nothing would read.
    """

    features: int
    skip_features: int
    kernel: int
    dilation: int
    conditional: bool = False
    last: bool = False
    dtype: Dtype = None

    def setup(self):
        """Declare the convolution, the 1x1 to h' and skip, and the 1x1 of the condition."""
        F = self.features
        self.conv = DilatedConv(2 * F, self.kernel, self.dilation, self.dtype)
        self.out = Dense(self.skip_features + (not self.last) * F, dtype=self.dtype)
        if self.conditional:
            self.condition = Dense(2 * F, use_bias=False, dtype=self.dtype)

    def _outputs(self, h, a, y):
        if self.conditional:
            a = a + self.condition(y)
        skip, residual = jnp.split(self.out(gated_tanh(a)), [self.skip_features], axis=-1)
        return h if self.last else h + residual, skip

    def __call__(
        self, h: Float[Array, "B L F"], y: Float[Array, "B _T K"] | None
    ) -> tuple[Float[Array, "B L F"], Float[Array, "B L S"]]:
        """h' and skip at all times; y holds one vector for each of them or one for all."""
        return self._outputs(h, self.conv(h), y)

    def init_queue(self, n: int, dtype: jnp.dtype) -> Queue:
        """Nothing before."""
        return self.conv.init_queue(n, self.features, dtype)

    def step(
        self,
        queue: Queue,
        h: Float[Array, "B F"],
        y: Float[Array, "B K"] | None,
        time: Int[Array, ""],
    ) -> tuple[Queue, Float[Array, "B F"], Float[Array, "B S"]]:
        """The queue, h' and skip at one time."""
        queue, a = self.conv.step(queue, h, time)
        return queue, *self._outputs(h, a, y)


class FrameUpsample(nn.Module):
    """y_t = U_{t mod hop} frame_{t // hop}: a transposed convolution whose width and stride are `hop`."""

    hop: int
    dtype: Dtype = None

    @nn.compact
    def __call__(self, frames: Float[Array, "B T K"]) -> Float[Array, "B L K"]:
        """T frames as T hop vectors of as many features."""
        batch, count, features = frames.shape
        phases = Dense(self.hop * features, use_bias=False, dtype=self.dtype)(frames)
        return phases.reshape(batch, count * self.hop, features)
