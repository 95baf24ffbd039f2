"""The step of Flow++: a normalisation, a linear map of each half of the channels, a coupling of the halves."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from gen_jax.nn.bijections import Actnorm, Invertible1x1, VectorOrMap
from gen_jax.ops.mixture_cdf import Mixture, inverse_logit_cdf, logit_cdf
from gen_jax.typing import Nats, PRNGKey

NOISE = 1e-3  # in the linear maps at initialisation


def near_identity(
    key: PRNGKey, shape: tuple[int, ...], dtype: DTypeLike = float
) -> Float[Array, "C C"]:
    """The identity plus noise."""
    return jnp.eye(*shape, dtype=dtype) + NOISE * jax.random.normal(key, shape, dtype)


class EachHalf(nn.Module):
    """Each half of the channels through a linear map, the same at all places, which starts near the identity."""

    def setup(self):
        self.maps = [Invertible1x1("matrix", near_identity) for _ in range(2)]

    def __call__(
        self, x: Float[Array, "B H W C"], train: bool = False, y: VectorOrMap = None
    ) -> tuple[Float[Array, "B H W C"], Nats]:
        del train, y  # the same for all
        (first, one), (second, other) = (
            linear(half) for linear, half in zip(self.maps, jnp.split(x, 2, axis=-1), strict=True)
        )
        return jnp.concatenate([first, second], axis=-1), one + other

    def inverse(self, z: Float[Array, "B H W C"], y: VectorOrMap = None) -> Float[Array, "B H W C"]:
        """x."""
        del y  # the same for all
        halves = jnp.split(z, 2, axis=-1)
        both = zip(self.maps, halves, strict=True)
        return jnp.concatenate([linear.inverse(half) for linear, half in both], axis=-1)


class MixtureCoupling(nn.Module):
    """One half a of the channels is kept, the other half b becomes logit F(b) exp(tanh(s)) + t.

    F is the distribution function of a mixture of `components` logistics; it, s and t come from a network that reads a
    and y, a vector or a map, if there is one (Ho et al. 2019, 1902.00275, equations 13 and 14). Parity 0 keeps the
    first half, 1 the second.
    """

    network: nn.Module
    parity: int
    components: int

    def _halves(
        self, x: Float[Array, "B H W C"]
    ) -> tuple[Float[Array, "B H W C//2"], Float[Array, "B H W C//2"]]:
        first, second = jnp.split(x, 2, axis=-1)
        return (second, first) if self.parity else (first, second)

    def _joined(
        self, kept: Float[Array, "B H W half"], moved: Float[Array, "B H W half"]
    ) -> Float[Array, "B H W two_halves"]:
        return jnp.concatenate([moved, kept] if self.parity else [kept, moved], axis=-1)

    def _parameters(
        self, kept: Float[Array, "B H W half"], train: bool, y: VectorOrMap
    ) -> tuple[Float[Array, "B H W half"], Float[Array, "B H W half"], Mixture]:
        half = kept.shape[-1]
        out = self.network(kept, half * (2 + 3 * self.components), train, y)
        out = out.reshape(*kept.shape, 2 + 3 * self.components)
        log_scale, shift = jnp.tanh(out[..., 0]), out[..., 1]
        return log_scale, shift, Mixture(*jnp.split(out[..., 2:], 3, axis=-1))

    def __call__(
        self, x: Float[Array, "B H W C"], train: bool = False, y: VectorOrMap = None
    ) -> tuple[Float[Array, "B H W C"], Nats]:
        kept, moved = self._halves(x)
        log_scale, shift, mixture = self._parameters(kept, train, y)
        moved, log_slope = logit_cdf(moved, mixture)
        moved = moved * jnp.exp(log_scale) + shift
        log_det = jnp.sum((log_slope + log_scale).reshape(len(x), -1), axis=-1)
        return self._joined(kept, moved), log_det

    def inverse(self, z: Float[Array, "B H W C"], y: VectorOrMap = None) -> Float[Array, "B H W C"]:
        """x, by bisection."""
        kept, moved = self._halves(z)
        log_scale, shift, mixture = self._parameters(kept, False, y)
        moved = inverse_logit_cdf((moved - shift) * jnp.exp(-log_scale), mixture)
        return self._joined(kept, moved)


def mixture_steps(network: Callable[[], nn.Module], count: int, components: int) -> list[Any]:
    """The layers of `count` steps, each with its network; they keep the first and the second half in turn."""
    steps = (
        [Actnorm("dimension", rate=1.0), EachHalf(), MixtureCoupling(network(), i % 2, components)]
        for i in range(count)
    )
    return [layer for step in steps for layer in step]
