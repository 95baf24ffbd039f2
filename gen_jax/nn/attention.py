"""Strictly causal attention over an image's sites in raster order, with a cache of keys and values."""

from typing import NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from gen_jax.nn.gated_resnet import PointwiseResnet
from gen_jax.nn.shifted_conv import Project
from gen_jax.ops import attention
from gen_jax.typing import Dtype


class AttentionCache(NamedTuple):
    """Keys and values of the sites so far; zeros from the next one on."""

    keys: Float[Array, "B L K"]
    values: Float[Array, "B L V"]


class CausalAttention(nn.Module):
    """Keys and values come from what is known once a site is written, queries from what is known before.

    Each through a gated residual network of its own and a 1x1 projection, one head (Chen et al. 2017, 1712.09763).
    """

    key_size: int
    value_size: int
    dropout: float = 0.0
    dtype: Dtype = None

    def setup(self):
        """Networks and projections of the two inputs."""
        options = {"dropout": self.dropout, "dtype": self.dtype}
        self.content = PointwiseResnet(**options)
        self.key_value = Project(self.key_size + self.value_size, dtype=self.dtype)
        self.question = PointwiseResnet(**options)
        self.query = Project(self.key_size, dtype=self.dtype)

    def _key_value(self, content, train=False):
        out = self.key_value(self.content(content, train=train))
        return jnp.split(out, [self.key_size], axis=-1)

    def __call__(
        self,
        content: Float[Array, "B H W I"],
        question: Float[Array, "B H W J"],
        train: bool = False,
    ) -> Float[Array, "B H W V"]:
        """All sites at once."""
        batch, height, width, _ = content.shape
        key, value = self._key_value(content, train)
        query = self.query(self.question(question, train=train))
        query, key, value = (x.reshape(batch, height * width, -1) for x in (query, key, value))
        mean = attention.causal_attention(query, key, value)
        return mean.reshape(batch, height, width, -1)

    def init_cache(self, sites: int, n: int, dtype: jnp.dtype) -> AttentionCache:
        """Nothing written."""
        sizes = self.key_size, self.value_size
        return AttentionCache(*(jnp.zeros((n, sites, size), dtype) for size in sizes))

    def site(
        self, cache: AttentionCache, question: Float[Array, "B J"], site: Int[Array, ""]
    ) -> Float[Array, "B V"]:
        """What one site reads from the earlier ones."""
        query = self.query(self.question(question))
        return attention.causal_attention_site(query, *cache, site)

    def write(
        self, cache: AttentionCache, content: Float[Array, "B I"], site: Int[Array, ""]
    ) -> AttentionCache:
        """Key and value of one site."""
        new = (x[:, None].astype(cache.keys.dtype) for x in self._key_value(content))
        pairs = zip(cache, new, strict=True)
        return AttentionCache(
            *(lax.dynamic_update_slice_in_dim(kept, x, site, axis=1) for kept, x in pairs)
        )
