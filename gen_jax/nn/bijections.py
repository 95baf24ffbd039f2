"""Bijections as layers: `__call__` gives y and log |det dy/dx|, `inverse` gives x back."""

from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from gen_jax.ops.coupling import affine_coupling, inverse_affine_coupling
from gen_jax.typing import Nats


class AffineCoupling(nn.Module):
    """y = x where kept, else x exp(s) + t, with t and s = a tanh(r) from a network of what is kept; a is learned.

    `mask` gives what is kept for the shape of an event. The network reads the channels that hold something kept, and
    where that depends on the position also the mask; it makes t and r of the channels that hold something else.
    """

    mask: Callable[[tuple[int, ...]], Bool[np.ndarray, "*event"]]
    network: nn.Module

    def setup(self):
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
