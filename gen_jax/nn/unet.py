"""The U-net of denoising diffusion: residual blocks that read the time, at halved and again doubled resolutions.

Every tensor of the way down is concatenated on the way up; self-attention at chosen heights and in the middle (Ho, Jain
and Abbeel 2020, 2006.11239, appendix B). The defaults are their network for CIFAR-10, 35.7 M parameters.
"""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Num

from gen_jax.errors import InputError
from gen_jax.nn.conv import Conv
from gen_jax.nn.self_attention import SelfAttention
from gen_jax.nn.time_block import EPSILON, GLOROT, ZEROS, TimeBlock, TimeEmbedding
from gen_jax.typing import Dtype, Event


class UNet(nn.Module):
    """`blocks` residual blocks, and one more on the way up, at each resolution of `features` x its multiplier.

    `attention` names the heights of the images that get self-attention after every block.
    """

    features: int = 128
    multipliers: tuple[int, ...] = (1, 2, 2, 2)
    blocks: int = 2
    attention: tuple[int, ...] = (16,)
    groups: int = 32
    dropout: float = 0.1
    dtype: Dtype = None

    def check(self, event: Event) -> None:
        """InputError on events and features that do not split."""
        factor = 2 ** (len(self.multipliers) - 1)
        if len(event.shape) != 3 or any(side % factor for side in event.shape[:2]):
            raise InputError(
                f"a U-net of {len(self.multipliers)} resolutions needs images whose sides {factor} divides, not"
                f" {event.shape}"
            )
        if self.features % self.groups:
            raise InputError(
                f"network.groups {self.groups} must divide network.features {self.features}"
            )

    @nn.compact
    def __call__(
        self, x: Float[Array, "B H W C"], t: Num[Array, " B"], outputs: int, train: bool = False
    ) -> Float[Array, "B H W outputs"]:
        """`outputs` channels of the same size, zero before training."""
        dtype, last = self.dtype, len(self.multipliers) - 1
        time = TimeEmbedding(self.features, dtype)(t)

        def conv(features, stride=1):
            return Conv(features, (3, 3), stride, dtype=dtype, kernel_init=GLOROT)

        def block(h, features):
            return TimeBlock(features, self.groups, self.dropout, dtype)(h, time, train)

        def attended(h):
            return SelfAttention(self.groups, dtype)(h) if h.shape[1] in self.attention else h

        kept = [conv(self.features)(x)]
        for level, multiplier in enumerate(self.multipliers):
            for _ in range(self.blocks):
                kept.append(attended(block(kept[-1], self.features * multiplier)))
            if level < last:
                kept.append(conv(kept[-1].shape[-1], 2)(kept[-1]))
        h = block(kept[-1], kept[-1].shape[-1])
        h = SelfAttention(self.groups, dtype)(h)
        h = block(h, h.shape[-1])
        for level in range(last, -1, -1):
            for _ in range(self.blocks + 1):
                joined = jnp.concatenate([h, kept.pop()], axis=-1)
                h = attended(block(joined, self.features * self.multipliers[level]))
            if level:
                h = conv(h.shape[-1])(jnp.repeat(jnp.repeat(h, 2, axis=1), 2, axis=2))
        h = nn.silu(nn.GroupNorm(self.groups, epsilon=EPSILON, dtype=dtype)(h))
        return Conv(outputs, (3, 3), dtype=dtype, kernel_init=ZEROS)(h)
