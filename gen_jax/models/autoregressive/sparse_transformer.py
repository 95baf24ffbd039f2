"""Sparse Transformer: log p(x) = sum_t log p(x_t | x_<t) over the values of an image or a text in raster order.

Blocks whose attention reads a few earlier positions each, local, strided or in fixed blocks, in a pattern that repeats
over the layers and by which everything earlier is read (Child, Gray, Radford and Sutskever 2019, 1904.10509; sizes,
initial deviations and the place of the shift as in the code of Jun et al. 2020 by overlapping authors).
"""

import functools
from typing import ClassVar

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from gen_jax.check import require
from gen_jax.models.autoregressive.sequence import Beginning, Sequence, Time
from gen_jax.nn.conv import Dense, Embed
from gen_jax.nn.transformer import Block, Initial, Stack, quick_gelu
from gen_jax.ops.convolution import gathered
from gen_jax.ops.patterns import Local, Pattern, Strided, reach
from gen_jax.typing import Dtype

normal = nn.initializers.normal


class SparseTransformer(Sequence):
    """Images (H, W, C), whose sites are sub-pixels, or texts (L,), of any number of levels.

    h_t = e(x_{t-1}) + sum_a p_a(place of t - 1 on axis a), a start vector at t = 0; `layers` blocks that take the
    `patterns` in turn; a linear map without bias, zero at first. `key_features` is the width of queries and keys of all
    heads, `inner` that of the map's hidden layer. `remat` saves memory in training for a third more time.
    """

    system: ClassVar[str] = "sparse_transformer"
    begins: ClassVar[bool] = True

    patterns: tuple[Pattern, ...] = (Strided(96), Local(96), Local(96), Local(96))
    layers: int = 128
    features: int = 256
    heads: int = 2
    key_features: int = 128
    inner: int = 512
    dropout: float = 0.25
    remat: bool = False
    dtype: Dtype = None

    def setup(self):
        self.check()
        F, axes = self.features, len(self.event.shape)
        branch = (0.125 / F) ** 0.5
        block = functools.partial(
            Block,
            length=self.event.size,
            heads=self.heads,
            inner=self.inner,
            key_features=self.key_features,
            activation=quick_gelu,
            dropout=self.dropout,
            initial=Initial(
                query_key=normal(branch),
                value=normal(branch),
                out=normal((0.125 * 0.5 / (F * self.layers)) ** 0.5),
                up=normal(branch),
                down=normal((0.125 * 0.5 / (self.inner * self.layers)) ** 0.5),
            ),
            dtype=self.dtype,
        )
        self.symbols = Embed(self.levels, F, embedding_init=normal(0.01))
        self.places = [
            self.param(f"places_{axis}", normal(0.01 / axes**0.5), (side, F))
            for axis, side in enumerate(self.event.shape)
        ]
        self.stack = Stack(block, self.patterns, self.layers, self.remat)
        self.norm = nn.LayerNorm(1e-6)
        self.logits = Dense(self.head.size, use_bias=False, kernel_init=nn.initializers.zeros)

    @nn.compact
    def body(
        self, x: Int[Array, "B *sites"], cond: Beginning | None, train: bool, time: Time
    ) -> Float[Array, "B *sites P"]:
        F, places = self.features, jnp.arange(self.event.size)
        if cond is None:
            start = self.param("start", normal(0.01), (F,))
        else:
            start, places = cond.start, places if cond.places is None else cond.places
        if time is None:  # position codes move with their values
            h = self.embed(x, places)
            start = jnp.broadcast_to(start, (len(h), F))[:, None]
            h = jnp.concatenate([start, h[:, :-1]], axis=1)
        else:
            before = self.embed(jnp.maximum(x, 0), places[..., jnp.maximum(time - 1, 0)])
            h = jnp.where(time == 0, start, before)
        return self.logits(self.norm(self.stack(h, time, train)))

    def embed(
        self, x: Int[Array, "B *sites"], places: Int[Array, "*batch"]
    ) -> Float[Array, "B *sites F"]:
        """The code of each value and the codes of its place on each axis of the event."""
        on_axes = jnp.unravel_index(places, self.event.shape)
        codes = [gathered(table)[index] for table, index in zip(self.places, on_axes, strict=True)]
        return self.symbols(x) + sum(codes)

    def context(self, site: int) -> Bool[np.ndarray, " sites"]:
        """What the patterns reach through all layers; position t reads the value of t - 1."""
        seen = reach(self.patterns, self.layers, self.event.size)[site]
        return np.append(seen[1:], False)

    def check(self) -> None:
        """InputError on sizes that cannot work."""
        sizes = (self.layers, self.features, self.heads, self.key_features, self.inner)
        require(
            min(sizes) >= 1 and 0 <= self.dropout < 1,
            "sparse_transformer needs layers, features, heads, key_features and inner of at least 1, dropout in [0, 1)",
        )
        require(
            self.features % self.heads == self.key_features % self.heads == 0,
            f"sparse_transformer has features and key_features that {self.heads} heads share equally",
        )
        require(
            bool(self.patterns) and self.layers % len(self.patterns) == 0,
            f"sparse_transformer needs layers that are a multiple of its {len(self.patterns)} patterns",
        )
        for pattern in self.patterns:
            refusal = pattern.refusal(self.event.size)
            require(refusal is None, f"sparse_transformer: {refusal}")
