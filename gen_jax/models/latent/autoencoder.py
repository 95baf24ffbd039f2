"""Autoencoder: z = f(x), x' = g(z), trained by the squared error |x' - x|^2.

It has no likelihood, and no distribution of z to sample from. Linear f and g find the subspace of the principal
components (Bourlard and Kamp 1988; Baldi and Hornik 1989); networks are more general (Hinton and Salakhutdinov 2006).
"""

from typing import ClassVar

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Num

from gen_jax.check import require, require_integers
from gen_jax.conditions import Cond
from gen_jax.density import Codec, Kind, Value
from gen_jax.encoding import Interpolation
from gen_jax.errors import InputError
from gen_jax.nn.conv import Dense
from gen_jax.nn.encoders import (
    DenseDecoder,
    DenseEncoder,
    require_features,
    require_outputs,
)
from gen_jax.ops.scaling import from_unit, to_unit
from gen_jax.typing import Event, Metrics, Nats, PRNGKey, Scalar


class Autoencoder(nn.Module):
    """Integers, scaled to [0, 1]; the code z is linear in the encoder's features."""

    system: ClassVar[str] = "autoencoder"

    event: Event
    latent: int = 30
    encoder: nn.Module = DenseEncoder()
    decoder: nn.Module = DenseDecoder()

    num_classes: ClassVar[int] = 0
    kind: ClassVar[Kind] = "none"
    value: ClassVar[Value] = "exact"
    codec: ClassVar[Codec] = "none"
    interpolation: ClassVar[Interpolation] = "linear"  # the codes have no distribution

    def setup(self):
        self.check()
        self.code = Dense(self.latent)

    def encode(self, x: Num[Array, "B *event"]) -> Float[Array, "B Z"]:
        """z = f(x)."""
        features = self.encoder(to_unit(x, self.event.num_levels))
        require_features(self.encoder, features, len(x))
        return self.code(features)

    def decode(self, z: Float[Array, "B Z"]) -> Float[Array, "B *event"]:
        """x' = g(z), mostly in [0, 1]."""
        shape = self.event.shape
        positions, outputs = (shape[:-1], shape[-1]) if len(shape) == 3 else (shape, 1)
        out = self.decoder(z, positions, outputs)
        require_outputs(self.decoder, out, len(z), positions, outputs)
        return out.reshape(len(z), *shape)

    def squared_error(self, x: Num[Array, "B *event"]) -> Float[Array, " B"]:
        """|x' - x|^2 of each example, values in [0, 1], summed over the event."""
        error = self.decode(self.encode(x)) - to_unit(x, self.event.num_levels)
        return jnp.sum(error.reshape(len(x), -1) ** 2, axis=-1)

    def loss(
        self, x: Num[Array, "B *event"], key: PRNGKey, cond: Cond = None
    ) -> tuple[Scalar, Metrics]:
        """Mean squared error per example; also logged per dimension."""
        del key, cond  # no noise, no classes
        error = jnp.mean(self.squared_error(x))
        return error, {"squared_error": error, "squared_error_per_dim": error / self.event.size}

    def log_prob(
        self, x: Num[Array, "B *event"], key: PRNGKey | None = None, cond: Cond = None
    ) -> Nats:
        """InputError: an autoencoder has no likelihood."""
        raise InputError("an autoencoder has no likelihood")

    def sample(
        self, key: PRNGKey, n: int, cond: Cond = None, temperature: float | Scalar = 1.0
    ) -> Int[Array, "n *event"]:
        """InputError: an autoencoder has no distribution of z."""
        raise InputError(
            "an autoencoder has no distribution over its codes to sample from; a vae does"
        )

    def reconstruct(
        self, x: Num[Array, "B *event"], key: PRNGKey, cond: Cond = None
    ) -> Int[Array, "B *event"]:
        """x', rounded to the nearest levels."""
        del cond  # no classes
        return self.event_at(self.encode(x), key)

    def latents_of(self, x: Num[Array, "B *event"], cond: Cond = None) -> Float[Array, "B Z"]:
        """z = f(x)."""
        del cond  # no classes
        return self.encode(x)

    def event_at(
        self, latents: Float[Array, "B Z"], key: PRNGKey, cond: Cond = None
    ) -> Int[Array, "B *event"]:
        """g(z), rounded to the nearest levels."""
        del key, cond  # no noise, no classes
        return from_unit(self.decode(latents), self.event.num_levels)

    def measure(
        self, x: Num[Array, "B *event"], key: PRNGKey, cond: Cond = None
    ) -> dict[str, Array]:
        """The squared error of each example."""
        del key, cond  # no noise, no classes
        return {"squared_error": self.squared_error(x)}

    def diagnosis(self, measured: dict[str, np.ndarray]) -> tuple[dict[str, float], dict[str, str]]:
        """The mean squared error over the split, per example and per dimension; no findings."""
        error = float(measured["squared_error"].mean())
        return {"squared_error": error, "squared_error_per_dim": error / self.event.size}, {}

    def check(self) -> None:
        require_integers(self.event, "autoencoder")
        require(self.latent >= 1, f"latent must be at least 1, not {self.latent}")
