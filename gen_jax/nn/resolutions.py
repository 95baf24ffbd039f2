"""The U of PixelCNN++: blocks on the way down, everything coarser, blocks on the way up with the tensors passed.

One module is one resolution and holds the next coarser one. Strided shifted convolutions lead down and transposed ones
up; a coarse site (r, c) exists from the fine site (2 r, 2 c) on (Salimans et al. 2017, 1701.05517, figure 2).
"""

from typing import NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from gen_jax.nn.gated_resnet import BlockCache, GatedBlock, pad_row, put_column, take_column
from gen_jax.nn.once import once
from gen_jax.nn.shifted_conv import ShiftedConv, Upsample
from gen_jax.typing import Dtype


class Bridge(NamedTuple):
    """Between a resolution and the coarser one: what goes down (last row of u, row so far of v), what came up."""

    u: Float[Array, "W_u B F"] | None
    v: Float[Array, "W_v B F"]
    table: Float[Array, "W_coarse B F"]
    up_u: Float[Array, "2 W B F"] | None
    up_v: Float[Array, "W_coarse B four_F"]


class ResolutionCache(NamedTuple):
    """Caches of the blocks, of the bridge and of the coarser resolutions."""

    down: tuple[BlockCache, ...]
    up: tuple[BlockCache, ...]
    bridge: Bridge | None
    coarser: "ResolutionCache | None"


class Resolution(nn.Module):
    """(u, v) to (u, v) of the same size, through `resolutions` - 1 coarser ones; without `upper` u is None."""

    features: int
    resnets: int
    resolutions: int
    upper: bool = True
    skips: bool = True
    num_classes: int = 0
    dropout: float = 0.0
    dtype: Dtype = None

    @property
    def last(self) -> bool:
        """There is nothing coarser."""
        return self.resolutions == 1

    def setup(self):
        """Blocks of the ways down and up, one more on the way up where tensors come from below."""
        options = {
            "upper": self.upper,
            "num_classes": self.num_classes,
            "dropout": self.dropout,
            "dtype": self.dtype,
        }
        self.down = [GatedBlock(self.features, **options) for _ in range(self.resnets)]
        self.up = [
            GatedBlock(self.features, skips=self.skips, **options)
            for _ in range(self.resnets + (not self.last))
        ]
        if not self.last:
            strided = {"height": 2, "left": 1, "stride": 2, "dtype": self.dtype}
            self.down_v = ShiftedConv(self.features, width=2, **strided)
            self.up_v = Upsample(self.features, width=2, dtype=self.dtype)
            if self.upper:
                self.down_u = ShiftedConv(self.features, width=3, **strided)
                self.up_u = Upsample(self.features, width=3, dtype=self.dtype)
            self.coarser = Resolution(
                self.features, self.resnets, self.resolutions - 1, skips=self.skips, **options
            )

    def __call__(
        self,
        u: Float[Array, "B H W F"] | None,
        v: Float[Array, "B H W F"],
        cond: Int[Array, " B"] | None = None,
        train: bool = False,
    ) -> tuple[Float[Array, "B H W F"] | None, Float[Array, "B H W F"]]:
        """All sites at once."""
        passed = [(u, v)]
        for block in self.down:
            u, v = block(u, v, None, cond, train)
            passed.append((u, v))
        if self.last:
            passed.pop()
        else:
            low = None if u is None else self.down_u(u)
            low, v = self.coarser(low, self.down_v(v), cond, train)
            u, v = None if low is None else self.up_u(low), self.up_v(v)
        for block in self.up:
            u, v = block(u, v, passed.pop() if self.skips else None, cond, train)
        return u, v

    def init_cache(self, width: int, n: int, dtype: jnp.dtype) -> ResolutionCache:
        """Zeros: what the parallel form pads with."""
        down = tuple(block.init_cache(width, n, dtype) for block in self.down)
        up = tuple(block.init_cache(width, n, dtype) for block in self.up)
        if self.last:
            return ResolutionCache(down, up, None, None)

        def zeros(*shape: int) -> Array:
            return jnp.zeros((*shape[:-1], n, shape[-1]), dtype)

        F = self.features
        bridge = Bridge(
            u=zeros(width + 2, F) if self.upper else None,
            v=zeros(width + 1, F),
            table=zeros(width // 2, F),
            up_u=zeros(2, width, F) if self.upper else None,
            up_v=zeros(width // 2, 4 * F),
        )
        return ResolutionCache(down, up, bridge, self.coarser.init_cache(width // 2, n, dtype))

    def begin_row(
        self,
        cache: ResolutionCache,
        u: Float[Array, "W B F"] | None,
        row: Int[Array, ""],
        cond: Int[Array, " B"] | None,
    ) -> tuple[ResolutionCache, Float[Array, "W B F"] | None]:
        """The row of u, and what rows above and u give to v; every second row the same at the coarser resolutions."""
        passed, down = [u], []
        for block, kept in zip(self.down, cache.down, strict=True):
            kept, u = block.begin_row(kept, u, None, cond)
            down.append(kept)
            passed.append(u)
        bridge, coarser = cache.bridge, cache.coarser
        if bridge is None:
            passed.pop()
        else:
            bottom = None if u is None else pad_row(u, bridge.v)

            def turn(module: Resolution, state: tuple) -> tuple:
                bridge, coarser = state
                low = None if bottom is None else module.down_u.above(bridge.u, bottom)
                coarser, low = module.coarser.begin_row(coarser, low, row // 2, cond)
                table = module.down_v.above(bridge.v).astype(bridge.table.dtype)
                if low is not None:
                    phases = module.up_u.phases(jnp.swapaxes(low, 0, 1))
                    rows = jnp.transpose(phases, (2, 1, 3, 0, 4)).reshape(bridge.up_u.shape)
                    bridge = bridge._replace(up_u=rows.astype(bridge.up_u.dtype))
                return bridge._replace(table=table), coarser

            bridge, coarser = once(turn, self, row % 2 == 0, (bridge, coarser))
            if bottom is not None:
                bridge = bridge._replace(u=bottom)
                u = lax.dynamic_index_in_dim(bridge.up_u, row % 2, keepdims=False)
        up = []
        for block, kept in zip(self.up, cache.up, strict=True):
            kept, u = block.begin_row(kept, u, passed.pop() if self.skips else None, cond)
            up.append(kept)
        return ResolutionCache(tuple(down), tuple(up), bridge, coarser), u

    def site(
        self,
        cache: ResolutionCache,
        v: Float[Array, "B F"],
        row: Int[Array, ""],
        column: Int[Array, ""],
    ) -> tuple[ResolutionCache, Float[Array, "B F"]]:
        """v at one site; at even rows and columns the same at the coarser resolutions."""
        passed, down = [v], []
        for block, kept in zip(self.down, cache.down, strict=True):
            kept, v = block.site(kept, v, None, column)
            down.append(kept)
            passed.append(v)
        bridge, coarser = cache.bridge, cache.coarser
        if bridge is None:
            passed.pop()
        else:
            so_far, window = put_column(bridge.v, v, column)
            table = bridge.table

            def turn(module: Resolution, state: tuple) -> tuple:
                up_v, coarser = state
                low = module.down_v.site(window) + take_column(table, column // 2)
                coarser, low = module.coarser.site(coarser, low, row // 2, column // 2)
                phases = module.up_v.phases(low[:, None]).reshape(1, *up_v.shape[1:])
                start = (column // 2, 0, 0)
                return lax.dynamic_update_slice(up_v, phases.astype(up_v.dtype), start), coarser

            even = (row % 2 == 0) & (column % 2 == 0)
            up_v, coarser = once(turn, self, even, (bridge.up_v, coarser))
            bridge = bridge._replace(v=so_far, up_v=up_v)
            phase = (2 * (row % 2) + column % 2) * self.features
            v = take_column(up_v, column // 2)
            v = lax.dynamic_slice_in_dim(v, phase, self.features, axis=-1)
        up = []
        for block, kept in zip(self.up, cache.up, strict=True):
            kept, v = block.site(kept, v, passed.pop() if self.skips else None, column)
            up.append(kept)
        return ResolutionCache(tuple(down), tuple(up), bridge, coarser), v
