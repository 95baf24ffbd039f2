"""PixelSNAIL: log p(x) = sum_i log p(x_i | x_<i) over pixels in raster order, each pixel a mixture of logistics.

One stream of shifted convolutions reads the pixels nearby. Between its residual networks, strictly causal attention
reads every earlier pixel: h' = merge(h, softmax_{j<i}(q_i . k_j) v_j) (Chen, Mishra, Rohaninejad and Abbeel 2017,
1712.09763; sizes and order of layers as in their code).
"""

from typing import ClassVar

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int, Num

from gen_jax.check import require
from gen_jax.models.autoregressive.pixelwise import Pixelwise
from gen_jax.models.autoregressive.raster import Terms
from gen_jax.nn.at import At, Row, Site
from gen_jax.nn.blocks import show
from gen_jax.nn.conditioning import Context
from gen_jax.nn.conv import Embed
from gen_jax.nn.gated_resnet import GatedBlock
from gen_jax.nn.shifted_conv import Project
from gen_jax.ops import attention
from gen_jax.ops.gates import gated_linear
from gen_jax.typing import Dtype


class PointwiseResnet(nn.Module):
    """A residual network of 1x1 maps with f = elu; the number of features stays."""

    dropout: float = 0.0
    dtype: Dtype = None

    @nn.compact
    def __call__(
        self, x: Float[Array, "*sites F"], *aux: Float[Array, "*sites _A"], train: bool = False
    ) -> Float[Array, "*sites F"]:
        """x + a . sigma(b), [a, b] = W drop(f(V f(x) + U f(aux)))."""
        F = x.shape[-1]
        hidden = Project(F, dtype=self.dtype, name="first")(nn.elu(x))
        if aux:
            hidden = hidden + Project(F, dtype=self.dtype, name="project")(*map(nn.elu, aux))
        hidden = nn.Dropout(self.dropout)(nn.elu(hidden), deterministic=not train)
        return x + gated_linear(Project(2 * F, 0.1, self.dtype, name="second")(hidden))


class Before(nn.Module):
    """At a site: the input at the site before, which goes with the pixel written last. At all sites: the input."""

    @nn.compact
    def __call__(self, x: Float[Array, "*sites F"], at: At) -> Float[Array, "*sites F"]:
        if at is None:
            return x
        last = self.variable("cache", "last", jnp.zeros, x.shape, x.dtype)
        before, last.value = last.value, x
        return before


class Past(nn.Module):
    """Strictly causal attention; in steps it keeps the keys and values of the sites so far."""

    @nn.compact
    def __call__(
        self,
        query: Float[Array, "*sites K"],
        key: Float[Array, "*sites K"],
        value: Float[Array, "*sites V"],
        at: Site | None,
    ) -> Float[Array, "*sites V"]:
        """At all sites, or at a site; in steps key and value are those of the site before."""
        if at is None:
            batch, height, width, _ = value.shape
            query, key, wide = (x.reshape(batch, height * width, -1) for x in (query, key, value))
            return attention.causal_attention(query, key, wide).reshape(value.shape)
        site, past = at.row * at.width + at.column, []
        for name, x in (("keys", key), ("values", value)):
            shape = (x.shape[0], at.height * at.width, x.shape[1])
            rows = self.variable("cache", name, jnp.zeros, shape, x.dtype)
            start = (0, jnp.maximum(site - 1, 0), 0)
            rows.value = lax.dynamic_update_slice(rows.value, x[:, None], start)
            past.append(rows.value)
        keys, values = past
        return attention.causal_attention_site(query, keys, values, site)


class CausalAttention(nn.Module):
    """One head. Keys and values are computed from `content`, which holds the pixel; queries from `question`.

    Each of the two inputs passes a gated residual network and a 1x1 projection.
    """

    key_size: int
    value_size: int
    dropout: float = 0.0
    dtype: Dtype = None

    def setup(self):
        options = {"dropout": self.dropout, "dtype": self.dtype}
        self.content = PointwiseResnet(**options)
        self.key_value = Project(self.key_size + self.value_size, dtype=self.dtype)
        self.question = PointwiseResnet(**options)
        self.query = Project(self.key_size, dtype=self.dtype)
        self.past = Past()

    def __call__(
        self,
        content: Float[Array, "*sites I"],
        question: Float[Array, "*sites J"],
        train: bool = False,
        at: Site | None = None,
    ) -> Float[Array, "*sites V"]:
        """At all sites, or at a site; in steps the content is that of the site before."""
        both = self.key_value(self.content(content, train=train))
        key, value = jnp.split(both, [self.key_size], axis=-1)
        return self.past(self.query(self.question(question, train=train)), key, value, at)


class SnailBlock(nn.Module):
    """`resnets` gated residual networks over 2x2 windows, then attention, whose values have half the features.

    Keys and values are computed from (pixel, features, coordinates), queries from (features, coordinates).
    """

    features: int
    resnets: int
    key_size: int
    num_classes: int = 0
    dropout: float = 0.0
    dtype: Dtype = None

    def setup(self):
        options = {"dropout": self.dropout, "dtype": self.dtype}
        near = {"num_classes": self.num_classes, "activation": nn.elu, **options}
        self.near = [GatedBlock(self.features, upper=False, **near) for _ in range(self.resnets)]
        self.before = Before()
        self.attention = CausalAttention(self.key_size, self.features // 2, **options)
        self.merge = PointwiseResnet(**options)

    def __call__(
        self,
        v: Float[Array, "*sites F"],
        pixel: Float[Array, "*sites C"],
        places: tuple[Float[Array, "*place 2"], Float[Array, "*place 2"]],
        cond: Int[Array, " B"] | None,
        train: bool,
        at: At,
    ) -> Float[Array, "*sites F"]:
        """`places`: the coordinates of v and of `pixel`, which in steps is the pixel before."""
        for block in self.near:
            v = block.v(v, cond=cond, train=train, at=at)
        if isinstance(at, Row):
            return v  # the layers below read no row above
        here, there = (jnp.broadcast_to(place, (*v.shape[:-1], 2)) for place in places)
        question = jnp.concatenate([v, here], axis=-1)
        content = jnp.concatenate([pixel, self.before(v, at), there], axis=-1)
        return self.merge(v, self.attention(content, question, train, at), train=train)


class PixelSNAIL(Pixelwise):
    """Images (H, W, C) of any number of levels and any sides; every pixel depends on all earlier pixels.

    Each of the `blocks` has `resnets` residual networks and one attention. `mixtures` None is a softmax head, for one
    channel. With `embedding` > 0 the levels are symbols without an order: the network reads a learned vector of this
    length for each.
    """

    system: ClassVar[str] = "pixel_snail"

    features: int = 256
    blocks: int = 12
    resnets: int = 4
    key_size: int = 16
    embedding: int = 0

    def setup(self):
        super().setup()
        if self.embedding:
            self.embed = Embed(self.levels, self.embedding, self.dtype)
        self.stack = [
            SnailBlock(
                self.features,
                self.resnets,
                self.key_size,
                self.num_classes,
                self.dropout,
                self.dtype,
            )
            for _ in range(self.blocks)
        ]
        self.out = Project(self.head.size, dtype=self.dtype)

    def horizontal(
        self,
        image: Float[Array, "*sites C_and_1"],
        terms: Terms,
        cond: Context,
        train: bool = False,
        at: At = None,
    ) -> Float[Array, "*sites P"]:
        v, pixel = self.first(image, terms, at), image[..., :-1]
        grid = jnp.asarray(self.coordinates, pixel.dtype)
        places = grid, grid
        if isinstance(at, Site):
            places = grid[at.row, at.column], grid[at.before.row, at.before.column]
        for block in self.stack:
            v = block(v, pixel, places, cond.vector, train, at)
            show(self, v)
        return self.out(nn.elu(v))

    @property
    def takes_reals(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether x may be real: there is nothing between symbols."""
        return not self.embedding

    def to_input(self, x: Num[Array, "B H W C"]) -> Float[Array, "B H W C_and_1"]:
        if not self.embedding:
            return super().to_input(x)
        vectors = self.embed(x.astype(jnp.int32)).reshape(*x.shape[:-1], -1)
        return jnp.concatenate([vectors, jnp.ones_like(vectors[..., :1])], axis=-1)

    @property
    def coordinates(self) -> Float[np.ndarray, "H W 2"]:
        """Row and column of every pixel, scaled to [-1/2, 1/2)."""
        H, W, _ = self.event.shape
        rows, columns = np.arange(H) / H - 0.5, np.arange(W) / W - 0.5
        return np.stack(np.meshgrid(rows, columns, indexing="ij"), axis=-1)

    def check(self) -> None:
        super().check()
        require(
            min(self.blocks, self.resnets, self.key_size) >= 1 and self.features >= 2,
            "pixel_snail needs blocks, resnets and key_size >= 1, features >= 2",
        )
        require(self.embedding >= 0, f"pixel_snail needs embedding >= 0, not {self.embedding}")
