"""The network inside Flow++: gated convolutions and gated self-attention over the whole image.

(Ho, Chen, Srinivas, Duan and Abbeel 2019, 1902.00275, figure 3.) Its linear maps have kernels of N(0, 0.05^2), scaled
and shifted once so that the outputs for the first batch have mean 0 and standard deviation `init_scale`.
"""

import functools
from typing import Any, cast

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from gen_jax.nn.bijections import VectorOrMap
from gen_jax.ops.attention import full_attention
from gen_jax.ops.convolution import convolve, dense, gathered
from gen_jax.ops.gates import concat_elu, gated_linear

GATE_SCALE = 0.1  # initial standard deviation before a gate
CONSTANT = 1e-10  # a variance below it is that of a constant


class Linear(nn.Module):
    """x W + b over the channels or, with a window, a convolution of the same size; the first batch sets its scale."""

    features: int
    window: tuple[int, ...] = ()
    init_scale: float = 1.0

    @nn.compact
    def __call__(self, x: Float[Array, "*batch I"]) -> Float[Array, "*batch O"]:
        linear = functools.partial(convolve, padding="SAME") if self.window else dense
        shape = (*self.window, x.shape[-1], self.features)

        def scaled(key):
            kernel = nn.initializers.normal(0.05)(key, shape)
            y = linear(x, kernel.astype(x.dtype))
            variance = jnp.var(y, axis=range(y.ndim - 1))
            return kernel * self.init_scale / jnp.sqrt(jnp.where(variance > CONSTANT, variance, 1))

        kernel = self.param("kernel", scaled)
        y = linear(x, kernel.astype(x.dtype))
        bias = self.param("bias", lambda _: -jnp.mean(y, axis=range(y.ndim - 1)))
        return y + bias.astype(x.dtype)


class GatedConv(nn.Module):
    """x + a * sigmoid(b): a and b from a 3x3 convolution of x, to which a map of y is added, and one more layer.

    The last layer has a window of `window`; y is a map of as many places as x, or a vector for each example.
    """

    window: tuple[int, ...] = ()
    dropout: float = 0.0

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "B H W F"],
        train: bool = False,
        y: VectorOrMap = None,
    ) -> Float[Array, "B H W F"]:
        features = x.shape[-1]
        h = Linear(features, (3, 3))(concat_elu(x))
        if y is not None:
            y = Linear(features)(concat_elu(y))
            h = h + (y if y.ndim == x.ndim else y[:, None, None])
        h = nn.Dropout(self.dropout, deterministic=not train)(concat_elu(h))
        return x + gated_linear(Linear(2 * features, self.window, GATE_SCALE)(h))


class GatedAttention(nn.Module):
    """x + a * sigmoid(b): a and b from attention of every place to every place; `position` is added to its input."""

    heads: int
    dropout: float = 0.0

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "B H W F"],
        position: Float[Array, "H W F"],
        train: bool = False,
    ) -> Float[Array, "B H W F"]:
        batch, height, width, features = x.shape
        qkv = Linear(3 * features)(x + position)
        qkv = qkv.reshape(batch, height * width, 3, self.heads, features // self.heads)
        heads = full_attention(*(qkv[:, :, i].swapaxes(1, 2) for i in range(3)))
        h = heads.swapaxes(1, 2).reshape(x.shape)
        h = nn.Dropout(self.dropout, deterministic=not train)(h)
        return x + gated_linear(Linear(2 * features, init_scale=GATE_SCALE)(h))


class Block(nn.Module):
    """Gated convolution and gated attention, each layer-normalised."""

    heads: int
    dropout: float
    train: bool

    @nn.compact
    def __call__(
        self, x: Float[Array, "B H W F"], position: Float[Array, "H W F"], y: VectorOrMap = None
    ) -> tuple[Float[Array, "B H W F"], None]:
        norm = functools.partial(nn.LayerNorm, epsilon=1e-5, use_fast_variance=False)
        x = norm()(GatedConv(dropout=self.dropout)(x, self.train, y))
        return norm()(GatedAttention(self.heads, self.dropout)(x, position, self.train)), None


class GatedAttentionNet(nn.Module):
    """A 3x3 convolution, `blocks` of gated convolution and gated attention, and another 3x3.

    All blocks add the same learned map of places before they attend. They are one body under a scan, so their
    parameters have a leading axis.
    """

    features: int
    blocks: int
    heads: int = 4
    dropout: float = 0.0

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "B H W I"],
        outputs: int,
        train: bool = False,
        y: VectorOrMap = None,
    ) -> Float[Array, "B H W outputs"]:
        shape = (*x.shape[1:3], self.features)
        position = self.param("position", nn.initializers.normal(0.01), shape)
        position = gathered(position.astype(x.dtype))
        scanned = nn.scan(
            Block,
            variable_axes={"params": 0},
            split_rngs={"params": True, "dropout": True},
            in_axes=cast(Any, nn.broadcast),
            length=self.blocks,
        )
        x = Linear(self.features, (3, 3))(x)
        x, _ = scanned(self.heads, self.dropout, train, name="scanned")(x, position, y)
        return Linear(outputs, (3, 3), GATE_SCALE)(x)
