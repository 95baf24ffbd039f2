"""Models with one group of latents: an encoder gives the parameters of q(z | x), and the prior is fixed or learned.

With classes y these are q(z | x, y), p(x | z, y) and a prior p(z) that does not depend on y (Kingma et al. 2014,
1406.5298, section 2.1), so z has what is left when the class is known.
"""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Integer

from gen_jax.check import require
from gen_jax.conditions import Cond, joined, label_of, one_hot, values_of
from gen_jax.models.latent.base import LatentModel, State
from gen_jax.nn.conv import Dense
from gen_jax.nn.encoders import DenseEncoder, require_features
from gen_jax.ops.latents import STANDARD, Gaussian, Group, Normal
from gen_jax.ops.scaling import to_unit


class Encoded(LatentModel):
    """One Gaussian group under N(0, I), with q(z | x) = N(m(x), s(x)^2) linear in the features of an encoder.

    `encoder` is any Linen module from values in [0, 1], (B, *event), to features (B, F), or (B, *grid, F) for latents
    on a grid; some are in `nn/encoders.py`. With classes it is called with the one-hot class (B, K) too. `latent`:
    units, at each place.
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
        self.posterior = Dense(self.latent * self.outputs)

    @property
    def outputs(self) -> int:
        """The number of parameters of a latent."""
        return 2

    def encode(self, x: Integer[Array, "B *event"], cond: Cond = None) -> Any:
        """The parameters of q(z | x); InputError if the encoder gives no features of this shape."""
        return Normal(*jnp.split(self.posterior_of(x, cond), 2, axis=-1))

    def posterior_of(
        self, x: Integer[Array, "B *event"], cond: Cond = None
    ) -> Float[Array, "B *grid P"]:
        """The numbers from which the parameters of q(z | x) are made."""
        features = self.encoder(to_unit(x, self.event.num_levels), *one_hot(self, cond))
        require_features(self.encoder, features, len(x), self.places)
        return self.posterior(features)

    def prior(self) -> Any:
        """The parameters of p(z)."""
        return STANDARD

    def begin(
        self, n: int, x: Integer[Array, "n *event"] | None = None, cond: Cond = None
    ) -> State:
        """The parameters of q(z | x), or None; with classes they are the value of a `Condition` with the label."""
        return self._with_class(cond, None if x is None else self.encode(x, cond))

    def group(self, state: State, k: int) -> tuple[State, Any, Any]:
        return state, self.prior(), self.without_class(state)

    def put(self, state: State, k: int, z: Array) -> State:
        """z, with classes as the value of a `Condition`."""
        return self._with_class(state, z)

    def without_class(self, state: State) -> Any:
        """The parameters of q(z | x), or z once it is known."""
        return values_of(state)[0] if self.num_classes else state

    def _with_class(self, cond: Any, value: Any) -> State:
        return joined(label_of(cond) if self.num_classes else None, (value,))

    def check(self) -> None:
        super().check()
        require(self.latent >= 1, f"latent must be at least 1, not {self.latent}")
