"""Models with one group of latents: an encoder gives the parameters of q(z | x), and the prior is fixed or learned."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Integer

from gen_jax.check import require
from gen_jax.models.latent.base import LatentModel, State
from gen_jax.nn.encoders import DenseEncoder, require_features
from gen_jax.ops.latents import STANDARD, Gaussian, Group, Normal
from gen_jax.ops.scaling import to_unit


class Encoded(LatentModel):
    """One Gaussian group under N(0, I), with q(z | x) = N(m(x), s(x)^2) linear in the features of an encoder.

    `encoder` is any Linen module from values in [0, 1], (B, *event), to features (B, F), or (B, *grid, F) for latents
    on a grid; some are in `nn/encoders.py`. `latent`: units, at each place.
    """

    latent: int = 50
    encoder: nn.Module = DenseEncoder()

    @property
    def places(self) -> tuple[int, ...]:
        """The grid of the latents; () for a vector."""
        return ()

    @property
    def groups(self) -> tuple[Group, ...]:
        return (Gaussian((*self.places, self.latent)),)

    def setup(self):
        super().setup()
        self.posterior = nn.Dense(self.latent * self.outputs)

    @property
    def outputs(self) -> int:
        """The number of parameters of a latent."""
        return 2

    def encode(self, x: Integer[Array, "B *event"]) -> Any:
        """The parameters of q(z | x); InputError if the encoder gives no features of this shape."""
        return Normal(*jnp.split(self.posterior_of(x), 2, axis=-1))

    def posterior_of(self, x: Integer[Array, "B *event"]) -> Float[Array, "B *grid P"]:
        """The numbers from which the parameters of q(z | x) are made."""
        features = self.encoder(to_unit(x, self.event.num_levels))
        require_features(self.encoder, features, len(x), self.places)
        return self.posterior(features)

    def prior(self) -> Any:
        """The parameters of p(z)."""
        return STANDARD

    def begin(self, n: int, x: Integer[Array, "n *event"] | None = None) -> State:
        return None if x is None else self.encode(x)

    def group(self, state: State, k: int) -> tuple[State, Any, Any]:
        return state, self.prior(), state

    def put(self, state: State, k: int, z: Array) -> State:
        return z

    def check(self) -> None:
        super().check()
        require(self.latent >= 1, f"latent must be at least 1, not {self.latent}")
