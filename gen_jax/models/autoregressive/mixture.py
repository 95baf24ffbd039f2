"""A mixture over an index: p(x) = 1/K sum_k p_k(x), K autoregressive masses, each with an order of its own.

Exact, but no product of conditionals in one order: there is no `step`. The index is a latent variable whose posterior
is known, so bits-back codes at -log p(x).
"""

from collections.abc import Callable
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int, Integer

from gen_jax.conditions import Cond, values_of
from gen_jax.density import Codec, Kind, LossPer, Value, bits_per_dim, fold_in
from gen_jax.models.autoregressive.base import Autoregressive, ancestral
from gen_jax.ops.latents import Categorical, Group
from gen_jax.typing import Event, Metrics, Nats, PRNGKey, Scalar


class Mixture(nn.Module):
    """K members, of equal weights; a subclass defines `given`, `joint` and `order`."""

    event: Event

    num_classes: ClassVar[int] = 0
    kind: ClassVar[Kind] = "mass"
    value: ClassVar[Value] = "exact"
    codec: ClassVar[Codec] = "bits_back"
    loss_per: ClassVar[LossPer] = "dimension"

    @property
    def num_members(self) -> int:
        """K."""
        raise TypeError(f"{type(self).__name__} does not define its members")

    @property
    def given(self) -> Autoregressive:
        """p(x | k) = p_k(x), given k as an event of one value, of flat events in the order of generation of k."""
        raise TypeError(f"{type(self).__name__} does not define its members")

    def joint(self, x: Integer[Array, "B *event"], index: Int[Array, ""]) -> Nats:
        """log p_k(x), nats."""
        raise TypeError(f"{type(self).__name__} does not define its members")

    def order(self, index: Int[Array, " B"]) -> Int[Array, "B D"]:
        """Positions in the flattened event, in each member's order of generation."""
        raise TypeError(f"{type(self).__name__} does not define its orders")

    @property
    def groups(self) -> tuple[Group, ...]:
        """k, uniform."""
        return (Categorical((), self.num_members),)

    def begin(
        self, n: int, x: Integer[Array, "n *event"] | None = None, cond: Cond = None
    ) -> Float[Array, "n K"] | None:
        """log p(k | x), exact."""
        del cond  # no classes
        return None if x is None else self.encode(x)

    def group(self, state: Any, k: int) -> tuple[Any, Float[Array, "1"], Any]:
        """Equal probabilities, and log p(k | x)."""
        return state, Categorical((), self.num_members).uniform, state

    def put(self, state: Any, k: int, z: Int[Array, " n"]) -> Int[Array, " n"]:
        """The member, as the condition of `given`."""
        return z

    def joints(self, x: Integer[Array, "B *event"]) -> Float[Array, "B K"]:
        """log p_k(x) of every member, one after the other, nats."""
        module, variables = self.unbind()
        joint = lambda index: module.apply(variables, x, index, method="joint")  # noqa: E731
        return lax.map(joint, jnp.arange(self.num_members)).T

    def log_prob(
        self, x: Integer[Array, "B *event"], key: PRNGKey | None = None, cond: Cond = None
    ) -> Nats:
        """log 1/K sum_k p_k(x), nats: probabilities of whole events are averaged."""
        del key, cond  # exact, no classes
        return jax.nn.logsumexp(self.joints(x), axis=1) - jnp.log(self.num_members)

    def encode(self, x: Integer[Array, "B *event"]) -> Float[Array, "B K"]:
        """log p(k | x), exact."""
        return jax.nn.log_softmax(self.joints(x), axis=1)

    def loss(
        self, x: Integer[Array, "B *event"], key: PRNGKey, cond: Cond = None
    ) -> tuple[Scalar, Metrics]:
        """Mean negative log-likelihood in nats per dimension of one member, which the key draws for the batch."""
        del cond
        return loss_of_one(lambda index: self.joint(x, index), key, self.num_members, self.event)

    def sample(
        self, key: PRNGKey, n: int, cond: Cond = None, temperature: float | Scalar = 1.0
    ) -> Int[Array, "n *event"]:
        """n draws: a member for each, then its sites one after the other."""
        del cond
        module, variables = self.given.unbind()
        index = drawn(key, self.num_members, (n,))
        in_order = ancestral(module, variables, key, n, index, temperature)
        rank = jnp.argsort(self.order(index), axis=1)
        return jnp.take_along_axis(in_order, rank, axis=1).reshape(n, *self.event.shape)


def index_of(cond: Cond) -> Int[Array, " B"]:
    """The index k of each example, which is all that a member is given."""
    (index,) = values_of(cond)
    return jnp.reshape(index, -1)


def drawn(key: PRNGKey, number: int, shape: tuple[int, ...] = ()) -> Int[Array, "*shape"]:
    """Indices of members, uniform; the name of their stream is frozen with the samples of a seed."""
    return jax.random.randint(fold_in(key, "mask"), shape, 0, number)


def loss_of_one(
    joint: Callable[[Int[Array, ""]], Nats], key: PRNGKey, number: int, event: Event
) -> tuple[Scalar, Metrics]:
    """The mean of -log p_k(x) over a batch, nats per dimension, for one k of `number` that the key draws."""
    nats = -jnp.mean(joint(drawn(key, number)))
    return nats / event.size, {"bits_per_dim": bits_per_dim(nats, event)}
