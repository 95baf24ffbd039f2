"""RealNVP: x = f^-1(z), z ~ N(0, I), where f is a chain of affine couplings.

A coupling keeps one part a of the values and maps the other part b to b exp(s(a)) + t(a). Its log-determinant is the
sum of s(a), for any networks s and t. The next coupling keeps the other part (Dinh, Sohl-Dickstein and Bengio 2016,
1605.08803, equations 7 to 9).
"""

import functools
import math
from typing import ClassVar

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from gen_jax.check import require
from gen_jax.conditions import Cond
from gen_jax.models.flow.base import DequantizedFlow, Flow
from gen_jax.nn.bijections import MLP, AffineCoupling, Vector, chain, unchain, way_back
from gen_jax.nn.conv import Dense
from gen_jax.nn.shifted_conv import Project, WeightNorm
from gen_jax.ops import dequantize, masks
from gen_jax.ops.convolution import convolve
from gen_jax.ops.squeeze import parts_of, squeeze, unsqueeze
from gen_jax.typing import Event, Nats, points

MOMENTUM, EPSILON = 0.99, 1e-5  # of batch normalisation
LABEL_INIT = nn.initializers.normal(0.05)


class Conv3x3(WeightNorm):
    """Weight-normalised 3x3 convolution."""

    @nn.compact
    def __call__(self, x: Float[Array, "B H W I"]) -> Float[Array, "B H W O"]:
        same = functools.partial(convolve, padding="SAME")
        x, kernel, bias = self.typed(x, (3, 3), same)
        return same(x, kernel) + bias


class ResNet(nn.Module):
    """Weight-normalised residual blocks of two 3x3 convolutions, with a skip connection from each to the last layer.

    (Dinh et al. 2016, section 3.7, without the batch normalisation inside: the first batch sets the scales.) A vector y
    is added to the first layer through a linear map.
    """

    features: int
    blocks: int

    @nn.compact
    def __call__(
        self, x: Float[Array, "B H W I"], outputs: int, y: Vector = None
    ) -> Float[Array, "B H W outputs"]:
        x = Conv3x3(self.features)(nn.relu(jnp.concatenate([x, -x], axis=-1)))
        if y is not None:
            linear = Dense(self.features, use_bias=False, kernel_init=LABEL_INIT)
            x = x + linear(y.astype(x.dtype))[:, None, None]
        skip = Project(self.features)(x)
        for _ in range(self.blocks):
            h = Conv3x3(self.features)(nn.relu(x))
            x = x + Conv3x3(self.features)(nn.relu(h))
            skip = skip + Project(self.features)(x)
        return Project(outputs, init_scale=0.0)(nn.relu(skip))


class BatchNorm(nn.Module):
    """z = (x - m) / sqrt(v + epsilon) for each channel, with its determinant (Dinh et al. 2016, section 3.7).

    In training m and v are the mean and variance of the batch, and the determinant treats them as constants. In
    evaluation they are running means, so each example is mapped by a bijection. The running means start with those of
    the first batch. Under pmap each device uses its part of the batch.
    """

    @nn.compact
    def __call__(
        self, x: Float[Array, "B *event"], train: bool = False, y: Vector = None
    ) -> tuple[Float[Array, "B *event"], Nats]:
        """z and log |det dz/dx|; in training the running means move."""
        del y  # the same statistics for all
        axes = tuple(range(x.ndim - 1))
        batch = {"mean": jnp.mean(x, axes), "variance": jnp.var(x, axes)}
        running = {
            name: self.variable("batch_stats", name, lambda value=value: value)
            for name, value in batch.items()
        }
        if not train:
            batch = {name: variable.value for name, variable in running.items()}
        elif not self.is_initializing():
            for name, variable in running.items():
                variable.value += (1 - MOMENTUM) * (batch[name] - variable.value)
        variance = batch["variance"] + EPSILON
        log_det = -0.5 * (x[0].size // x.shape[-1]) * jnp.sum(jnp.log(variance))
        return (x - batch["mean"]) / jnp.sqrt(variance), jnp.broadcast_to(log_det, len(x))

    def inverse(self, z: Float[Array, "B *event"], y: Vector = None) -> Float[Array, "B *event"]:
        """x, with the running means."""
        del y  # the same statistics for all
        mean, variance = (self.get_variable("batch_stats", n) for n in ("mean", "variance"))
        return z * jnp.sqrt(variance + EPSILON) + mean


def diagonal_first(channels: int) -> Int[np.ndarray, " four_times_channels"]:
    """An order of squeezed channels: the first half stays, the second half is factored out.

    First come the two diagonal pixels of every 2x2 block, so that each half is a checkerboard.
    """
    return (4 * np.arange(channels) + np.array([0, 3, 1, 2])[:, None]).ravel()


class RealNVP(Flow):
    """Points: `depth` couplings keep even and odd dimensions in turn; batch normalisation before and after each.

    The networks of all couplings also read the class, if there are classes.
    """

    system: ClassVar[str] = "real_nvp"

    event: Event = points()
    depth: int = 8
    hidden: tuple[int, ...] = (64, 64)
    num_classes: int = 0

    def setup(self):
        self.check()
        layers = [BatchNorm()]
        for i in range(self.depth):
            mask = functools.partial(masks.alternating, parity=i % 2)
            layers += [AffineCoupling(mask, MLP(self.hidden)), BatchNorm()]
        self.layers = layers

    def forward(
        self, x: Float[Array, "B D"], train: bool = False, cond: Cond = None
    ) -> tuple[Float[Array, "B D"], Nats]:
        return chain(self.layers, x, train, self.one_hot(cond))

    def inverse(self, z: Float[Array, "B D"], cond: Cond = None) -> Float[Array, "B D"]:
        return unchain(self.layers, z, self.one_hot(cond))

    def way(self, z: Float[Array, "B D"], cond: Cond = None) -> list[Float[Array, "B D"]]:
        return way_back(self.layers, z, self.one_hot(cond))

    def check(self) -> None:
        require(
            self.event.levels is None and len(self.event.shape) == 1 and self.event.size >= 2,
            "RealNVP is a density of points of at least 2 dimensions; of images of integers there is ImageRealNVP,"
            f" not of {self.event}",
        )


class ImageRealNVP(DequantizedFlow):
    """Images: couplings of the logits of dequantised values, at several scales.

    Each of the `scales` has three couplings with checkerboard masks, a squeeze, and three couplings that keep half of
    the channels; then half of the values are factored out, as part of z. The last scale has four checkerboards only.
    Each residual network has `blocks` blocks and `features` channels, twice as many after each squeeze, and also reads
    the class, if there are classes.
    """

    system: ClassVar[str] = "real_nvp"

    features: int = 64
    blocks: int = 8
    scales: int = 2
    alpha: float = 0.05
    num_classes: int = 0

    def setup(self):
        super().setup()
        last = self.scales - 1
        self.positions = [
            self._couplings(masks.checkerboard, 4 if scale == last else 3, scale)
            for scale in range(self.scales)
        ]
        self.channels = [self._couplings(masks.channel_half, 3, scale + 1) for scale in range(last)]

    def _couplings(self, pattern, count: int, doublings: int) -> list:
        layers, features = [], self.features * 2**doublings
        for i in range(count):
            mask = functools.partial(pattern, parity=i % 2)
            layers += [AffineCoupling(mask, ResNet(features, self.blocks)), BatchNorm()]
        return layers

    def forward(
        self, x: Float[Array, "B H W C"], train: bool = False, cond: Cond = None
    ) -> tuple[Float[Array, "B D"], Nats]:
        """z, with the values factored out first in front, and log |det dz/dx|; x in [0, levels)."""
        y = self.one_hot(cond)
        x, log_slope = dequantize.to_logit(x, self.event.num_levels, self.alpha)
        total, parts = jnp.sum(log_slope.reshape(len(x), -1), axis=-1), []
        for scale, layers in enumerate(self.positions):
            x, log_det = chain(layers, x, train, y)
            total = total + log_det
            if scale < len(self.channels):
                x, log_det = chain(self.channels[scale], squeeze(x), train, y)
                total = total + log_det
                x, part = jnp.split(x[..., diagonal_first(x.shape[-1] // 4)], 2, axis=-1)
                parts.append(part.reshape(len(x), -1))
        return jnp.concatenate([*parts, x.reshape(len(x), -1)], axis=-1), total

    def inverse(self, z: Float[Array, "B D"], cond: Cond = None) -> Float[Array, "B H W C"]:
        """x, mostly in [0, levels]."""
        y = self.one_hot(cond)
        height, width, channels = self.event.shape
        shapes = [(height >> k, width >> k, channels << k) for k in range(self.scales)]
        *parts, x = parts_of(z, [*shapes[1:], shapes[-1]])
        for scale in reversed(range(self.scales)):
            if scale < len(self.channels):
                x = jnp.concatenate([x, parts[scale]], axis=-1)
                x = x[..., np.argsort(diagonal_first(x.shape[-1] // 4))]
                x = unsqueeze(unchain(self.channels[scale], x, y))
            x = unchain(self.positions[scale], x, y)
        return dequantize.from_logit(x, self.event.num_levels, self.alpha)

    def check(self) -> None:
        super().check()
        shape, factor = self.event.shape, 2 ** (self.scales - 1)
        require(
            self.scales >= 1 and len(shape) == 3 and not any(side % factor for side in shape[:2]),
            f"{self.scales} scales need images whose sides {factor} divides, not {shape}",
        )
        require(
            math.prod(shape[:2]) // factor**2 >= 2,
            f"{self.scales} scales leave a single pixel of {shape}",
        )
        require(0 < self.alpha < 0.5, f"alpha must lie between 0 and 0.5, not {self.alpha}")
