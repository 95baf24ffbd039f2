"""`nn.Dense`, `nn.Conv`, `nn.ConvTranspose`, `nn.Embed` on `ops/convolution.py`: their weights, names, initial values.

They have only the options that the networks here use: padding "SAME", one bias a feature, no dilation, no groups.
"""

import math
from collections.abc import Callable, Sequence

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from flax.linen.dtypes import promote_dtype
from jaxtyping import Array, Float, Integer

from gen_jax.nn.at import At
from gen_jax.ops.convolution import convolve, dense, gathered
from gen_jax.typing import Dtype


class Map(nn.Module):
    """Parameters of a linear map from features to features; a subclass applies it."""

    features: int
    window: tuple[int, ...] = ()
    stride: int = 1
    use_bias: bool = True
    dtype: Dtype = None
    kernel_init: nn.initializers.Initializer = nn.initializers.lecun_normal()
    bias_init: nn.initializers.Initializer = nn.initializers.zeros

    def mapped(self, x: Array, linear: Callable[[Array, Array], Array]) -> Array:
        """linear(x, kernel) + bias, all in one type; the kernel has the shape (*window, inputs, features)."""
        kernel = self.param("kernel", self.kernel_init, (*self.window, x.shape[-1], self.features))
        bias = None
        if self.use_bias:
            bias = self.param("bias", self.bias_init, (self.features,))
        x, kernel, bias = promote_dtype(x, kernel, bias, dtype=self.dtype)
        return linear(x, kernel) if bias is None else linear(x, kernel) + bias


class Dense(Map):
    """x K + b over the last axis."""

    @nn.compact
    def __call__(self, x: Float[Array, "*batch I"], at: At = None) -> Float[Array, "*batch O"]:
        return self.mapped(x, product_at(at))


class Embed(nn.Module):
    """A vector for each number below `num_embeddings`: the rows of a table."""

    num_embeddings: int
    features: int
    dtype: Dtype = None
    embedding_init: nn.initializers.Initializer = nn.linear.default_embed_init

    @nn.compact
    def __call__(self, inputs: Integer[Array, "*batch"]) -> Float[Array, "*batch F"]:
        shape = (self.num_embeddings, self.features)
        [table] = promote_dtype(
            self.param("embedding", self.embedding_init, shape), dtype=self.dtype
        )
        return jnp.take(gathered(table), inputs, axis=0)


def in_one_product(maps: Sequence[Dense], x: Float[Array, "*batch I"]) -> list[Array]:
    """What each map gives of the same x in a step, by one product with all their kernels side by side."""
    params = [linear.variables["params"] for linear in maps]
    joined = {name: jnp.concatenate([p[name] for p in params], axis=-1) for name in params[0]}
    x, *weights = promote_dtype(x, *joined.values(), dtype=maps[0].dtype)
    joined = dict(zip(joined, weights, strict=True))
    ends = np.cumsum([linear.features for linear in maps])[:-1]
    return jnp.split(x @ joined["kernel"] + joined.get("bias", 0), ends, axis=-1)


def product_at(at: At) -> Callable[[Array, Array], Array]:
    """The product x K over the last axis: `dense` at all sites, a plain product in steps.

    A row has its columns before its examples. If it were flattened, the examples could not be sharded over devices.
    """
    return dense if at is None else jnp.matmul


class Conv(Map):
    """K * x + b; a stride s divides the sides by s and rounds up."""

    @nn.compact
    def __call__(self, x: Float[Array, "B *image I"]) -> Float[Array, "B *image_out O"]:
        return self.mapped(x, lambda x, kernel: convolve(x, kernel, "SAME", self.stride))


class ConvTranspose(Map):
    """The transposed convolution, with a bias; a stride s multiplies the sides by s."""

    @nn.compact
    def __call__(self, x: Float[Array, "B *image I"]) -> Float[Array, "B *image_out O"]:
        padding = []  # each side of the output is `stride` times as long
        for size in self.window:
            both = size + self.stride - 2
            before = size - 1 if self.stride >= size else math.ceil(both / 2)
            padding.append((before, both - before))
        return self.mapped(
            x, lambda x, kernel: convolve(x, kernel, tuple(padding), spread=self.stride)
        )
