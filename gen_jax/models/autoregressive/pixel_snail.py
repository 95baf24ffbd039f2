"""PixelSNAIL: log p(x) = sum_i log p(x_i | x_<i) over pixels in raster order, each pixel a mixture of logistics.

One stream of shifted convolutions that sees what is near, and between its residual networks strictly causal attention
that sees every earlier pixel, h' = merge(h, softmax_{j<i}(q_i . k_j) v_j) (Chen, Mishra, Rohaninejad and Abbeel 2017,
1712.09763; sizes and order of layers as in their code).
"""

from typing import ClassVar

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from gen_jax.check import require
from gen_jax.models.autoregressive.pixelwise import Pixelwise
from gen_jax.models.autoregressive.raster import Terms
from gen_jax.nn.at import At, Row, Site
from gen_jax.nn.gated_resnet import GatedBlock
from gen_jax.nn.shifted_conv import Project
from gen_jax.ops import attention
from gen_jax.ops.gates import gated_linear
from gen_jax.typing import Dtype


class PointwiseResnet(nn.Module):
    """A residual network of 1x1 maps with f = elu, the same at all sites and in steps; it keeps the features."""

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
    """All sites as they are; at a site what entered at the site before, whose pixel has been written since."""

    @nn.compact
    def __call__(self, x: Float[Array, "*sites F"], at: At) -> Float[Array, "*sites F"]:
        """The last input, in steps."""
        if at is None:
            return x
        last = self.variable("cache", "last", jnp.zeros, x.shape, x.dtype)
        before, last.value = last.value, x
        return before


class Past(nn.Module):
    """The attention itself; in steps it keeps the keys and values of the sites so far."""

    @nn.compact
    def __call__(
        self,
        query: Float[Array, "*sites K"],
        key: Float[Array, "*sites K"],
        value: Float[Array, "*sites V"],
        at: Site | None,
    ) -> Float[Array, "*sites V"]:
        """All sites; or a site, given the key and value of the site before."""
        if at is None:
            batch, height, width, _ = value.shape
            query, key, wide = (x.reshape(batch, height * width, -1) for x in (query, key, value))
            return attention.causal_attention(query, key, wide).reshape(value.shape)
        site, kept = at.row * at.width + at.column, []
        for name, x in (("keys", key), ("values", value)):
            shape = (x.shape[0], at.height * at.width, x.shape[1])
            past = self.variable("cache", name, jnp.zeros, shape, x.dtype)
            start = (0, jnp.maximum(site - 1, 0), 0)
            past.value = lax.dynamic_update_slice(past.value, x[:, None], start)
            kept.append(past.value)
        keys, values = kept
        return attention.causal_attention_site(query, keys, values, site)


class CausalAttention(nn.Module):
    """Keys and values come from what is known once a site is written, queries from what is known before.

    Each through a gated residual network of its own and a 1x1 projection, one head.
    """

    key_size: int
    value_size: int
    dropout: float = 0.0
    dtype: Dtype = None

    def setup(self):
        """Declare networks and projections of the two inputs."""
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
        """All sites, or a site; in steps the content is that of the site before."""
        both = self.key_value(self.content(content, train=train))
        key, value = jnp.split(both, [self.key_size], axis=-1)
        return self.past(self.query(self.question(question, train=train)), key, value, at)


class SnailBlock(nn.Module):
    """`resnets` gated residual networks over 2x2 windows, then attention with values of half the features.

    Keys and values are made of (pixel, features, coordinates), queries of (features, coordinates), for a pixel may not
    see itself.
    """

    features: int
    resnets: int
    key_size: int
    num_classes: int = 0
    dropout: float = 0.0
    dtype: Dtype = None

    def setup(self):
        """Declare residual networks, attention and the gated merge."""
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
        """All sites, or a site; in steps `pixel` is the one before. `places` are that of v and that of the pixel."""
        for block in self.near:
            v = block.v(v, cond=cond, train=train, at=at)
        if isinstance(at, Row):
            return v  # no later layer keeps anything of the row above
        own, known = (jnp.broadcast_to(place, (*v.shape[:-1], 2)) for place in places)
        question = jnp.concatenate([v, own], axis=-1)
        content = jnp.concatenate([pixel, self.before(v, at), known], axis=-1)
        return self.merge(v, self.attention(content, question, train, at), train=train)


class PixelSNAIL(Pixelwise):
    """Images (H, W, C) of any number of levels and any sides; the whole past is every pixel's context.

    `blocks` times `resnets` residual networks and one attention; `mixtures` None is a softmax head, for one channel.
    """

    system: ClassVar[str] = "pixel_snail"

    features: int = 256
    blocks: int = 12
    resnets: int = 4
    key_size: int = 16

    def setup(self):
        """Declare first layer, blocks and output; InputError on sizes that cannot work."""
        super().setup()
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
        cond: Int[Array, " B"] | None,
        train: bool = False,
        at: At = None,
    ) -> Float[Array, "*sites P"]:
        """First layer, blocks, output."""
        v, pixel = self.first(image, terms, at), image[..., :-1]
        grid = jnp.asarray(self.coordinates, pixel.dtype)
        places = grid, grid
        if isinstance(at, Site):
            places = grid[at.row, at.column], grid[at.before.row, at.before.column]
        for block in self.stack:
            v = block(v, pixel, places, cond, train, at)
        return self.out(nn.elu(v))

    @property
    def coordinates(self) -> Float[np.ndarray, "H W 2"]:
        """Row and column of every pixel from -1/2 up to below 1/2."""
        H, W, _ = self.event.shape
        rows, columns = np.arange(H) / H - 0.5, np.arange(W) / W - 0.5
        return np.stack(np.meshgrid(rows, columns, indexing="ij"), axis=-1)

    def check(self) -> None:
        """InputError on events and sizes that cannot work."""
        super().check()
        require(
            min(self.blocks, self.resnets, self.key_size) >= 1 and self.features >= 2,
            "pixel_snail needs blocks, resnets and key_size >= 1, features >= 2",
        )
