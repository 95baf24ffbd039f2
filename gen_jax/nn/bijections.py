"""Bijections as layers: `__call__` gives z and log |det dz/dx|, `inverse` gives x; both may be given a vector y."""

from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from gen_jax.ops.coupling import affine_coupling, inverse_affine_coupling
from gen_jax.typing import Nats

Vector = Float[Array, "B K"] | None


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


def chain(
    layers: Sequence[Any], x: Float[Array, "B *event"], train: bool, y: Vector = None
) -> tuple[Float[Array, "B *event"], Nats]:
    """The layers in order, each given the vector y; the log-determinants add up."""
    total = jnp.zeros(len(x), x.dtype)
    for layer in layers:
        x, log_det = layer(x, train, y)
        total = total + log_det
    return x, total


def unchain(
    layers: Sequence[Any], z: Float[Array, "B *event"], y: Vector = None
) -> Float[Array, "B *event"]:
    """The inverse of `chain`, in evaluation."""
    for layer in reversed(layers):
        z = layer.inverse(z, y)
    return z
