"""The change of variables, for every flow: log p(x) = log N(f(x); 0, I) + log |det df/dx|, where f is a bijection.

A subclass defines `forward`, f with its log-determinant, and `inverse`. Likelihood and sampling are written here. For
integers x the flow is a density of x + u with u in the unit cube, drawn from q(u | x), and log p(x) has the lower bound
E log 1/K sum_k p(x + u_k) / q(u_k | x) (Theis et al. 2015, 1511.01844; Burda et al. 2015, 1509.00519; Ho et al. 2019,
1902.00275).
"""

from dataclasses import field
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Integer

from gen_jax.check import require_integers, require_key
from gen_jax.conditions import Cond, label_of
from gen_jax.density import Codec, Kind, LossPer, Value, bits_per_dim, fold_in
from gen_jax.encoding import Interpolation
from gen_jax.models.flow.dequantizers import Dequantizer, UniformDequantizer
from gen_jax.nn.bijections import Vector
from gen_jax.ops import dequantize, gaussian
from gen_jax.ops.importance import importance_weighted_bound_in_chunks
from gen_jax.typing import Event, Metrics, Nats, PRNGKey, Scalar

VALUES_AT_ONCE = 2**18  # draws x examples x dimensions in one chunk


class Flow(nn.Module):
    """A density of reals; z = f(x) is a vector with as many dimensions as x."""

    event: Event

    num_classes = 0  # a class-conditional flow makes a field of it, its last
    kind: ClassVar[Kind] = "density"
    value: ClassVar[Value] = "exact"
    codec: ClassVar[Codec] = "none"
    loss_per: ClassVar[LossPer] = "example"
    interpolation: ClassVar[Interpolation] = "spherical"

    def forward(
        self, x: Float[Array, "B *event"], train: bool = False, cond: Cond = None
    ) -> tuple[Float[Array, "B D"], Nats]:
        """z and log |det dz/dx|, for each example under its class if there are classes."""
        raise TypeError(f"{type(self).__name__} does not define f")

    def inverse(self, z: Float[Array, "B D"], cond: Cond = None) -> Float[Array, "B *event"]:
        """x, with the statistics of evaluation."""
        raise TypeError(f"{type(self).__name__} does not define the inverse of f")

    def one_hot(self, cond: Cond) -> Vector:
        """The class of each example as a vector; None without classes."""
        return jax.nn.one_hot(label_of(cond), self.num_classes) if self.num_classes else None

    def way(self, z: Float[Array, "B D"], cond: Cond = None) -> list[Float[Array, "B D"]]:
        """z, its images on the way to x, and x as vectors; without a rule for the layers z and x alone."""
        return [z, self.inverse(z, cond).reshape(z.shape)]

    def log_density(
        self, x: Float[Array, "B *event"], train: bool = False, cond: Cond = None
    ) -> Nats:
        """log p of reals, nats."""
        z, log_det = self.forward(x, train, cond)
        return jnp.sum(gaussian.log_prob(z), axis=-1) + log_det

    def log_prob(
        self, x: Float[Array, "B *event"], key: PRNGKey | None = None, cond: Cond = None
    ) -> Nats:
        """log p(x), exact."""
        del key  # no noise
        return self.log_density(x, cond=cond)

    def loss(
        self, x: Float[Array, "B *event"], key: PRNGKey, cond: Cond = None
    ) -> tuple[Scalar, Metrics]:
        """Mean of -log p(x), nats an example."""
        del key  # no noise
        nats = -jnp.mean(self.log_density(x, True, cond))
        return nats, {"nats": nats}

    def sample(
        self, key: PRNGKey, n: int, cond: Cond = None, temperature: float | Scalar = 1.0
    ) -> Float[Array, "n *event"]:
        """x = f^-1(z) with z from N(0, temperature^2 I)."""
        return self.inverse(temperature * jax.random.normal(key, (n, self.event.size)), cond)

    def latents_of(self, x: Float[Array, "B *event"], cond: Cond = None) -> Float[Array, "B D"]:
        """z = f(x)."""
        return self.forward(x, cond=cond)[0]

    def event_at(
        self, latents: Float[Array, "B D"], key: PRNGKey, cond: Cond = None
    ) -> Float[Array, "B *event"]:
        """x = f^-1(z)."""
        del key  # no noise
        return self.inverse(latents, cond)


class DequantizedFlow(Flow):
    """A probability mass of integers by a density of reals, in units of one level.

    `dequantizer` draws the noise that is added to the integers (`dequantizers.py`). `log_prob` ignores the density
    outside [0, levels]^D, so its exponentials sum to 1 minus the mass there. `sample` clips such draws to the lowest or
    highest level.
    """

    kind: ClassVar[Kind] = "mass"
    value: ClassVar[Value] = "bound"
    loss_per: ClassVar[LossPer] = "dimension"

    dequantizer: Dequantizer = field(default=UniformDequantizer(), kw_only=True)

    def setup(self):
        self.check()

    def dequantized(
        self, x: Integer[Array, "B *event"], key: PRNGKey, train: bool = False, cond: Cond = None
    ) -> tuple[Float[Array, "B *event"], Nats]:
        """x + u with u drawn from q(u | x), and log q(u | x), nats."""
        levels, y = self.event.num_levels, self.one_hot(cond)
        u, log_q = self.dequantizer.noise(x, key, levels, y, train)
        return dequantize.uniform(x, u), log_q

    def log_prob(
        self,
        x: Integer[Array, "B *event"],
        key: PRNGKey | None = None,
        cond: Cond = None,
        draws: int = 1,
    ) -> Nats:
        """The bound with `draws` dequantised copies, nats; memory does not grow with them."""
        key = require_key(key, type(self).__name__)
        module, variables = self.unbind()

        def log_weights(number: Int[Array, " k"]) -> Float[Array, "k B"]:
            def copy(k: Int[Array, ""]) -> Any:
                return module.apply(variables, x, fold_in(key, k), cond=cond, method="dequantized")

            y, log_q = jax.vmap(copy)(number)
            y = y.reshape(-1, *self.event.shape)
            tiled = None if cond is None else jnp.tile(label_of(cond), len(number))
            log_p: Any = module.apply(variables, y, cond=tiled, method="log_density")
            return log_p.reshape(log_q.shape) - log_q

        chunk = max(1, VALUES_AT_ONCE // x.size)
        return importance_weighted_bound_in_chunks(log_weights, draws, chunk)

    def loss(
        self, x: Integer[Array, "B *event"], key: PRNGKey, cond: Cond = None
    ) -> tuple[Scalar, Metrics]:
        """Mean of log q(u | x) - log p(x + u) with one draw of u, nats a dimension."""
        y, log_q = self.dequantized(x, key, True, cond)
        nats = -jnp.mean(self.log_density(y, True, cond) - log_q)
        return nats / self.event.size, {"bits_per_dim": bits_per_dim(nats, self.event)}

    def sample(
        self, key: PRNGKey, n: int, cond: Cond = None, temperature: float | Scalar = 1.0
    ) -> Int[Array, "n *event"]:
        """A draw from the density, rounded down to integers."""
        return dequantize.cell(super().sample(key, n, cond, temperature), self.event.num_levels)

    def latents_of(self, x: Integer[Array, "B *event"], cond: Cond = None) -> Float[Array, "B D"]:
        """z at the middle of the unit cube of x, f(x + 1/2)."""
        return super().latents_of(x + 0.5, cond)

    def event_at(
        self, latents: Float[Array, "B D"], key: PRNGKey, cond: Cond = None
    ) -> Int[Array, "B *event"]:
        """x = f^-1(z), rounded down to integers."""
        return dequantize.cell(super().event_at(latents, key, cond), self.event.num_levels)

    def check(self) -> None:
        require_integers(self.event, type(self).__name__)
        self.dequantizer.check(self.event)
