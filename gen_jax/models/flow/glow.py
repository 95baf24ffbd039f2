"""Glow: x = f^-1(z), z ~ N(0, I), where f repeats actnorm, an invertible 1x1 convolution and a coupling at each scale.

A coupling keeps the first half of the channels and maps the others to z_2 = (x_2 + t) s, where t and s = sigmoid(r + 2)
are functions of the first half, so log |det| is the sum of log s; an additive one has s = 1. A bounded one, which is
not in the paper, has s = (1 + sigmoid(r + 2)) / 2: its inverse multiplies by less than 2 and cannot explode on images
unlike the data (after Behrmann et al. 2021, 2006.09347). Each scale begins with a squeeze. At the end of all but the
last, half of the channels leaves, as e = (x_2 - m) / s with mean m and scale s given the other half. So its prior is
learned while e is standard normal. (Kingma and Dhariwal 2018, 1807.03039, sections 3 and 4, and their
github.com/openai/glow, model.py and tfops.py.)
"""

import functools
from collections.abc import Callable
from typing import Any, ClassVar, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Integer

from gen_jax.check import require
from gen_jax.conditions import Cond
from gen_jax.models.flow.base import DequantizedFlow, Flow
from gen_jax.nn import blocks
from gen_jax.nn.bijections import MLP, Actnorm, Invertible1x1, Vector, chain, unchain, way_back
from gen_jax.nn.conv import Dense
from gen_jax.ops import dequantize, gaussian
from gen_jax.ops.convolution import convolve
from gen_jax.ops.squeeze import parts_of, squeeze, unsqueeze
from gen_jax.typing import Event, Nats, PRNGKey, points

RATE = 3.0  # at which the gains of a `ZeroConv` learn, as those of actnorm
WIDTH = 1.0  # of the interval of the values without logits
NARROWEST = 1e-4  # a coupling of a smaller scale loses four of the seven digits of float32
Coupling = Literal["affine", "bounded", "additive"]
Factors = Literal["lu", "matrix"]


class EdgeConv(nn.Module):
    """3x3 convolution, without a bias, of x and a further channel that is 1 in the padding and 0 inside.

    By this channel the layer knows how far the edges are.
    """

    features: int
    kernel_init: nn.initializers.Initializer = nn.initializers.normal(0.05)

    @nn.compact
    def __call__(self, x: Float[Array, "B H W I"]) -> Float[Array, "B H W O"]:
        _, height, width, inputs = x.shape
        kernel = self.param("kernel", self.kernel_init, (3, 3, inputs + 1, self.features))
        inside = jnp.zeros((1, height, width, 1), x.dtype)
        around = jnp.pad(inside, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=1)
        edges = convolve(around, kernel[:, :, inputs:].astype(x.dtype), "VALID")
        return convolve(x, kernel[:, :, :inputs].astype(x.dtype), "SAME") + edges


class Gain(nn.Module):
    """y = (x + b) exp(3 l), b and l from 0."""

    @nn.compact
    def __call__(self, x: Float[Array, "*batch O"]) -> Float[Array, "*batch O"]:
        shift = self.param("shift", nn.initializers.zeros, x.shape[-1:])
        log_scale = self.param("log_scale", nn.initializers.zeros, x.shape[-1:])
        return (x + shift) * jnp.exp(RATE * log_scale)


class ZeroConv(nn.Module):
    """An `EdgeConv` from zero and a `Gain`: the last layer of a network."""

    @nn.compact
    def __call__(self, x: Float[Array, "B H W I"], outputs: int) -> Float[Array, "B H W outputs"]:
        return Gain()(EdgeConv(outputs, nn.initializers.zeros)(x))


class ConvNet(nn.Module):
    """3x3, ReLU, 1x1, ReLU, 3x3, with actnorm after the first two convolutions; the last one starts at zero."""

    width: int

    @nn.compact
    def __call__(self, x: Float[Array, "B H W I"], outputs: int) -> Float[Array, "B H W outputs"]:
        x = nn.relu(Actnorm()(EdgeConv(self.width)(x))[0])
        linear = Dense(self.width, use_bias=False, kernel_init=nn.initializers.normal(0.05))
        x = nn.relu(Actnorm()(linear(x))[0])
        return ZeroConv()(x, outputs)


class HalfCoupling(nn.Module):
    """z_1 = x_1 and z_2 = (x_2 + t) s over the halves of the last axis, where `network` reads x_1."""

    network: Callable[[], nn.Module]
    kind: Coupling = "affine"

    def setup(self):
        self.net = self.network()

    def _parameters(self, kept: Float[Array, "B *half"], moved: int) -> tuple[Array, Array]:
        """t and log s."""
        if self.kind == "additive":
            shift = self.net(kept, moved)
            log_scale = jnp.zeros_like(shift)
        else:
            shift, raw = jnp.split(self.net(kept, 2 * moved), 2, axis=-1)
            log_scale = nn.log_sigmoid(raw + 2)
            if self.kind == "bounded":
                log_scale = jnp.log1p(jnp.exp(log_scale)) - np.log(2)
        self.sow(blocks.COLLECTION, "log_scale", jnp.min(log_scale.reshape(len(kept), -1), axis=1))
        return shift, log_scale

    def __call__(
        self, x: Float[Array, "B *event"], train: bool = False, y: Vector = None
    ) -> tuple[Float[Array, "B *event"], Nats]:
        del train, y  # the same for all
        kept, moved = halves(x)
        shift, log_scale = self._parameters(kept, moved.shape[-1])
        z = jnp.concatenate([kept, (moved + shift) * jnp.exp(log_scale)], axis=-1)
        return z, jnp.sum(log_scale.reshape(len(x), -1), axis=-1)

    def inverse(self, z: Float[Array, "B *event"], y: Vector = None) -> Float[Array, "B *event"]:
        del y  # the same for all
        kept, moved = halves(z)
        shift, log_scale = self._parameters(kept, moved.shape[-1])
        return jnp.concatenate([kept, moved * jnp.exp(-log_scale) - shift], axis=-1)


class Step(nn.Module):
    """Actnorm, an invertible 1x1 and a coupling, as the body of a scan."""

    network: Callable[[], nn.Module]
    kind: Coupling
    factors: Factors

    def setup(self):
        coupling = HalfCoupling(self.network, self.kind)
        self.layers = (Actnorm(), Invertible1x1(self.factors), coupling)

    def __call__(
        self, before: tuple[Float[Array, "B *event"], Nats]
    ) -> tuple[tuple[Float[Array, "B *event"], Nats], None]:
        x, log_det = chain(self.layers, before[0], False)
        return (x, before[1] + log_det), None

    def inverse(self, z: Float[Array, "B *event"]) -> tuple[Float[Array, "B *event"], None]:
        return unchain(self.layers, z), None

    def way(
        self, z: Float[Array, "B *event"]
    ) -> tuple[Float[Array, "B *event"], Float[Array, "B *event"]]:
        """x twice: for the next step, and as one of the states on the way."""
        x = unchain(self.layers, z)
        return x, x


class Steps(nn.Module):
    """`depth` steps of flow, one body under a scan, so their parameters have a leading axis.

    `remat`: only the input of each step is kept for the gradient.
    """

    depth: int
    network: Callable[[], nn.Module]
    kind: Coupling
    factors: Factors
    remat: bool = False

    def setup(self):
        common: dict[str, Any] = {
            "variable_axes": {"params": 0, "constants": 0, blocks.COLLECTION: 0},
            "split_rngs": {"params": True},
            "length": self.depth,
        }
        back = {**common, "reverse": True}
        methods = {"__call__": common, "inverse": back, "way": back}
        again = functools.partial(nn.remat, prevent_cse=False, methods=["__call__"])
        step = nn.scan(again(Step) if self.remat else Step, methods=methods)
        self.scanned = step(self.network, self.kind, self.factors)

    def __call__(
        self, x: Float[Array, "B *event"], train: bool = False, y: Vector = None
    ) -> tuple[Float[Array, "B *event"], Nats]:
        del train, y  # the same for all
        return self.scanned((x, jnp.zeros(len(x), x.dtype)))[0]

    def inverse(self, z: Float[Array, "B *event"], y: Vector = None) -> Float[Array, "B *event"]:
        del y  # the same for all
        return self.scanned.inverse(z)[0]

    def way(self, z: Float[Array, "B *event"]) -> list[Float[Array, "B *event"]]:
        """z, its image under the inverse of the last step, and so on; after the first step it is x."""
        return [z, *reversed(list(self.scanned.way(z)[1]))]


class SplitPrior(nn.Module):
    """z_1 = x_1, and e = (x_2 - m) / s, with mean m and scale s of every value given x_1.

    So N(e; 0, 1) / s is the density of a Gaussian prior p(x_2 | x_1), and a temperature scales e.
    """

    @nn.compact
    def _gaussian(self, kept: Float[Array, "B *half"], moved: int) -> list[Array]:
        """m and log s."""
        return jnp.split(ZeroConv()(kept, 2 * moved), 2, axis=-1)

    def __call__(
        self, x: Float[Array, "B H W C"], train: bool = False, y: Vector = None
    ) -> tuple[Float[Array, "B H W C"], Nats]:
        del train, y  # the same for all
        kept, moved = halves(x)
        noise, log_det = standardised(moved, *self._gaussian(kept, moved.shape[-1]))
        return jnp.concatenate([kept, noise], axis=-1), log_det

    def inverse(self, z: Float[Array, "B H W C"], y: Vector = None) -> Float[Array, "B H W C"]:
        del y  # the same for all
        kept, noise = halves(z)
        mean, log_scale = self._gaussian(kept, noise.shape[-1])
        return jnp.concatenate([kept, gaussian.sample(mean, log_scale, noise)], axis=-1)


class TopPrior(nn.Module):
    """e = (x - m) / s, where m and s depend on the class and, in an image, on how far the edges are.

    The map is a `ZeroConv` of zeros with twice the channels of x, as in the authors' code. The weights of these zeros
    never learn, but they are part of the published number of parameters.
    """

    @nn.compact
    def _gaussian(self, x: Float[Array, "B *event"], y: Vector) -> list[Array]:
        """m and log s."""
        outputs = 2 * x.shape[-1]
        both = jnp.zeros((1, *x.shape[1:-1], outputs), x.dtype)
        if x.ndim == 4:
            both = ZeroConv()(both, outputs)
        if y is not None:
            linear = Dense(outputs, use_bias=False, kernel_init=nn.initializers.zeros)
            of_class = Gain()(linear(y.astype(x.dtype)))
            both = both + of_class.reshape(len(y), *(1,) * (x.ndim - 2), outputs)
        return jnp.split(both, 2, axis=-1)

    def __call__(
        self, x: Float[Array, "B *event"], train: bool = False, y: Vector = None
    ) -> tuple[Float[Array, "B *event"], Nats]:
        del train  # the same map in training and evaluation
        return standardised(x, *self._gaussian(x, y))

    def inverse(self, z: Float[Array, "B *event"], y: Vector = None) -> Float[Array, "B *event"]:
        mean, log_scale = self._gaussian(z, y)
        return gaussian.sample(mean, log_scale, z)


def halves(x: Float[Array, "*batch C"]) -> list[Array]:
    """The first half of the last axis, rounded down, and the rest."""
    return jnp.split(x, [x.shape[-1] // 2], axis=-1)


def standardised(
    x: Float[Array, "B *event"], mean: Float[Array, "..."], log_scale: Float[Array, "..."]
) -> tuple[Float[Array, "B *event"], Nats]:
    """(x - mean) exp(-log_scale) and its log-determinant."""
    log_scale = jnp.broadcast_to(log_scale, x.shape)
    log_det = -jnp.sum(log_scale.reshape(len(x), -1), axis=-1)
    return (x - mean) * jnp.exp(-log_scale), log_det


class PointGlow(Flow):
    """Points: `depth` steps whose networks are dense layers, and a prior whose mean and scale depend on the class."""

    system: ClassVar[str] = "glow"

    event: Event = points()
    depth: int = 8
    hidden: tuple[int, ...] = (64, 64)
    coupling: Coupling = "affine"
    factors: Factors = "lu"
    num_classes: int = 0
    remat: bool = False

    def setup(self):
        self.check()
        network = functools.partial(MLP, self.hidden)
        steps = Steps(self.depth, network, self.coupling, self.factors, self.remat)
        self.layers = [steps, TopPrior()] if self.num_classes else [steps]

    def forward(
        self, x: Float[Array, "B D"], train: bool = False, cond: Cond = None
    ) -> tuple[Float[Array, "B D"], Nats]:
        return chain(self.layers, x, train, self.one_hot(cond))

    def inverse(self, z: Float[Array, "B D"], cond: Cond = None) -> Float[Array, "B D"]:
        return unchain(self.layers, z, self.one_hot(cond))

    def way(self, z: Float[Array, "B D"], cond: Cond = None) -> list[Float[Array, "B D"]]:
        steps, *prior = self.layers
        first = way_back(prior, z, self.one_hot(cond))
        return [*first[:-1], *steps.way(first[-1])]

    def check(self) -> None:
        require(
            self.event.levels is None and len(self.event.shape) == 1 and self.event.size >= 2,
            "PointGlow is a density of points of at least 2 dimensions; of images of integers there is Glow, not of"
            f" {self.event}",
        )
        require(self.depth >= 1, f"depth must be at least 1, not {self.depth}")


class Glow(DequantizedFlow):
    """Images: `scales` times a squeeze, `depth` steps and a prior, by which half of the values leave.

    The networks of the couplings have `width` features. `factors`: the parameters of a 1x1 convolution, its LU factors
    or the matrix itself; the published code has the matrix, whose determinant it computes in float64. Only the prior
    of the last scale depends on the class. Means and scales lie side by side, in the published code in turns. The flow
    is one of x / levels - 1/2, as published, or with `alpha` one of logits, as in RealNVP.
    """

    system: ClassVar[str] = "glow"

    scales: int = 3
    depth: int = 32
    width: int = 512
    coupling: Coupling = "affine"
    factors: Factors = "lu"
    alpha: float | None = None
    num_classes: int = 0
    remat: bool = False

    def setup(self):
        super().setup()
        network = functools.partial(ConvNet, self.width)
        options = (self.depth, network, self.coupling, self.factors, self.remat)
        last = self.scales - 1
        self.parts = [
            (Steps(*options), TopPrior() if scale == last else SplitPrior())
            for scale in range(self.scales)
        ]

    def forward(
        self, x: Float[Array, "B H W C"], train: bool = False, cond: Cond = None
    ) -> tuple[Float[Array, "B D"], Nats]:
        """z, with the values that leave first in front, and log |det dz/dx|; x in [0, levels)."""
        y, leaving = self.one_hot(cond), []
        x, log_slope = dequantize.to_line(x, self.event.num_levels, self.alpha, WIDTH)
        total = jnp.sum(log_slope.reshape(len(x), -1), axis=-1)
        for scale, layers in enumerate(self.parts):
            x, log_det = chain(layers, squeeze(x), train, y)
            total = total + log_det
            if scale < self.scales - 1:
                x, noise = halves(x)
                leaving.append(noise.reshape(len(x), -1))
        return jnp.concatenate([*leaving, x.reshape(len(x), -1)], axis=-1), total

    def inverse(self, z: Float[Array, "B D"], cond: Cond = None) -> Float[Array, "B H W C"]:
        """x, mostly in [0, levels]."""
        y, (height, width, channels) = self.one_hot(cond), self.event.shape
        last = self.scales - 1
        shapes = [
            (height >> scale + 1, width >> scale + 1, channels << scale + 1 + (scale == last))
            for scale in range(self.scales)
        ]
        *parts, x = parts_of(z, shapes)
        for scale in reversed(range(self.scales)):
            if scale < last:
                x = jnp.concatenate([x, parts[scale]], axis=-1)
            x = unsqueeze(unchain(self.parts[scale], x, y))
        return dequantize.from_line(x, self.event.num_levels, self.alpha, WIDTH)

    def measure(
        self, x: Integer[Array, "B *event"], key: PRNGKey, cond: Cond = None
    ) -> dict[str, Array]:
        """The smallest log s of all couplings."""
        module, variables = self.unbind()
        reals, _ = self.dequantized(x, key, cond=cond)
        _, seen = module.apply(
            variables, reals, cond=cond, method="forward", mutable=[blocks.COLLECTION]
        )
        smallest = [leaf.min(axis=0) for leaf in jax.tree.leaves(seen[blocks.COLLECTION])]
        return {"log_scale": functools.reduce(jnp.minimum, smallest)}

    def diagnosis(self, measured: dict[str, np.ndarray]) -> tuple[dict[str, float], dict[str, str]]:
        """`smallest_scale` of a coupling over all examples; a finding if the inverse loses digits by it."""
        smallest = float(np.exp(measured["log_scale"].min()))
        findings = {}
        if smallest < NARROWEST:
            findings["scale"] = (
                f"a coupling scales a value by {smallest:.1e}: its inverse multiplies rounding errors by as much"
            )
        return {"smallest_scale": smallest}, findings

    def check(self) -> None:
        super().check()
        shape, factor = self.event.shape, 2**self.scales
        require(
            self.scales >= 1 and len(shape) == 3 and not any(side % factor for side in shape[:2]),
            f"{self.scales} scales need images whose sides {factor} divides, not {shape}",
        )
        if self.alpha is not None:
            require(0 < self.alpha < 0.5, f"alpha must lie between 0 and 0.5, not {self.alpha}")
        for name in ("depth", "width"):
            value = getattr(self, name)
            require(value >= 1, f"{name} must be at least 1, not {value}")
