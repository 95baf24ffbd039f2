"""Pixel transformer: log p(x) = sum_i log p(x_i | x_<i) over grey pixels in raster order, by attention alone.

h <- h + A(h), h <- h + M(h) with strictly causal attention A and a map M of each site, after the normalisation of Ba et
al. 2016, 1607.06450 (as Parmar et al. 2018, 1802.05751, whose attention is local and has several heads).
"""

from typing import ClassVar

import flax.linen as nn
import jax.numpy as jnp
from jax import lax

from gen_jax.check import require, require_image
from gen_jax.models.autoregressive.raster import Raster
from gen_jax.nn.conv import Dense
from gen_jax.ops.attention import causal_attention, causal_attention_site
from gen_jax.ops.convolution import gathered


class Attention(nn.Module):
    """Every site reads the sites before it; in steps it keeps their keys and values."""

    features: int

    @nn.compact
    def __call__(self, h, at=None):
        query, key, value = jnp.split(Dense(3 * self.features)(h), 3, axis=-1)
        if at is None:
            flat = (t.reshape(len(h), -1, self.features) for t in (query, key, value))
            return causal_attention(*flat).reshape(h.shape)
        site, kept = at.row * at.width + at.column, []
        for name, new in (("keys", key), ("values", value)):
            size = (len(h), at.height * at.width, self.features)
            old = self.variable("cache", name, jnp.zeros, size, h.dtype)
            old.value = lax.dynamic_update_slice_in_dim(old.value, new[:, None], site, axis=1)
            kept.append(old.value)
        return causal_attention_site(query, *kept, site)


class PixelTransformer(Raster):
    """Images (H, W, 1) of any number of levels."""

    system: ClassVar[str] = "pixel_transformer"

    features: int = 32
    depth: int = 2

    def setup(self):
        self.check()
        F, (height, width, _) = self.features, self.event.shape
        self.enter = Dense(F)
        self.place = gathered(self.param("place", nn.initializers.normal(0.02), (height, width, F)))
        self.attentions = [Attention(F) for _ in range(self.depth)]
        self.maps = [nn.Sequential([Dense(2 * F), nn.gelu, Dense(F)]) for _ in range(self.depth)]
        self.norms = [nn.LayerNorm() for _ in range(2 * self.depth + 1)]
        self.out = Dense(self.head.size)

    def horizontal(self, image, terms, cond, train=False, at=None):
        if at is None:  # in steps the pixel before is what enters
            flat = jnp.pad(image.reshape(len(image), -1, 1), ((0, 0), (1, 0), (0, 0)))
            image = flat[:, :-1].reshape(image.shape)
        h = self.enter(image) + (self.place if at is None else self.place[at.row, at.column])
        for i, (attend, map_each) in enumerate(zip(self.attentions, self.maps, strict=True)):
            h = h + attend(self.norms[2 * i](h), at)
            h = h + map_each(self.norms[2 * i + 1](h))
        return self.out(self.norms[-1](h))

    def check(self):
        require_image(self.event, self.system)
        require(self.event.shape[2] == 1, "pixel_transformer is a model of grey images")
        require(
            min(self.features, self.depth) >= 1, "pixel_transformer needs features and depth >= 1"
        )
