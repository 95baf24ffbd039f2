"""The U-net of denoising diffusion: residual blocks that read the time t, at resolutions halved and doubled again.

A block is y = x + conv(drop(silu(norm(h)))), h = conv(silu(norm(x))) + W silu(time). Every output on the way down is
concatenated to an input on the way up. There is self-attention at chosen heights and in the middle (Ho, Jain and Abbeel
2020, 2006.11239, appendix B; sizes and initialisation as in their code). The defaults are their network for CIFAR-10,
35.7 M parameters.
"""

from functools import partial
from itertools import groupby

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Num

from gen_jax.check import require
from gen_jax.nn.conv import Conv, Dense
from gen_jax.nn.repeated import repeated, through
from gen_jax.ops.attention import full_attention
from gen_jax.ops.sinusoidal import sinusoidal
from gen_jax.typing import Dtype, Event

GLOROT, ZEROS = nn.initializers.glorot_uniform(), nn.initializers.zeros
EPSILON = 1e-6  # added to a group's variance


class TimeEmbedding(nn.Module):
    """Sinusoids of t, then two dense layers of 4 x `features`."""

    features: int
    dtype: Dtype = None

    @nn.compact
    def __call__(self, t: Num[Array, " B"]) -> Float[Array, "B F"]:
        h = sinusoidal(t, self.features)
        h = Dense(4 * self.features, dtype=self.dtype, kernel_init=GLOROT)(h)
        return Dense(4 * self.features, dtype=self.dtype, kernel_init=GLOROT)(nn.silu(h))


class TimeBlock(nn.Module):
    """Two 3x3 convolutions to `features`, the second initially zero; if x has other features it passes a 1x1 map.

    `zero_time`: the map of the time has no bias and is initially zero.
    """

    features: int
    groups: int = 32
    dropout: float = 0.0
    dtype: Dtype = None
    zero_time: bool = False

    @nn.compact
    def __call__(
        self, x: Float[Array, "B H W I"], time: Float[Array, "B T"], train: bool = False
    ) -> Float[Array, "B H W F"]:
        F, dtype = self.features, self.dtype
        h = nn.silu(nn.GroupNorm(self.groups, epsilon=EPSILON, dtype=dtype)(x))
        h = Conv(F, (3, 3), dtype=dtype, kernel_init=GLOROT)(h)
        initial = ZEROS if self.zero_time else GLOROT
        of_time = Dense(F, use_bias=not self.zero_time, dtype=dtype, kernel_init=initial)
        h = h + of_time(nn.silu(time))[:, None, None]
        h = nn.silu(nn.GroupNorm(self.groups, epsilon=EPSILON, dtype=dtype)(h))
        h = nn.Dropout(self.dropout)(h, deterministic=not train)
        h = Conv(F, (3, 3), dtype=dtype, kernel_init=ZEROS)(h)
        if x.shape[-1] != F:
            x = Dense(F, dtype=dtype, kernel_init=GLOROT)(x)
        return x + h


class SelfAttention(nn.Module):
    """y = x + W attention(x) over all sites of an image, with one head; W is initially zero."""

    groups: int = 32
    dtype: Dtype = None

    @nn.compact
    def __call__(self, x: Float[Array, "B H W F"]) -> Float[Array, "B H W F"]:
        F, dtype = x.shape[-1], self.dtype
        h = nn.GroupNorm(self.groups, epsilon=EPSILON, dtype=dtype)(x).reshape(x.shape[0], -1, F)
        query, key, value = (
            Dense(F, dtype=dtype, kernel_init=GLOROT, name=name)(h)
            for name in ("query", "key", "value")
        )
        mean = full_attention(query, key, value).reshape(x.shape)
        return x + Dense(F, dtype=dtype, kernel_init=ZEROS, name="out")(mean)


class UNet(nn.Module):
    """At each resolution `blocks` residual blocks down and `blocks` + 1 up, with `features` x its multiplier channels.

    `attention`: heights of the images with self-attention after every block. A vector y is added to the embedding of
    the time through a linear map. `zero_time`: as in `TimeBlock`. `scan`: neighbours with equal features and no
    attention are compiled as one, and their parameters stacked; `remat`: only their inputs are kept for the gradient.
    """

    features: int = 128
    multipliers: tuple[int, ...] = (1, 2, 2, 2)
    blocks: int = 2
    attention: tuple[int, ...] = (16,)
    groups: int = 32
    dropout: float = 0.1
    dtype: Dtype = None
    zero_time: bool = False
    scan: bool = False
    remat: bool = False

    def check(self, event: Event) -> None:
        factor = 2 ** (len(self.multipliers) - 1)
        require(
            len(event.shape) == 3 and not any(side % factor for side in event.shape[:2]),
            f"a U-net of {len(self.multipliers)} resolutions needs images whose sides {factor} divides, not"
            f" {event.shape}",
        )
        require(
            self.features % self.groups == 0,
            f"network.groups {self.groups} must divide network.features {self.features}",
        )

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "B H W C"],
        t: Num[Array, " B"],
        outputs: int,
        train: bool = False,
        y: Float[Array, "B K"] | None = None,
    ) -> Float[Array, "B H W outputs"]:
        """An image of the same size with `outputs` channels, initially zero."""
        dtype, last = self.dtype, len(self.multipliers) - 1
        time = TimeEmbedding(self.features, dtype)(t)
        if y is not None:
            linear = Dense(4 * self.features, use_bias=False, dtype=dtype, kernel_init=GLOROT)
            time = time + linear(y)

        def conv(features, stride=1):
            return Conv(features, (3, 3), stride, dtype=dtype, kernel_init=GLOROT)

        def block(features):
            return TimeBlock(features, self.groups, self.dropout, dtype, self.zero_time)

        def one(block, h, maps):
            h = block(jnp.concatenate([h, *maps], axis=-1) if maps else h, time, train)
            return h, h

        def attention(layer, h):
            return layer(h)

        def attended(h):
            layer = SelfAttention(self.groups, dtype)
            return (nn.remat(attention) if self.remat else attention)(layer, h)

        def blocks(h, features, passed):
            """What each block of a resolution gives, the first from h; each also reads its entry of `passed`."""
            attends, outputs = h.shape[1] in self.attention, []
            widths = [h.shape[-1], *[features] * (len(passed) - 1)]
            alike = [
                (w, *(m.shape[-1] for m in maps)) for w, maps in zip(widths, passed, strict=True)
            ]
            alone = attends or not self.scan
            for _, run in groupby(range(len(passed)), lambda i: i if alone else alike[i]):
                read = [passed[i] for i in run]
                made = repeated(partial(block, features), len(read), scan=len(read) > 1)
                h, new = through(made, len(read), one, h, read, remat=self.remat)
                h = attended(h) if attends else h
                outputs += [h] if attends else [*new]
            return outputs

        maps = [conv(self.features)(x)]
        for level, multiplier in enumerate(self.multipliers):
            maps += blocks(maps[-1], self.features * multiplier, [()] * self.blocks)
            if level < last:
                maps.append(conv(maps[-1].shape[-1], 2)(maps[-1]))
        h = maps[-1]
        h, _ = through([block(h.shape[-1])], 1, one, h, [()], remat=self.remat)
        h = attended(h)
        h, _ = through([block(h.shape[-1])], 1, one, h, [()], remat=self.remat)
        for level in range(last, -1, -1):
            passed = [(maps.pop(),) for _ in range(self.blocks + 1)]
            h = blocks(h, self.features * self.multipliers[level], passed)[-1]
            if level:
                h = conv(h.shape[-1])(jnp.repeat(jnp.repeat(h, 2, axis=1), 2, axis=2))
        h = nn.silu(nn.GroupNorm(self.groups, epsilon=EPSILON, dtype=dtype)(h))
        return Conv(outputs, (3, 3), dtype=dtype, kernel_init=ZEROS)(h)
