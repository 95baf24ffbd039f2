"""A dense network of x_t and t, for diffusions of points and other vectors."""

import math

import flax.linen as nn
from jaxtyping import Array, Float, Num

from gen_jax.nn.conv import Dense
from gen_jax.nn.unet import ZEROS, TimeEmbedding


class TimeDense(nn.Module):
    """`blocks` residual blocks h + W silu(V silu(h) + U silu(time)) over the flattened event; every W starts at zero.

    A vector y is added to the embedding of the time through a linear map, as in the U-net.
    """

    features: int = 128
    blocks: int = 3

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "B *event"],
        t: Num[Array, " B"],
        outputs: int,
        train: bool = False,
        y: Float[Array, "B K"] | None = None,
    ) -> Float[Array, "B *positions outputs"]:
        """`outputs` numbers in place of the last axis of x, initially zero."""
        del train  # no dropout
        F = self.features
        time = TimeEmbedding(F)(t)
        if y is not None:
            time = time + Dense(4 * F, use_bias=False)(y)
        h = Dense(F)(x.reshape(len(x), -1))
        for _ in range(self.blocks):
            inner = Dense(F)(nn.silu(h)) + Dense(F)(nn.silu(time))
            h = h + Dense(F, kernel_init=ZEROS)(nn.silu(inner))
        shape = (*x.shape[1:-1], outputs)
        out = Dense(math.prod(shape), kernel_init=ZEROS)(nn.silu(h))
        return out.reshape(len(x), *shape)
