"""PixelSNAIL: log p(x) = sum_i log p(x_i | x_<i) over pixels in raster order, each pixel a mixture of logistics.

One stream of shifted convolutions that sees what is near, and between its residual networks strictly causal attention
that sees every earlier pixel, h' = merge(h, softmax_{j<i}(q_i . k_j) v_j) (Chen, Mishra, Rohaninejad and Abbeel 2017,
1712.09763; layers as in their code).
"""

from typing import Any, ClassVar, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Num

from gen_jax.errors import InputError
from gen_jax.models.pixelwise import Pixelwise
from gen_jax.nn.once import once
from gen_jax.nn.shifted_conv import Project
from gen_jax.nn.snail_block import SnailBlock, SnailCache
from gen_jax.ops.scaling import to_symmetric


class Cache(NamedTuple):
    """The padded image with its channel of ones, what the blocks keep, the classes."""

    image: Float[Array, "rows_H columns_W B C_and_1"]
    blocks: tuple[SnailCache, ...]
    cond: Any


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
        if min(self.blocks, self.resnets, self.key_size) < 1 or self.features < 2:
            raise InputError("pixel_snail needs blocks, resnets and key_size >= 1, features >= 2")
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

    @property
    def coordinates(self) -> Float[np.ndarray, "H W 2"]:
        """Row and column of every pixel from -1/2 up to below 1/2."""
        H, W, _ = self.event.shape
        rows, columns = np.arange(H) / H - 0.5, np.arange(W) / W - 0.5
        return np.stack(np.meshgrid(rows, columns, indexing="ij"), axis=-1)

    def __call__(
        self,
        x: Num[Array, "B H W C"],
        cond: Int[Array, " B"] | None = None,
        train: bool = False,
    ) -> Float[Array, "B sites P"]:
        """Parameters of every pixel's distribution, all at once."""
        image = self.with_ones(x)
        place = jnp.broadcast_to(jnp.asarray(self.coordinates, image.dtype), (*image.shape[:3], 2))
        v = self.first(image)
        for block in self.stack:
            v = block(v, image[..., :-1], place, cond, train)
        return self.out(nn.elu(v)).reshape(x.shape[0], self.num_sites, -1)

    def init_cache(self, n: int, cond: Int[Array, " B"] | None = None) -> Cache:
        """Zeros: what the parallel form pads with; ones in the last channel of the image."""
        H, W, _ = self.event.shape
        blocks = (block.init_cache(H, W, n, self.cache_dtype) for block in self.stack)
        return Cache(self.empty_image(n), tuple(blocks), cond)

    def step(self, cache: Cache, site: Int[Array, ""]) -> tuple[Cache, Float[Array, "B P"]]:
        """One pixel; at the first of a row also what the row's sites owe to the row above."""
        row, column = self.place(site)

        def turn(model: PixelSNAIL, kept: tuple) -> tuple:
            pairs = zip(model.stack, kept, strict=True)
            return tuple(block.begin_row(one, cache.cond) for block, one in pairs)

        rows = once(turn, self, column == 0, tuple(block.resnets for block in cache.blocks))
        v, place, blocks = self.first_site(cache.image, row, column), self._place(cache, site), []
        for block, kept, resnets in zip(self.stack, cache.blocks, rows, strict=True):
            kept, v = block.site(kept._replace(resnets=resnets), v, place, site, column)
            blocks.append(kept)
        return cache._replace(blocks=tuple(blocks)), self.out(nn.elu(v))

    def write(self, cache: Cache, site: Int[Array, ""], value: Int[Array, "B C"]) -> Cache:
        """Put the scaled values into the padded image, and the site's keys and values into the blocks."""
        scaled, place = to_symmetric(value, self.levels), self._place(cache, site)
        pairs = zip(self.stack, cache.blocks, strict=True)
        blocks = tuple(block.write(kept, scaled, place, site) for block, kept in pairs)
        return cache._replace(image=self.put_pixel(cache.image, site, scaled), blocks=blocks)

    def _place(self, cache: Cache, site: Int[Array, ""]) -> Float[Array, "B 2"]:
        """The coordinates of a site, once for every event."""
        image = cache.image
        places = jnp.asarray(self.coordinates.reshape(-1, 2), image.dtype)
        return jnp.broadcast_to(places[site], (image.shape[2], 2))
