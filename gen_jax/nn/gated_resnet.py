"""The block of PixelCNN++ and PixelSNAIL: a gated residual network in each of two streams.

y = x + a . sigma(b), [a, b] = conv(drop(f(conv(f(x)) + W f(aux)))) + V h with f = concat_elu (Salimans et al. 2017,
1701.05517, section 2.4; the layer order of their code), or f = elu in PixelSNAIL. The upper stream u reads the rows
above. The left stream v also reads the columns to the left in the same row. u feeds v, never the other way round.
"""

import functools
from collections.abc import Callable
from typing import cast

import flax.linen as nn
from jaxtyping import Array, Float, Int

from gen_jax.nn.at import At, spread
from gen_jax.nn.conv import Embed
from gen_jax.nn.shifted_conv import LeftConv, Project, RowProject, ShiftedConv
from gen_jax.ops.gates import concat_elu, gated_linear
from gen_jax.typing import Dtype

Activation = Callable[[Array], Array]


class GatedResnet(nn.Module):
    """The residual network of one stream: of u with windows of `width` 3, centred, or of v with `width` 2.

    `aux`: other tensors are added after the first convolution. `term`: the first of them is u, computed once a row.
    """

    features: int
    width: int
    aux: bool
    term: bool = False
    num_classes: int = 0
    dropout: float = 0.0
    dtype: Dtype = None
    activation: Activation = concat_elu

    def setup(self):
        F, dtype = self.features, self.dtype
        layer = LeftConv if self.width == 2 else ShiftedConv
        conv = functools.partial(layer, height=2, width=self.width, left=1, dtype=dtype)
        self.first, self.second = conv(F), conv(2 * F, init_scale=0.1)
        if self.aux:
            self.project = (RowProject if self.term else Project)(F, dtype=dtype)
        if self.num_classes:
            init = nn.initializers.normal(0.05)
            self.classes = Embed(self.num_classes, 2 * F, dtype, embedding_init=init)
        self.drop = nn.Dropout(self.dropout)

    def __call__(
        self,
        x: Float[Array, "*sites F"],
        *aux: Float[Array, "... F"],
        cond: Int[Array, " B"] | None = None,
        train: bool = False,
        at: At = None,
    ) -> Float[Array, "*sites F"]:
        hidden = self.first(self.activation(x), at)
        if aux:
            hidden = hidden + self.project(*map(self.activation, aux), at=at)
        hidden = self.drop(self.activation(hidden), deterministic=not train)
        out = self.second(hidden, at)
        if self.num_classes:
            out = out + spread(self.classes(cast(Array, cond)), at)
        return x + gated_linear(out)


class GatedBlock(nn.Module):
    """u' = u(u, skip_u) and v' = v(v, u', skip_v); without `upper` there is only v.

    `skips`: tensors from the way down are added. `mapped`: so is a map that the image is conditioned on.
    """

    features: int
    upper: bool = True
    skips: bool = False
    mapped: bool = False
    num_classes: int = 0
    dropout: float = 0.0
    dtype: Dtype = None
    activation: Activation = concat_elu

    def setup(self):
        options = {
            "num_classes": self.num_classes,
            "dropout": self.dropout,
            "dtype": self.dtype,
            "activation": self.activation,
        }
        if self.upper:
            self.u = GatedResnet(self.features, 3, aux=self.skips or self.mapped, **options)
        aux = self.upper or self.skips or self.mapped
        self.v = GatedResnet(self.features, 2, aux=aux, term=self.upper, **options)
