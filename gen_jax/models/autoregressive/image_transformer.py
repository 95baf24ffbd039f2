"""Image Transformer: p(x) = prod_t p(x_t | x_<t) by attention to a part of an image near the site.

Local 1D reads blocks of the raster sequence, local 2D generates the image tile by tile and reads a rectangle around the
tile (Parmar, Vaswani, Uszkoreit, Kaiser, Shazeer, Ku and Tran 2018, 1802.05751). Blocks normalise after each residual
sum (equations 1 and 2). Position codes are learned, half of the features for the row and half for column and channel.
"""

import functools
from dataclasses import dataclass
from typing import Any, ClassVar

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from gen_jax.check import require, require_image
from gen_jax.heads import Head, head_for
from gen_jax.models.autoregressive.sequence import NOTHING, Sequence, Time, shifted
from gen_jax.nn.conv import Dense, Embed
from gen_jax.nn.transformer import Block, Stack
from gen_jax.ops.convolution import gathered
from gen_jax.ops.orders import Order, Raster, Tiles, positions
from gen_jax.ops.patterns import reach
from gen_jax.ops.rectangle import Rectangle
from gen_jax.ops.scaling import to_symmetric
from gen_jax.typing import Dtype


@dataclass(frozen=True)
class Local1D:
    """Raster order in blocks of sites: a site reads its block, up to itself, and `before` sites before the block."""

    block: int = 256
    before: int = 256

    @property
    def order(self) -> Order:
        """The order of generation."""
        return Raster()

    def pattern(self, height: int, width: int, sites: int) -> Rectangle:
        """What a site reads of an image whose pixels have so many sites; InputError if no number of blocks fills it."""
        return Rectangle(1, height * width * sites, 1, self.block, 0, self.before)


@dataclass(frozen=True)
class Local2D:
    """Tile by tile: a site reads its tile, `above` rows above it and `side` columns on both sides, up to itself."""

    rows: int
    columns: int
    above: int
    side: int

    @property
    def order(self) -> Order:
        """The order of generation."""
        return Tiles(self.rows, self.columns)

    def pattern(self, height: int, width: int, sites: int) -> Rectangle:
        """What a site reads of an image whose pixels have so many sites; InputError if the tiles do not cover it."""
        return Rectangle(
            height, width * sites, self.rows, self.columns * sites, self.above, self.side * sites
        )


class ImageTransformer(Sequence):
    """Images (H, W, C) of any number of levels.

    With `mixtures` a site is a pixel under a mixture of logistics, and its values enter by a linear map. Without them a
    site is one value under a softmax, and values enter by a table for each channel. Likelihoods and maps of bits follow
    the order of generation, for local 2D that of the tiles.
    """

    system: ClassVar[str] = "image_transformer"

    local: Local1D | Local2D = Local1D()
    mixtures: int | None = None
    layers: int = 12
    features: int = 512
    heads: int = 4
    key_features: int | None = None
    value_features: int | None = None
    inner: int = 2048
    dropout: float = 0.3
    remat: bool = False
    dtype: Dtype = None

    @property
    def order(self) -> Order:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Raster order, or that of the tiles."""
        return self.local.order

    @property
    def sites(self) -> Int[np.ndarray, "sites V"]:
        pixels = positions(self.order, self.event.shape)
        return pixels if self.mixtures else pixels.reshape(-1, 1)

    @property
    def head(self) -> Head:
        """A mixture of K logistics over all channels of a pixel, or a softmax."""
        if self.mixtures is None:
            return head_for(self.levels)
        return head_for(self.levels, self.event.shape[-1], self.mixtures)

    @property
    def pattern(self) -> Rectangle:
        """What each site reads."""
        height, width, channels = self.event.shape
        return self.local.pattern(height, width, 1 if self.mixtures else channels)

    def setup(self):
        self.check()
        F, (height, width, channels) = self.features, self.event.shape
        # Codes of places begin as large as what enters, or attention would not tell near places from far ones.
        begin = nn.initializers.normal(0.6 if self.mixtures else 0.02)
        values = width if self.mixtures else width * channels
        if self.mixtures:
            self.enter = Dense(F)
        else:
            self.symbols = Embed(channels * self.levels, F, embedding_init=begin)
        self.rows = gathered(self.param("rows", begin, (height, F // 2)))
        self.columns = gathered(self.param("columns", begin, (values, F - F // 2)))
        block = functools.partial(
            Block,
            length=self.num_sites,
            heads=self.heads,
            inner=self.inner,
            key_features=self.key_features,
            value_features=self.value_features,
            where="post",
            activation=nn.relu,
            dropout=self.dropout,
            dtype=self.dtype,
        )
        self.stack = Stack(block, (self.pattern,), self.layers, self.remat)
        self.logits = Dense(self.head.size)

    def body(
        self, x: Int[Array, "B *sites_V"], cond: Any, train: bool, time: Time
    ) -> Float[Array, "B *sites P"]:
        before = shifted(x, time)
        # The places, counted in sites, of each time and of the time before.
        places = self.sites[:, 0] // (self.event.shape[2] if self.mixtures else 1)
        row, column = np.divmod(places.astype(np.int32), len(self.columns))
        here = slice(None) if time is None else time
        h = self.entered(before, jnp.asarray(np.roll(column, 1))[here])
        place = self.rows[jnp.asarray(row)[here]], self.columns[jnp.asarray(column)[here]]
        return self.logits(self.stack(h + jnp.concatenate(place, axis=-1), time, train))

    def entered(
        self, before: Int[Array, "B *sites_V"], column: Int[Array, "*sites"]
    ) -> Float[Array, "B *sites F"]:
        """The values of the site before, which lies in this column of sites; zeros if there is none."""
        values = before[..., None] if self.sites.shape[1] == 1 else before
        if self.mixtures:
            h = self.enter(to_symmetric(values, self.levels))
        else:
            channel = column % self.event.shape[2]
            h = self.symbols(channel * self.levels + jnp.maximum(before, 0))
        return jnp.where(values[..., :1] == NOTHING, 0, h)

    def context(self, site: int) -> Bool[np.ndarray, " sites"]:
        """What the rectangles reach through all layers; a site reads the values of the site before."""
        seen = reach((self.pattern,), self.layers, self.num_sites)[site]
        return np.append(seen[1:], False)

    def check(self) -> None:
        """InputError on sizes that cannot work."""
        require_image(self.event, self.system)
        sizes = (self.layers, self.features, self.heads, self.inner)
        require(
            min(sizes) >= 1 and self.mixtures != 0 and 0 <= self.dropout < 1,
            "image_transformer needs layers, features, heads, inner and mixtures of at least 1, dropout in [0, 1)",
        )
        widths = (
            self.features,
            self.key_features or self.features,
            self.value_features or self.features,
        )
        require(
            all(width % self.heads == 0 for width in widths),
            f"image_transformer has features, key_features and value_features that {self.heads} heads share equally",
        )
        _ = self.head, self.pattern
