"""The block of PixelSNAIL: gated residual networks for what is near, attention for all that is earlier, a gated merge.

Keys and values are made of (pixel, features, coordinates), queries of (features, coordinates), for a pixel may not see
itself (Chen et al. 2017, 1712.09763; sizes and order of layers as in their code).
"""

from typing import NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from gen_jax.nn.attention import AttentionCache, CausalAttention
from gen_jax.nn.gated_resnet import BlockCache, GatedBlock, PointwiseResnet
from gen_jax.typing import Dtype


class SnailCache(NamedTuple):
    """Caches of the residual networks and of the attention, and the features of the site that is not yet written."""

    resnets: tuple[BlockCache, ...]
    attention: AttentionCache
    features: Float[Array, "B F"]


class SnailBlock(nn.Module):
    """`resnets` gated residual networks over 2x2 windows, then attention with values of half the features."""

    features: int
    resnets: int
    key_size: int
    num_classes: int = 0
    dropout: float = 0.0
    dtype: Dtype = None

    def setup(self):
        """Residual networks, attention, merge."""
        options = {"dropout": self.dropout, "dtype": self.dtype}
        self.near = [
            GatedBlock(
                self.features,
                upper=False,
                num_classes=self.num_classes,
                activation=nn.elu,
                **options,
            )
            for _ in range(self.resnets)
        ]
        self.attention = CausalAttention(self.key_size, self.features // 2, **options)
        self.merge = PointwiseResnet(**options)

    def __call__(
        self,
        v: Float[Array, "B H W F"],
        image: Float[Array, "B H W C"],
        place: Float[Array, "B H W 2"],
        cond: Int[Array, " B"] | None,
        train: bool,
    ) -> Float[Array, "B H W F"]:
        """All sites at once."""
        for resnet in self.near:
            _, v = resnet(None, v, None, cond, train)
        question = jnp.concatenate([v, place], axis=-1)
        content = jnp.concatenate([image, question], axis=-1)
        return self.merge(v, self.attention(content, question, train), train=train)

    def init_cache(self, height: int, width: int, n: int, dtype: jnp.dtype) -> SnailCache:
        """Zeros: what the parallel form pads with."""
        return SnailCache(
            tuple(resnet.init_cache(width, n, dtype) for resnet in self.near),
            self.attention.init_cache(height * width, n, dtype),
            jnp.zeros((n, self.features), dtype),
        )

    def begin_row(
        self, resnets: tuple[BlockCache, ...], cond: Int[Array, " B"] | None
    ) -> tuple[BlockCache, ...]:
        """What the row above gives to every site of the row."""
        pairs = zip(self.near, resnets, strict=True)
        return tuple(resnet.begin_row(kept, None, None, cond)[0] for resnet, kept in pairs)

    def site(
        self,
        cache: SnailCache,
        v: Float[Array, "B F"],
        place: Float[Array, "B 2"],
        site: Int[Array, ""],
        column: Int[Array, ""],
    ) -> tuple[SnailCache, Float[Array, "B F"]]:
        """One site, the earlier ones having been written."""
        resnets = []
        for resnet, kept in zip(self.near, cache.resnets, strict=True):
            kept, v = resnet.site(kept, v, None, column)
            resnets.append(kept)
        question = jnp.concatenate([v, place], axis=-1)
        mixed = self.attention.site(cache.attention, question, site)
        cache = SnailCache(tuple(resnets), cache.attention, v.astype(cache.features.dtype))
        return cache, self.merge(v, mixed)

    def write(
        self,
        cache: SnailCache,
        pixel: Float[Array, "B C"],
        place: Float[Array, "B 2"],
        site: Int[Array, ""],
    ) -> SnailCache:
        """Key and value of the site, now that its pixel is known."""
        content = jnp.concatenate([pixel, cache.features, place], axis=-1)
        return cache._replace(attention=self.attention.write(cache.attention, content, site))
