"""RealNVP: x = f^-1(z), z ~ N(0, I), f a chain of affine couplings y = x where kept, else x exp(s(kept)) + t(kept).

Each coupling keeps one part of the values and its log-determinant is the sum of s over the rest, whatever networks s
and t are; the next one keeps the rest (Dinh, Sohl-Dickstein and Bengio 2016, 1605.08803, equations 7 to 9).
"""

import functools
import math
from typing import ClassVar

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from gen_jax.check import require
from gen_jax.models.flow.base import DequantizedFlow, Flow
from gen_jax.nn.bijections import AffineCoupling, chain, unchain
from gen_jax.nn.shifted_conv import Project, WeightNorm
from gen_jax.ops import dequantize, masks
from gen_jax.ops.convolution import convolve
from gen_jax.ops.squeeze import squeeze, unsqueeze
from gen_jax.typing import Event, Nats, points

MOMENTUM, EPSILON = 0.99, 1e-5  # of batch normalisation


class MLP(nn.Module):
    """Dense layers under silu."""

    hidden: tuple[int, ...]

    @nn.compact
    def __call__(self, x: Float[Array, "B I"], outputs: int) -> Float[Array, "B outputs"]:
        """One linear map after the last hidden layer."""
        for features in self.hidden:
            x = nn.silu(nn.Dense(features)(x))
        return nn.Dense(outputs, kernel_init=nn.initializers.zeros)(x)


class Conv3x3(WeightNorm):
    """Weight-normalised 3x3 convolution."""

    @nn.compact
    def __call__(self, x: Float[Array, "B H W I"]) -> Float[Array, "B H W O"]:
        same = functools.partial(convolve, padding="SAME")
        x, kernel, bias = self.typed(x, (3, 3), same)
        return same(x, kernel) + bias


class ResNet(nn.Module):
    """Weight-normalised residual blocks of two 3x3 convolutions; their outputs all add to what the last layer reads.

    Dinh et al. 2016, 1605.08803, section 3.7, without batch normalisation inside: weights are initialised by the data.
    """

    features: int
    blocks: int

    @nn.compact
    def __call__(self, x: Float[Array, "B H W I"], outputs: int) -> Float[Array, "B H W outputs"]:
        """Input, its negative and their rectification first, a 1x1 convolution last."""
        x = Conv3x3(self.features)(nn.relu(jnp.concatenate([x, -x], axis=-1)))
        skip = Project(self.features)(x)
        for _ in range(self.blocks):
            h = Conv3x3(self.features)(nn.relu(x))
            x = x + Conv3x3(self.features)(nn.relu(h))
            skip = skip + Project(self.features)(x)
        return Project(outputs, init_scale=0.0)(nn.relu(skip))


class BatchNorm(nn.Module):
    """y = (x - m) / sqrt(v + epsilon) of each channel, and its determinant (Dinh et al. 2016, 1605.08803, section 3.7).

    m and v are those of the batch in training, where the determinant takes them as constants, and running means in
    evaluation, so that this is a bijection of each example. They begin as the statistics of the first batch. Under
    pmap each device has its own batch.
    """

    @nn.compact
    def __call__(
        self, x: Float[Array, "B *event"], train: bool = False
    ) -> tuple[Float[Array, "B *event"], Nats]:
        """y and log |det dy/dx|, in training with new running means."""
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

    def inverse(self, y: Float[Array, "B *event"]) -> Float[Array, "B *event"]:
        """x, by the running means."""
        mean, variance = (self.get_variable("batch_stats", n) for n in ("mean", "variance"))
        return y * jnp.sqrt(variance + EPSILON) + mean


def diagonal_first(channels: int) -> Int[np.ndarray, " four_times_channels"]:
    """The squeezed channels in the order in which half are factored out.

    First those of both diagonal pixels of every block, so that what stays and what leaves are two checkerboards.
    """
    return (4 * np.arange(channels) + np.array([0, 3, 1, 2])[:, None]).ravel()


class RealNVP(Flow):
    """Points: `depth` couplings that keep the even and the odd dimensions in turn, batch normalisation around each."""

    system: ClassVar[str] = "real_nvp"

    event: Event = points()
    depth: int = 8
    hidden: tuple[int, ...] = (64, 64)

    def setup(self):
        """Declare the layers."""
        self.check()
        layers = [BatchNorm()]
        for i in range(self.depth):
            mask = functools.partial(masks.alternating, parity=i % 2)
            layers += [AffineCoupling(mask, MLP(self.hidden)), BatchNorm()]
        self.layers = layers

    def forward(
        self, x: Float[Array, "B D"], train: bool = False
    ) -> tuple[Float[Array, "B D"], Nats]:
        """z and log |det dz/dx|."""
        return chain(self.layers, x, train)

    def inverse(self, z: Float[Array, "B D"]) -> Float[Array, "B D"]:
        """x."""
        return unchain(self.layers, z)

    def check(self) -> None:
        """InputError on events of integers, of several axes or of one dimension."""
        require(
            self.event.levels is None and len(self.event.shape) == 1 and self.event.size >= 2,
            "RealNVP is a density of points of at least 2 dimensions; of images of integers there is ImageRealNVP,"
            f" not of {self.event}",
        )


class ImageRealNVP(DequantizedFlow):
    """Images: couplings of the logits of dequantised values at several scales.

    At each of the `scales` three couplings by checkerboards, a squeeze, three by halves of the channels; then half of
    the values leave as part of z. The last scale has four checkerboards instead. The residual networks have `blocks`
    blocks each and `features` channels, twice as many after each squeeze.
    """

    system: ClassVar[str] = "real_nvp"

    features: int = 64
    blocks: int = 8
    scales: int = 2
    alpha: float = 0.05

    def setup(self):
        """Declare the layers."""
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
        self, x: Float[Array, "B H W C"], train: bool = False
    ) -> tuple[Float[Array, "B D"], Nats]:
        """z, what left first comes first, and log |det dz/dx|; x in [0, levels)."""
        x, log_slope = dequantize.to_logit(x, self.event.num_levels, self.alpha)
        total, parts = jnp.sum(log_slope.reshape(len(x), -1), axis=-1), []
        for scale, layers in enumerate(self.positions):
            x, log_det = chain(layers, x, train)
            total = total + log_det
            if scale < len(self.channels):
                x, log_det = chain(self.channels[scale], squeeze(x), train)
                total = total + log_det
                x, leaving = jnp.split(x[..., diagonal_first(x.shape[-1] // 4)], 2, axis=-1)
                parts.append(leaving.reshape(len(x), -1))
        return jnp.concatenate([*parts, x.reshape(len(x), -1)], axis=-1), total

    def inverse(self, z: Float[Array, "B D"]) -> Float[Array, "B H W C"]:
        """x around [0, levels]."""
        height, width, channels = self.event.shape
        shapes = [(height >> k, width >> k, channels << k) for k in range(self.scales)]
        ends = np.cumsum([math.prod(shape) for shape in shapes[1:]]).tolist()
        *parts, x = jnp.split(z, ends, axis=-1)
        x = x.reshape(-1, *shapes[-1])
        for scale in reversed(range(self.scales)):
            if scale < len(self.channels):
                x = jnp.concatenate([x, parts[scale].reshape(x.shape)], axis=-1)
                x = x[..., np.argsort(diagonal_first(x.shape[-1] // 4))]
                x = unsqueeze(unchain(self.channels[scale], x))
            x = unchain(self.positions[scale], x)
        return dequantize.from_logit(x, self.event.num_levels, self.alpha)

    def check(self) -> None:
        """InputError where the sides do not halve often enough, or alpha is not in (0, 1/2)."""
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
