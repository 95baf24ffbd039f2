"""TarFlow: x = f^-1(z), z ~ N(0, I), where f is a chain of causal affine maps of an image's patches.

A block maps patch t to z_t = (x_t - b(x_<t)) exp(-a(x_<t)), and z_0 = x_0. A causal transformer reads the patches and
gives b and a, so the log-determinant is minus the sum of all a. The next block takes the patches in reverse order (Zhai
et al. 2024, 2412.06329). f computes all patches at once. Its inverse takes one patch after the other, in each block,
and keeps keys and values of the earlier ones: all steps together do the work of one forward pass.

The paper's guidance and denoising belong to its models of images with Gaussian noise, which have no bits/dim, and are
not here.
"""

import functools
import math
from typing import ClassVar

import flax.linen as nn
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from gen_jax.check import require
from gen_jax.conditions import Cond
from gen_jax.models.flow.base import DequantizedFlow
from gen_jax.nn.at import stepped, zeros_of
from gen_jax.nn.bijections import Vector, chain, unchain
from gen_jax.nn.conv import Dense
from gen_jax.nn.transformer import Block, Initial, Stack, Time
from gen_jax.ops import dequantize, patterns
from gen_jax.ops.convolution import gathered
from gen_jax.ops.squeeze import pixel_blocks, pixels
from gen_jax.typing import Nats

FAN_IN = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")  # of kernels in PyTorch
CODES = nn.initializers.normal(0.01)  # of places and classes
WIDTH = 2.0  # of the interval of the values without logits


class CausalAffine(nn.Module):
    """z_t = (x_t - b(x_<t)) exp(-a(x_<t)), in the order of the patches or from the last to the first.

    h_t = W x_t + p(t) + c(y) enters `layers` blocks of layer norm, attention to 0, ..., t and GELU. A linear map, zero
    at first, gives b and a of patch t + 1.
    """

    patches: int
    layers: int
    features: int
    heads: int
    reverse: bool = False
    dropout: float = 0.0
    remat: bool = False
    num_classes: int = 0

    @nn.compact
    def parameters(
        self, x: Float[Array, "B *L P"], y: Vector = None, train: bool = False, time: Time = None
    ) -> tuple[Float[Array, "B *L P"], Float[Array, "B *L P"]]:
        """b and a of the patch after each, from all patches in their order or from the one at a time."""
        places = gathered(self.param("places", CODES, (self.patches, self.features)))
        h = Dense(self.features, kernel_init=FAN_IN, name="embedding")(x)
        h = h + (places if time is None else places[time])
        if y is not None:
            code = Dense(self.features, use_bias=False, kernel_init=CODES, name="classes")(y)
            h = h + (code[:, None] if time is None else code)
        block = functools.partial(
            Block,
            length=self.patches,
            heads=self.heads,
            inner=4 * self.features,
            activation=functools.partial(nn.gelu, approximate=False),
            dropout=self.dropout,
            initial=Initial(FAN_IN, FAN_IN, FAN_IN, FAN_IN, FAN_IN),
        )
        h = Stack(block, (patterns.Dense(),), self.layers, self.remat, name="stack")(h, time, train)
        linear = Dense(2 * x.shape[-1], kernel_init=nn.initializers.zeros, name="out")
        shift, log_scale = jnp.split(linear(h), 2, axis=-1)
        return shift, log_scale

    def __call__(
        self, x: Float[Array, "B L P"], train: bool = False, y: Vector = None
    ) -> tuple[Float[Array, "B L P"], Nats]:
        """z and log |det dz/dx|, all patches at once."""
        x = self.ordered(x)
        shift, log_scale = map(_after_nothing, self.parameters(x, y, train))
        z = (x - shift) * jnp.exp(-log_scale)
        return self.ordered(z), -jnp.sum(log_scale, axis=(1, 2))

    def inverse(self, z: Float[Array, "B L P"], y: Vector = None) -> Float[Array, "B L P"]:
        """x, patch after patch."""
        module, variables = self.unbind()

        def parameters(memory: dict, patch: Float[Array, "B P"], time: Int[Array, ""]):
            return stepped(module, variables, memory, "parameters", patch, y, at=time)

        def body(carry, inputs):
            memory, (shift, log_scale) = carry
            patch, time = inputs
            patch = patch * jnp.exp(log_scale) + shift
            after, memory = parameters(memory, patch, time)
            return (memory, after), patch

        z = jnp.swapaxes(self.ordered(z), 0, 1)
        times, nothing = jnp.arange(len(z)), jnp.zeros_like(z[0])
        memory = zeros_of(lambda patch, time: parameters({}, patch, time)[1], nothing, times[0])
        _, x = lax.scan(body, (memory, (nothing, nothing)), (z, times))
        return self.ordered(jnp.swapaxes(x, 0, 1))

    def ordered(self, x: Float[Array, "B L P"]) -> Float[Array, "B L P"]:
        """The patches in the order of this block, or back."""
        return x[:, ::-1] if self.reverse else x


class TarFlow(DequantizedFlow):
    """Images: `blocks` causal affine maps of patches of `patch` x `patch` pixels.

    The values that enter are 2 x / levels - 1, or with `alpha` the logits of `dequantize.to_logit`. Each block has
    `layers` layers of `features` features. The classes, if there are any, have a learned vector in each block. `alpha`
    and `dropout` are not the paper's.
    """

    system: ClassVar[str] = "tar_flow"

    patch: int = 2
    blocks: int = 8
    layers: int = 8
    features: int = 768
    heads: int = 12
    alpha: float | None = None
    dropout: float = 0.0
    remat: bool = False
    num_classes: int = 0

    def setup(self):
        super().setup()
        self.maps = [
            CausalAffine(
                patches=math.prod(self.event.shape[:2]) // self.patch**2,
                layers=self.layers,
                features=self.features,
                heads=self.heads,
                reverse=i % 2 == 1,
                dropout=self.dropout,
                remat=self.remat,
                num_classes=self.num_classes,
            )
            for i in range(self.blocks)
        ]

    def forward(
        self, x: Float[Array, "B H W C"], train: bool = False, cond: Cond = None
    ) -> tuple[Float[Array, "B D"], Nats]:
        h, log_slope = dequantize.to_line(x, self.event.num_levels, self.alpha, WIDTH)
        h = pixel_blocks(h, self.patch)
        patches = h.reshape(len(x), -1, h.shape[-1])
        z, log_det = chain(self.maps, patches, train, self.one_hot(cond))
        return z.reshape(len(x), -1), log_det + jnp.sum(log_slope.reshape(len(x), -1), axis=-1)

    def inverse(self, z: Float[Array, "B D"], cond: Cond = None) -> Float[Array, "B H W C"]:
        height, width, channels = self.event.shape
        side = self.patch
        patches = z.reshape(len(z), -1, side**2 * channels)
        patches = unchain(self.maps, patches, self.one_hot(cond))
        h = pixels(patches.reshape(len(z), height // side, width // side, -1), side)
        return dequantize.from_line(h, self.event.num_levels, self.alpha, WIDTH)

    def check(self) -> None:
        super().check()
        shape = self.event.shape
        require(
            len(shape) == 3
            and self.patch >= 1
            and not any(side % self.patch for side in shape[:2]),
            f"TarFlow needs images whose sides the side {self.patch} of its patches divides, not {shape}",
        )
        require(
            math.prod(shape[:2]) > self.patch**2,
            f"patches of side {self.patch} leave a single patch of {shape}: it would never change",
        )
        require(
            min(self.blocks, self.layers, self.heads) >= 1 and 0 <= self.dropout < 1,
            "TarFlow needs blocks, layers and heads of at least 1, dropout in [0, 1)",
        )
        require(
            self.alpha is None or 0 < self.alpha < 0.5,
            f"alpha must lie between 0 and 0.5, not {self.alpha}",
        )
        require(
            self.features >= 1 and self.features % self.heads == 0,
            f"TarFlow needs features that {self.heads} heads share equally, not {self.features}",
        )


def _after_nothing(x: Float[Array, "B L P"]) -> Float[Array, "B L P"]:
    """Each patch's successor gets its entry; the first patch gets zeros."""
    return jnp.pad(x, ((0, 0), (1, 0), (0, 0)))[:, :-1]
