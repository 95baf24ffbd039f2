"""Bijections as layers: `__call__` gives z and log |det dz/dx|, `inverse` gives x; both may be given y.

y is a vector for each example or, where a layer says so, a map of as many places as x.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from gen_jax.nn.conv import Dense
from gen_jax.ops import lu
from gen_jax.ops.convolution import dense, gathered
from gen_jax.ops.coupling import affine_coupling, inverse_affine_coupling
from gen_jax.typing import Nats

Vector = Float[Array, "B K"] | None
VectorOrMap = Float[Array, "B *places K"] | None


class MLP(nn.Module):
    """Dense layers with silu over x and y side by side, and a linear map to the outputs."""

    hidden: tuple[int, ...]

    @nn.compact
    def __call__(
        self, x: Float[Array, "B I"], outputs: int, y: Vector = None
    ) -> Float[Array, "B outputs"]:
        x = x if y is None else jnp.concatenate([x, y.astype(x.dtype)], axis=-1)
        for features in self.hidden:
            x = nn.silu(Dense(features)(x))
        return Dense(outputs, kernel_init=nn.initializers.zeros)(x)


class AffineCoupling(nn.Module):
    """z = x where the mask holds, else x exp(s) + t; a network reads the kept values and gives t and r, s = a tanh(r).

    a is a learned scalar. `mask` maps the shape of an event to the mask of the values that are kept. The network reads
    the channels in which any value is kept and, if the mask depends on the position, the mask too; also a vector y, if
    there is one. It gives t and r for the channels in which any value is not kept.
    """

    mask: Callable[[tuple[int, ...]], Bool[np.ndarray, "*event"]]
    network: nn.Module

    def setup(self):
        self.scale = self.param("scale", nn.initializers.ones, ())

    def _parameters(
        self, x: Float[Array, "B *event"], y: Vector
    ) -> tuple[Bool[np.ndarray, "*event"], Float[Array, "B *event"], Float[Array, "B *event"]]:
        mask = self.mask(x.shape[1:])
        positions = tuple(range(mask.ndim - 1))
        kept, moved = (np.flatnonzero(part.any(axis=positions)) for part in (mask, ~mask))
        inputs = jnp.where(mask, x, 0.0)[..., kept]
        if not mask[..., kept].all():
            plane = jnp.asarray(mask[..., kept[:1]], x.dtype)
            inputs = jnp.concatenate([inputs, jnp.broadcast_to(plane, (len(x), *plane.shape))], -1)
        given = () if y is None else (y,)
        shift, raw = jnp.split(self.network(inputs, 2 * len(moved), *given), 2, axis=-1)
        log_scale = self.scale * jnp.tanh(raw)
        zeros = jnp.zeros(x.shape, log_scale.dtype)
        return mask, zeros.at[..., moved].set(shift), zeros.at[..., moved].set(log_scale)

    def __call__(
        self, x: Float[Array, "B *event"], train: bool = False, y: Vector = None
    ) -> tuple[Float[Array, "B *event"], Nats]:
        del train  # the same map in training and evaluation
        return affine_coupling(x, *self._parameters(x, y))

    def inverse(self, z: Float[Array, "B *event"], y: Vector = None) -> Float[Array, "B *event"]:
        """x: z has the same kept values as x, so the network gives the same shift and scale."""
        return inverse_affine_coupling(z, *self._parameters(z, y))


class Actnorm(nn.Module):
    """z = (x + b) exp(a l): over the first batch each channel, or each dimension, has mean 0 and standard deviation 1.

    From then on b and l are parameters like all others (Kingma and Dhariwal 2018, 1807.03039, section 3.1). That batch
    is the global one, so every device starts from the same values. `rate` is a, by which l learns faster; 3 in the
    authors' code.
    """

    each: Literal["channel", "dimension"] = "channel"
    rate: float = 3.0

    @nn.compact
    def _parameters(
        self, x: Float[Array, "B *event"]
    ) -> tuple[Float[Array, "*scaled"], Float[Array, "*scaled"]]:
        """b and a l, of the shape of an event or of its last axis."""
        shape = x.shape[1:] if self.each == "dimension" else x.shape[-1:]
        mean, log_gain = jnp.zeros(shape), jnp.zeros(shape)
        if self.is_initializing():
            axes, dtype = range(x.ndim - len(shape)), jnp.result_type(float)
            mean = jnp.mean(x, axis=axes, dtype=dtype)
            var = jnp.var(x, axis=axes, dtype=dtype)
            log_gain = -jnp.log(jnp.sqrt(var) + 1e-6)
            log_gain = jnp.where(var > 1e-10, log_gain, 0.0)  # a constant has no scale
        shift = gathered(self.param("shift", lambda _: -mean))
        log_scale = gathered(self.param("log_scale", lambda _: log_gain / self.rate))
        return shift, self.rate * log_scale

    def __call__(
        self, x: Float[Array, "B *event"], train: bool = False, y: VectorOrMap = None
    ) -> tuple[Float[Array, "B *event"], Nats]:
        """z and log |det dz/dx|."""
        del train, y  # the same for all
        shift, log_scale = self._parameters(x)
        log_det = (x[0].size // log_scale.size) * jnp.sum(log_scale)
        return (x + shift) * jnp.exp(log_scale), jnp.broadcast_to(log_det, len(x))

    def inverse(
        self, z: Float[Array, "B *event"], y: VectorOrMap = None
    ) -> Float[Array, "B *event"]:
        """x = z exp(-a l) - b."""
        del y  # the same for all
        shift, log_scale = self._parameters(z)
        return z * jnp.exp(-log_scale) - shift


class Invertible1x1(nn.Module):
    """z = x W at every place, a linear map of the channels; log |det dz/dx| = (number of places) log |det W|.

    W starts as a random rotation, or as `initial` draws it. Its parameters are W itself (`by` "matrix"), or those of
    its LU factors, of which the order of the entries and the signs are constants (`ops/lu.py`; Kingma and Dhariwal
    2018, 1807.03039, section 3.2).
    """

    by: Literal["lu", "matrix"] = "lu"
    initial: nn.initializers.Initializer = nn.initializers.orthogonal()

    @nn.compact
    def _parameters(self, x: Float[Array, "B *event"]) -> tuple[Array, ...]:
        """W, or the arguments of `lu.product`."""
        channels = x.shape[-1]
        matrix = jnp.zeros((channels, channels))
        order, sign = jnp.arange(channels), jnp.ones(channels)
        if self.is_initializing():
            matrix = self.initial(self.make_rng("params"), matrix.shape)
            if self.by == "lu":
                matrix, order, sign = lu.factors(matrix)
        kernel = self.param("kernel", lambda _: matrix)
        if self.by == "matrix":
            return (kernel,)
        order = self.variable("constants", "order", lambda: order).value
        sign = self.variable("constants", "sign", lambda: sign).value
        return kernel, order.astype(int), sign

    def __call__(
        self, x: Float[Array, "B *event"], train: bool = False, y: VectorOrMap = None
    ) -> tuple[Float[Array, "B *event"], Nats]:
        """z and log |det dz/dx|."""
        del train, y  # the same for all
        kernel, *constants = self._parameters(x)
        if self.by == "matrix":
            z, log_det = dense(x, kernel), jnp.linalg.slogdet(kernel)[1]
        else:
            z, log_det = lu.product(x, kernel, *constants), lu.log_abs_det(kernel)
        places = x[0].size // x.shape[-1]
        return z, jnp.broadcast_to(places * log_det, len(x))

    def inverse(
        self, z: Float[Array, "B *event"], y: VectorOrMap = None
    ) -> Float[Array, "B *event"]:
        """x = z W^-1."""
        del y  # the same for all
        kernel, *constants = self._parameters(z)
        if self.by == "matrix":
            return dense(z, jnp.linalg.inv(kernel))
        return lu.solution(z, kernel, *constants)


def chain(
    layers: Sequence[Any], x: Float[Array, "B *event"], train: bool, y: VectorOrMap = None
) -> tuple[Float[Array, "B *event"], Nats]:
    """The layers in order, each given y; the log-determinants add up."""
    total = jnp.zeros(len(x), x.dtype)
    for layer in layers:
        x, log_det = layer(x, train, y)
        total = total + log_det
    return x, total


def unchain(
    layers: Sequence[Any], z: Float[Array, "B *event"], y: VectorOrMap = None
) -> Float[Array, "B *event"]:
    """The inverse of `chain`, in evaluation."""
    return way_back(layers, z, y)[-1]


def way_back(
    layers: Sequence[Any], z: Float[Array, "B *event"], y: VectorOrMap = None
) -> list[Float[Array, "B *event"]]:
    """z, its image under the inverse of the last layer, and so on; after the first layer it is x."""
    states = [z]
    for layer in reversed(layers):
        states.append(layer.inverse(states[-1], y))
    return states
