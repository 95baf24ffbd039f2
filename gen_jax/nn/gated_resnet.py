"""The block of PixelCNN++: a gated residual network in each of two streams.

y = x + a . sigma(b), [a, b] = conv(drop(f(conv(f(x)) + W f(aux)))) + V h with f = concat_elu (Salimans et al. 2017,
1701.05517, section 2.4; the layer order of their code), or f = elu in PixelSNAIL. The upper stream u has seen the rows
above, the left stream v also the own row up to the left; u feeds v, never the other way round.
"""

from collections.abc import Callable
from typing import NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from gen_jax.nn.shifted_conv import Project, ShiftedConv
from gen_jax.ops.gates import concat_elu, gated_linear, term_halves
from gen_jax.typing import Dtype

Activation = Callable[[Array], Array]


class PointwiseResnet(nn.Module):
    """A residual network of 1x1 maps with f = elu, one form for a site and for all; as many features as its input."""

    dropout: float = 0.0
    dtype: Dtype = None

    @nn.compact
    def __call__(
        self, x: Float[Array, "*batch F"], *aux: Float[Array, "*batch _A"], train: bool = False
    ) -> Float[Array, "*batch F"]:
        """Any leading axes."""
        F = x.shape[-1]
        hidden = Project(F, dtype=self.dtype, name="first")(nn.elu(x))
        if aux:
            hidden = hidden + Project(F, dtype=self.dtype, name="project")(*map(nn.elu, aux))
        hidden = nn.Dropout(self.dropout)(nn.elu(hidden), deterministic=not train)
        return x + gated_linear(Project(2 * F, 0.1, self.dtype, name="second")(hidden))


class GatedResnet(nn.Module):
    """One stream's residual network; `width` 3 is centred (u), `width` 2 ends in the own column (v)."""

    features: int
    width: int
    aux: bool
    num_classes: int = 0
    dropout: float = 0.0
    dtype: Dtype = None
    activation: Activation = concat_elu

    def setup(self):
        """Two convolutions, the 1x1 of the auxiliary inputs and the class term."""
        F, window = (
            self.features,
            {"height": 2, "width": self.width, "left": 1, "dtype": self.dtype},
        )
        self.first = ShiftedConv(F, **window)
        self.second = ShiftedConv(2 * F, init_scale=0.1, **window)
        if self.aux:
            self.project = Project(F, dtype=self.dtype)
        if self.num_classes:
            self.classes = nn.Embed(
                self.num_classes, 2 * F, self.dtype, embedding_init=nn.initializers.normal(0.05)
            )
        self.drop = nn.Dropout(self.dropout)

    def __call__(
        self,
        x: Float[Array, "B H W F"],
        *aux: Float[Array, "B H W F"],
        cond: Int[Array, " B"] | None = None,
        train: bool = False,
    ) -> Float[Array, "B H W F"]:
        """All sites at once."""
        hidden = self.first(self.activation(x))
        if aux:
            hidden = hidden + self.project(*(self.activation(one) for one in aux))
        hidden = self.drop(self.activation(hidden), deterministic=not train)
        out = self.second(hidden)
        if self.num_classes:
            out = out + self.classes(cond)[:, None, None]
        return x + gated_linear(out)

    def class_term(self, cond: Int[Array, " B"] | None) -> Float[Array, "B two_F"] | float:
        """What the class adds before the gate; nothing for a model without classes."""
        return self.classes(cond) if self.num_classes else 0.0


class BlockCache(NamedTuple):
    """Activations that enter the convolutions, for u the row above, for v the row so far; v's tables of the row."""

    u: tuple[Float[Array, "W_u B I"], ...]
    v: tuple[Float[Array, "W_v B I"], Float[Array, "W_v B I"]]
    tables: tuple[Float[Array, "W B F"], Float[Array, "W B two_F"]]


class GatedBlock(nn.Module):
    """u' = resnet(u; skip_u), v' = resnet(v; u', skip_v): all sites at once, a row of u, or a site of v.

    Without `upper` there is only the stream v. `skips` says whether tensors of the way down are handed in.
    """

    features: int
    upper: bool = True
    skips: bool = False
    num_classes: int = 0
    dropout: float = 0.0
    dtype: Dtype = None
    activation: Activation = concat_elu

    @property
    def inputs(self) -> int:
        """Number of features that enter a convolution."""
        return self.activation(jnp.zeros(self.features)).size

    def setup(self):
        """The residual network of each stream."""
        options = {
            "num_classes": self.num_classes,
            "dropout": self.dropout,
            "dtype": self.dtype,
            "activation": self.activation,
        }
        if self.upper:
            self.u = GatedResnet(self.features, 3, aux=self.skips, **options)
        self.v = GatedResnet(self.features, 2, aux=self.upper or self.skips, **options)

    def __call__(
        self,
        u: Float[Array, "B H W F"] | None,
        v: Float[Array, "B H W F"],
        skip: tuple | None,
        cond: Int[Array, " B"] | None,
        train: bool,
    ) -> tuple[Float[Array, "B H W F"] | None, Float[Array, "B H W F"]]:
        """All sites at once; `skip` holds u and v of the way down."""
        skip_u, skip_v = ((skip[0],), (skip[1],)) if skip else ((), ())
        if u is None:
            return None, self.v(v, *skip_v, cond=cond, train=train)
        u = self.u(u, *skip_u, cond=cond, train=train)
        return u, self.v(v, u, *skip_v, cond=cond, train=train)

    def init_cache(self, width: int, n: int, dtype: jnp.dtype) -> BlockCache:
        """Zeros: what the parallel form pads with, and columns not yet written."""
        F, inputs = self.features, self.inputs
        above = [jnp.zeros((width + 2, n, inputs), dtype) for _ in range(2 * self.upper)]
        so_far = [jnp.zeros((width + 1, n, inputs), dtype) for _ in range(2)]
        tables = (jnp.zeros((width, n, F), dtype), jnp.zeros((width, n, 2 * F), dtype))
        return BlockCache(tuple(above), (so_far[0], so_far[1]), tables)

    def begin_row(
        self,
        cache: BlockCache,
        u: Float[Array, "W B F"] | None,
        skip: Float[Array, "W B F"] | None,
        cond: Int[Array, " B"] | None,
    ) -> tuple[BlockCache, Float[Array, "W B F"] | None]:
        """The row of u, and what the row above and u give to every site of v."""
        v, inputs = self.v, self.inputs * (self.upper + self.skips)
        if u is not None:
            first = pad_row(self.activation(u), cache.u[0])
            hidden = self.u.first.above(cache.u[0], first)
            if skip is not None:
                skip = self.activation(skip)
                hidden = hidden + self.u.project.part(skip, 0, self.inputs)
            second = pad_row(self.activation(hidden), cache.u[1])
            out = self.u.second.above(cache.u[1], second) + self.u.class_term(cond)
            u = u + gated_linear(out)
            cache = cache._replace(u=(first, second))
        table = v.first.above(cache.v[0])
        if v.aux:
            aux = self.activation(u) if u is not None else jnp.zeros((1, 1, 0), table.dtype)
            table = table + v.project.part(aux, 0, inputs)
        gate = v.second.above(cache.v[1]) + v.class_term(cond)
        like = cache.tables
        tables = (table.astype(like[0].dtype), gate.astype(like[1].dtype))
        return cache._replace(tables=tables), u

    def site(
        self,
        cache: BlockCache,
        v: Float[Array, "B F"],
        skip: Float[Array, "B F"] | None,
        column: Int[Array, ""],
    ) -> tuple[BlockCache, Float[Array, "B F"]]:
        """v' at one column."""
        first, left = put_column(cache.v[0], self.activation(v), column)
        hidden = take_column(cache.tables[0], column) + self.v.first.site(left)
        if skip is not None:
            start = self.inputs * self.upper
            skip = self.activation(skip)
            hidden = hidden + self.v.project.part(skip, start, start + self.inputs, bias=False)
        second, left = put_column(cache.v[1], self.activation(hidden), column)
        terms = term_halves(cache.tables[1], column)
        out = gated_linear(self.v.second.site(left), terms)
        return cache._replace(v=(first, second)), v + out


def take_column(row: Float[Array, "W B F"], column: Int[Array, ""]) -> Float[Array, "B F"]:
    """One column of a row."""
    return lax.dynamic_index_in_dim(row, column, keepdims=False)


def put_column(
    row: Float[Array, "W_v B F"], value: Float[Array, "B F"], column: Int[Array, ""]
) -> tuple[Float[Array, "W_v B F"], Float[Array, "2 B F"]]:
    """A row, padded by one column on the left, with one column written; and that column behind its left neighbour."""
    row = lax.dynamic_update_slice_in_dim(row, value[None].astype(row.dtype), column + 1, axis=0)
    return row, lax.dynamic_slice_in_dim(row, column, 2, axis=0)


def pad_row(row: Float[Array, "W B F"], like: Array) -> Float[Array, "W_u B F"]:
    """A row between the zero columns on the two sides of the window, in the cache's type."""
    return jnp.pad(row, ((1, 1), (0, 0), (0, 0))).astype(like.dtype)
