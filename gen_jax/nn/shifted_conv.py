"""Weight-normalised shifted convolutions with data-dependent initialisation.

w = g v / ||v||, the norm over all axes but the output; on the batch of the initialisation g and the bias make every
output of mean 0 and standard deviation `init_scale` (Salimans and Kingma 2016, 1602.07868, section 3). The batch is
the global one, so every device starts from the same values.
"""

from collections.abc import Callable

import flax.linen as nn
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype
from jaxtyping import Array, Float

from gen_jax.ops import shifted_conv as ops
from gen_jax.ops.convolution import dense
from gen_jax.typing import Dtype


class WeightNorm(nn.Module):
    """Parameters of a weight-normalised map; a subclass says which."""

    features: int
    init_scale: float = 1.0
    dtype: Dtype = None

    def weights(
        self, shape: tuple[int, ...], outputs: Callable[[Array], Array] | None = None
    ) -> tuple[Float[Array, "*shape"], Float[Array, " O"]]:
        """Kernel and bias; `outputs` maps a kernel to the outputs on the batch of the initialisation."""
        direction = self.param("direction", nn.initializers.normal(0.05), shape)
        unit = direction / jnp.sqrt(jnp.sum(direction**2, axis=range(len(shape) - 1)))
        if self.is_initializing() and outputs is not None:
            y = outputs(unit)
            mean = jnp.mean(y, axis=range(y.ndim - 1), dtype=jnp.result_type(float))
            variance = jnp.var(y, axis=range(y.ndim - 1), dtype=jnp.result_type(float))
            gain = self.init_scale / jnp.sqrt(variance + 1e-10)
        else:
            mean = jnp.zeros(self.features)
            gain = jnp.ones(self.features)
        scale = self.param("scale", lambda _: gain)
        bias = self.param("bias", lambda _: -mean * gain)
        return unit * scale, bias


class ShiftedConv(WeightNorm):
    """Convolution whose window ends in the own row; `left` columns of it lie to the left of the own one."""

    height: int = 1
    width: int = 1
    left: int = 0
    stride: int = 1

    def _kernel(self, inputs, outputs=None):
        return self.weights((self.height, self.width, inputs, self.features), outputs)

    @nn.compact
    def __call__(self, x: Float[Array, "B H W I"]) -> Float[Array, "B H_out W_out O"]:
        """All sites at once."""

        def outputs(kernel: Array) -> Array:
            return ops.shifted_conv(x, kernel.astype(x.dtype), self.left, self.stride)

        kernel, bias = self._kernel(x.shape[-1], outputs)
        x, kernel, bias = promote_dtype(x, kernel, bias, dtype=self.dtype)
        return ops.shifted_conv(x, kernel, self.left, self.stride) + bias

    @nn.compact
    def above(self, *rows: Float[Array, "W_padded B I"]) -> Float[Array, "W_out B O"]:
        """A row's share from the given rows, the first of the window on, and the bias."""
        kernel, bias = self._kernel(rows[0].shape[-1])
        kernel, bias = promote_dtype(kernel, bias, dtype=self.dtype or rows[0].dtype)
        taps = (
            ops.row_taps(row.astype(kernel.dtype), kernel[i], self.stride)
            for i, row in enumerate(rows)
        )
        return sum(taps, start=bias)

    @nn.compact
    def site(self, window: Float[Array, "w B I"]) -> Float[Array, "B O"]:
        """A site's share from its own row, without the bias."""
        kernel, _ = self._kernel(window.shape[-1])
        window, kernel = promote_dtype(window, kernel, dtype=self.dtype)
        return ops.site_taps(window, kernel[-1])


class Upsample(WeightNorm):
    """Shifted transposed convolution of stride 2, a 2 x `width` kernel."""

    width: int = 2

    @nn.compact
    def phases(self, x: Float[Array, "*batch W I"]) -> Float[Array, "*batch W 2 2 O"]:
        """The four pixels below each column of a row."""
        shape = (2, self.width, x.shape[-1], self.features)
        kernel, bias = self.weights(shape, lambda kernel: ops.upsample(x, kernel.astype(x.dtype)))
        x, kernel, bias = promote_dtype(x, kernel, bias, dtype=self.dtype)
        return ops.upsample(x, kernel) + bias

    def __call__(self, x: Float[Array, "B H W I"]) -> Float[Array, "B two_H two_W O"]:
        """All sites at once."""
        return ops.interleave(self.phases(x))


class Project(WeightNorm):
    """Weight-normalised 1x1 convolution of several inputs side by side ("network in network")."""

    @nn.compact
    def __call__(self, *inputs: Float[Array, "*batch _I"]) -> Float[Array, "*batch O"]:
        """sum_i x_i W_i + b."""
        x = jnp.concatenate(inputs, axis=-1)
        kernel, bias = self.weights(
            (x.shape[-1], self.features), lambda kernel: dense(x, kernel.astype(x.dtype))
        )
        x, kernel, bias = promote_dtype(x, kernel, bias, dtype=self.dtype)
        return dense(x, kernel) + bias

    @nn.compact
    def part(
        self, x: Float[Array, "*batch _I"], first: int, total: int, bias: bool = True
    ) -> Float[Array, "*batch O"]:
        """The share of the inputs from `first` on, out of `total`; the batch need not be the first axis."""
        kernel, offset = self.weights((total, self.features))
        kernel = kernel[first : first + x.shape[-1]]
        x, kernel, offset = promote_dtype(x, kernel, offset, dtype=self.dtype)
        return x @ kernel + offset if bias else x @ kernel
