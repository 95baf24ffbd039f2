"""`nn.Dense`, `nn.Conv` and `nn.ConvTranspose` on `ops.convolution`: the same weights, names and initial values.

Only what the networks here use: padding "SAME", one bias a feature, no dilation, no groups.
"""

import math
from collections.abc import Callable

import flax.linen as nn
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype
from jaxtyping import Array, Float

from gen_jax.nn.at import At
from gen_jax.ops.convolution import convolve, dense
from gen_jax.typing import Dtype


class Map(nn.Module):
    """Parameters of a linear map from features to features; a subclass says which."""

    features: int
    window: tuple[int, ...] = ()
    stride: int = 1
    use_bias: bool = True
    dtype: Dtype = None
    kernel_init: nn.initializers.Initializer = nn.initializers.lecun_normal()

    def mapped(self, x: Array, linear: Callable[[Array, Array], Array]) -> Array:
        """`linear` of x and the kernel (window, inputs, features), plus the bias, all in one type."""
        kernel = self.param("kernel", self.kernel_init, (*self.window, x.shape[-1], self.features))
        bias = None
        if self.use_bias:
            bias = self.param("bias", nn.initializers.zeros, (self.features,))
        x, kernel, bias = promote_dtype(x, kernel, bias, dtype=self.dtype)
        return linear(x, kernel) if bias is None else linear(x, kernel) + bias


class Dense(Map):
    """A map of the last axis: x K + b."""

    @nn.compact
    def __call__(self, x: Float[Array, "*batch I"], at: At = None) -> Float[Array, "*batch O"]:
        """The same at all sites and in steps."""
        return self.mapped(x, product_at(at))


def product_at(at: At) -> Callable[[Array, Array], Array]:
    """x K over the last axis: of two-dimensional arrays, and in steps as it is.

    A row has its columns before its examples: flattened, the examples could not be shared out over devices.
    """
    return dense if at is None else jnp.matmul


class Conv(Map):
    """A convolution; a stride s divides the sides by s and rounds up."""

    @nn.compact
    def __call__(self, x: Float[Array, "B *image I"]) -> Float[Array, "B *image_out O"]:
        """K * x + b."""
        return self.mapped(x, lambda x, kernel: convolve(x, kernel, "SAME", self.stride))


class ConvTranspose(Map):
    """A transposed convolution; a stride s multiplies the sides by s."""

    @nn.compact
    def __call__(self, x: Float[Array, "B *image I"]) -> Float[Array, "B *image_out O"]:
        """K * x + b, where zeros are put between the sites of x."""
        padding = []  # by which each side comes out `stride` times as long
        for size in self.window:
            both = size + self.stride - 2
            before = size - 1 if self.stride >= size else math.ceil(both / 2)
            padding.append((before, both - before))
        return self.mapped(
            x, lambda x, kernel: convolve(x, kernel, tuple(padding), spread=self.stride)
        )
