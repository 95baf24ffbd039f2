"""PixelCNN: log p(x) = sum_i log p(x_i | x_<i) over pixels in raster order, R then G then B in a pixel.

One stack of masked convolutions, mask A first and mask B after, in residual blocks of 1x1, 3x3, 1x1, and a softmax for
each sub-pixel; it does not see a cone to the upper right (van den Oord, Kalchbrenner and Kavukcuoglu 2016, 1601.06759,
section 3 and table 1).
"""

from typing import ClassVar, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Num

from gen_jax.errors import InputError
from gen_jax.models.autoregressive.base import Autoregressive
from gen_jax.nn.causal_conv import HorizontalConv
from gen_jax.nn.masked_conv import MaskedConv
from gen_jax.nn.once import once
from gen_jax.ops.masks import put_group, take_group
from gen_jax.ops.scaling import to_symmetric
from gen_jax.typing import Dtype


class BlockCache(NamedTuple):
    """The own pixel's stream and hidden features, the 3x3's inputs of the row so far, what the row above gives it."""

    stream: Float[Array, "B two_F"]
    row: Float[Array, "W_padded B F"]
    table: Float[Array, "W B F"]
    hidden: Float[Array, "B F"]


class ResidualBlock(nn.Module):
    """x + W relu(K * relu(V relu(x))), all masked: 2 F to F, 3x3, F to 2 F."""

    features: int
    groups: int
    dtype: Dtype = None

    def setup(self):
        """The three convolutions."""
        F, groups = self.features, self.groups
        self.squeeze = HorizontalConv(F, 1, groups, dtype=self.dtype)
        self.spatial = MaskedConv(F, 3, groups, dtype=self.dtype)
        self.expand = HorizontalConv(2 * F, 1, groups, dtype=self.dtype)

    def __call__(self, x: Float[Array, "B H W two_F"]) -> Float[Array, "B H W two_F"]:
        """All sites at once."""
        hidden = nn.relu(self.squeeze(nn.relu(x)))
        return x + self.expand(nn.relu(self.spatial(hidden)))

    def init_cache(self, width: int, n: int, dtype: jnp.dtype) -> BlockCache:
        """Zeros: what the parallel form pads with."""
        F = self.features
        stream, hidden = jnp.zeros((n, 2 * F), dtype), jnp.zeros((n, F), dtype)
        row, table = (jnp.zeros((w, n, F), dtype) for w in (width + 2, width))
        return BlockCache(stream, row, table, hidden)

    def site(
        self,
        cache: BlockCache,
        x: Float[Array, "B f"],
        column: Int[Array, ""],
        group: Int[Array, ""],
    ) -> tuple[BlockCache, Float[Array, "B f"]]:
        """One group at one pixel."""
        stream = put_group(cache.stream, nn.relu(x), group)
        value = nn.relu(self.squeeze.site(stream[:, None], group))[None].astype(cache.row.dtype)
        row = lax.dynamic_update_slice(cache.row, value, (column + 1, 0, group * value.shape[-1]))
        window = lax.dynamic_slice_in_dim(row, column, self.spatial.columns, axis=0)
        above = lax.dynamic_index_in_dim(cache.table, column, keepdims=False)
        own = self.spatial.site(jnp.swapaxes(window, 0, 1), group)
        hidden = put_group(
            cache.hidden, nn.relu(take_group(above, group, self.groups) + own), group
        )
        cache = cache._replace(stream=stream, row=row, hidden=hidden)
        return cache, x + self.expand.site(hidden[:, None], group)


class Cache(NamedTuple):
    """The padded image, what the first layer's rows above give, the blocks, the head's features of the own pixel."""

    image: Float[Array, "rows_H columns_W B C"]
    table: Float[Array, "W B two_F"]
    blocks: tuple[BlockCache, ...]
    stream: Float[Array, "B two_F"]
    hidden: tuple[Float[Array, "B head_F"], Float[Array, "B head_F"]]


class PixelCNN(Autoregressive):
    """Images (H, W, C) of any number of levels; features (h of the paper) split into C groups, so C divides them."""

    system: ClassVar[str] = "pixel_cnn"

    takes_reals: ClassVar[bool] = True

    depth: int = 15
    features: int = 128
    first_kernel: int = 7
    head_features: int = 1024
    dtype: Dtype = None

    def setup(self):
        """Declare first layer, blocks and head; InputError on sizes that cannot work."""
        if len(self.event.shape) != 3:
            raise InputError(f"pixel_cnn is a model of images (H, W, C), not of {self.event.shape}")
        if self.depth < 0 or self.first_kernel % 2 == 0 or self.first_kernel < 3:
            raise InputError("pixel_cnn needs depth >= 0 and an odd first kernel >= 3")
        F, groups, dtype = self.features, self.groups, self.dtype
        if min(F, self.head_features) < 1 or F % groups or self.head_features % groups:
            raise InputError(
                f"pixel_cnn needs features ({F}) and head_features ({self.head_features}) divisible by the {groups}"
                " channels"
            )
        self.first = MaskedConv(2 * F, self.first_kernel, groups, strict=True, dtype=dtype)
        self.blocks = [ResidualBlock(F, groups, dtype) for _ in range(self.depth)]
        self.hidden = [HorizontalConv(self.head_features, 1, groups, dtype=dtype) for _ in "12"]
        self.logits = HorizontalConv(groups * self.head.size, 1, groups, dtype=dtype)

    @property
    def groups(self) -> int:
        """Channels that see each other in order."""
        return self.event.shape[-1]

    def __call__(
        self,
        x: Num[Array, "B H W C"],
        cond: Int[Array, " B"] | None = None,
        train: bool = False,
    ) -> Float[Array, "B sites P"]:
        """Parameters of every sub-pixel's distribution, all at once."""
        del cond, train  # neither classes nor noise
        h = self.first(to_symmetric(x, self.levels))
        for block in self.blocks:
            h = block(h)
        for layer in self.hidden:
            h = layer(nn.relu(h))
        return self.logits(nn.relu(h)).reshape(x.shape[0], self.num_sites, -1)

    def context(self, site: int) -> Bool[np.ndarray, " sites"]:
        """The blind spot declared: a column to the right costs a block and a row, beyond what the first kernel sees."""
        H, W, C = self.event.shape
        row, column, channel = np.unravel_index(site, (H, W, C))
        side = self.first_kernel // 2
        reach = side + self.depth
        r, c, g = np.indices((H, W, C))
        up, right = row - r, c - column
        by_first = np.maximum(
            1, up - self.depth
        )  # rows that the first kernel climbs, the blocks climb the rest
        above = (up > 0) & (up <= reach) & (right <= side + up - by_first)
        left = (up == 0) & (right < 0)
        own = (up == 0) & (right == 0) & (g < channel)
        return (((above | left) & (right >= -reach)) | own).reshape(-1)

    def init_cache(self, n: int, cond: Array | None = None) -> Cache:
        """Zeros: what the parallel form pads with."""
        del cond  # no classes
        H, W, C = self.event.shape
        side, F = self.first_kernel // 2, self.features
        dtype = jnp.dtype(self.dtype) if self.dtype is not None else jnp.result_type(float)
        hidden = jnp.zeros((n, self.head_features), dtype)
        return Cache(
            image=jnp.zeros((side + H, side + W + side, n, C)),
            table=jnp.zeros((W, n, 2 * F), dtype),
            blocks=tuple(block.init_cache(W, n, dtype) for block in self.blocks),
            stream=jnp.zeros((n, 2 * F), dtype),
            hidden=(hidden, hidden),
        )

    def step(self, cache: Cache, site: Int[Array, ""]) -> tuple[Cache, Float[Array, "B P"]]:
        """One sub-pixel: its group of features only; at the first of a row what the rows above give to all of it."""
        row, column, group = self._place(site)
        side = self.first_kernel // 2

        def turn(model: PixelCNN, tables: list[Array]) -> list[Array]:
            above = lax.dynamic_slice_in_dim(cache.image, row, side)
            new = [model.first.above(*above)]
            pairs = zip(model.blocks, cache.blocks, strict=True)
            new += [block.spatial.above(kept.row) for block, kept in pairs]
            return [table.astype(old.dtype) for table, old in zip(new, tables, strict=True)]

        first, *rest = once(
            turn,
            self,
            (column == 0) & (group == 0),
            [cache.table, *(kept.table for kept in cache.blocks)],
        )
        start = (row + side, column, 0, 0)
        size = (1, self.first.columns, *cache.image.shape[2:])
        window = jnp.swapaxes(lax.dynamic_slice(cache.image, start, size)[0], 0, 1)
        above = lax.dynamic_index_in_dim(first, column, keepdims=False)
        h = take_group(above, group, self.groups) + self.first.site(window, group)
        blocks = []
        for block, kept, table in zip(self.blocks, cache.blocks, rest, strict=True):
            kept, h = block.site(kept._replace(table=table), h, column, group)
            blocks.append(kept)
        stream, hidden = put_group(cache.stream, nn.relu(h), group), []
        features = stream
        for layer, kept in zip(self.hidden, cache.hidden, strict=True):
            features = put_group(kept, nn.relu(layer.site(features[:, None], group)), group)
            hidden.append(features)
        params = self.logits.site(features[:, None], group)
        cache = cache._replace(
            table=first, blocks=tuple(blocks), stream=stream, hidden=(hidden[0], hidden[1])
        )
        return cache, params

    def write(self, cache: Cache, site: Int[Array, ""], value: Int[Array, "B 1"]) -> Cache:
        """Put the scaled value into the padded image."""
        row, column, group = self._place(site)
        side = self.first_kernel // 2
        scaled = to_symmetric(value, self.levels).astype(cache.image.dtype)[None, None]
        start = (row + side, column + side, 0, group)
        return cache._replace(image=lax.dynamic_update_slice(cache.image, scaled, start))

    def _place(self, site):
        _, W, C = self.event.shape
        return site // (W * C), site // C % W, site % C
