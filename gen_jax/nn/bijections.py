"""Bijections as layers: `__call__` gives y and log |det dy/dx|, `inverse` gives x back."""

from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from gen_jax.ops.coupling import affine_coupling, inverse_affine_coupling
from gen_jax.typing import Nats

MOMENTUM, EPSILON = 0.99, 1e-5


class AffineCoupling(nn.Module):
    """y = x where kept, else x exp(s) + t, with t and s = a tanh(r) from a network of what is kept; a is learned.

    `mask` gives what is kept for the shape of an event. The network reads the channels that hold something kept, and
    where that depends on the position also the mask; it makes t and r of the channels that hold something else.
    """

    mask: Callable[[tuple[int, ...]], Bool[np.ndarray, "*event"]]
    network: nn.Module

    def setup(self):
        """Declare a."""
        self.scale = self.param("scale", nn.initializers.ones, ())

    def _parameters(
        self, x: Float[Array, "B *event"]
    ) -> tuple[Bool[np.ndarray, "*event"], Float[Array, "B *event"], Float[Array, "B *event"]]:
        mask = self.mask(x.shape[1:])
        positions = tuple(range(mask.ndim - 1))
        kept, moved = (np.flatnonzero(part.any(axis=positions)) for part in (mask, ~mask))
        inputs = jnp.where(mask, x, 0.0)[..., kept]
        if not mask[..., kept].all():
            plane = jnp.asarray(mask[..., kept[:1]], x.dtype)
            inputs = jnp.concatenate([inputs, jnp.broadcast_to(plane, (len(x), *plane.shape))], -1)
        shift, raw = jnp.split(self.network(inputs, 2 * len(moved)), 2, axis=-1)
        log_scale = self.scale * jnp.tanh(raw)
        nothing = jnp.zeros(x.shape, log_scale.dtype)
        return mask, nothing.at[..., moved].set(shift), nothing.at[..., moved].set(log_scale)

    def __call__(
        self, x: Float[Array, "B *event"], train: bool = False
    ) -> tuple[Float[Array, "B *event"], Nats]:
        """y and log |det dy/dx|."""
        del train  # the same in both
        return affine_coupling(x, *self._parameters(x))

    def inverse(self, y: Float[Array, "B *event"]) -> Float[Array, "B *event"]:
        """x: the kept part is the same in y, and so are shift and scale."""
        return inverse_affine_coupling(y, *self._parameters(y))


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


def chain(
    layers: Sequence[Any], x: Float[Array, "B *event"], train: bool
) -> tuple[Float[Array, "B *event"], Nats]:
    """One layer after the other; the log-determinants add up."""
    total = jnp.zeros(len(x), x.dtype)
    for layer in layers:
        x, log_det = layer(x, train)
        total = total + log_det
    return x, total


def unchain(layers: Sequence[Any], y: Float[Array, "B *event"]) -> Float[Array, "B *event"]:
    """The inverse of `chain` in evaluation."""
    for layer in reversed(layers):
        y = layer.inverse(y)
    return y
