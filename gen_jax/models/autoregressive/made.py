"""MADE: log p(x) = sum_d log p(x_d | x_<d), all conditionals by one masked autoencoder.

h = relu(b + (W . M) x), z = c + (V . M_V) h (+ (A . M_A) x), M[i, j] = degree_i <= degree_j, strict at the outputs
(Germain, Gregor, Murray and Larochelle 2015, 1502.03509, section 3). `MADEEnsemble` trains one network under many
masks, each with its own order, and averages their joint probabilities (section 4).
"""

from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Integer

from gen_jax.density import Codec, Kind, LossPer, Value, bits_per_dim, fold_in
from gen_jax.errors import InputError
from gen_jax.heads import head_for
from gen_jax.models.autoregressive.base import Autoregressive, ancestral
from gen_jax.nn.masked_mlp import Cache, MaskedMLP
from gen_jax.ops import degrees
from gen_jax.ops.orders import order_of
from gen_jax.typing import Event, Metrics, Nats, PRNGKey, Scalar


class MADE(Autoregressive):
    """One mask, from `mask_seed`; positions in raster order or, by `order_seed`, in a fixed random one."""

    system: ClassVar[str] = "made"

    hidden: tuple[int, ...] = (500,)
    direct: bool = True
    order_seed: int | None = None
    mask_seed: int = 0

    def setup(self):
        """The masked network; InputError without hidden units."""
        self.net = network(self.event, self.hidden, self.direct, (self.order_seed,), self.mask_seed)

    @property
    def sites(self) -> Int[np.ndarray, "sites 1"]:
        """One value a site, in the order of generation."""
        return order_of(self.event.size, self.order_seed)[:, None]

    def __call__(
        self, x: Integer[Array, "B *event"], cond: Array | None = None, train: bool = False
    ) -> Float[Array, "B sites P"]:
        """All conditionals by one pass."""
        return self.net(x.reshape(x.shape[0], -1), 0)

    def context(self, site: int) -> Bool[np.ndarray, " sites"]:
        """Earlier sites to which the mask leaves a path: all of them with direct connections."""
        if self.direct:
            return super().context(site)
        return degrees.reach(self.event.size, self.hidden, self.order_seed, self.mask_seed)[site]

    def init_cache(self, n: int, cond: Array | None = None) -> Cache:
        """No value written, no hidden unit complete."""
        return self.net.init_cache(n, 0)

    def step(self, cache: Cache, site: Int[Array, ""]) -> tuple[Cache, Float[Array, "n P"]]:
        """Complete the hidden units that see exactly the values before, then the site's output."""
        return self.net.step(cache, site)

    def write(self, cache: Cache, site: Int[Array, ""], value: Int[Array, "n 1"]) -> Cache:
        """Put the value in its place."""
        return self.net.write(cache, site, value)


class Member(Autoregressive):
    """Any mask of an ensemble as a class: `cond` has its index, events are flat and in its order of generation."""

    net: MaskedMLP

    @property
    def num_classes(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The number of masks."""
        return len(self.net.order_seeds)

    def __call__(
        self, x: Integer[Array, "B D"], cond: Array | None = None, train: bool = False
    ) -> Float[Array, "B sites P"]:
        """All conditionals, one example after the other."""
        parallel, rank = self._alone("__call__"), jnp.asarray(self.net.degrees.position) - 1

        def one(pair):
            values, mask = pair
            return parallel(values[None, rank[mask]], mask)[0]

        return lax.map(one, (x, jnp.asarray(cond)))

    def init_cache(self, n: int, cond: Array | None = None) -> Cache:
        """No value written, no hidden unit complete."""
        return jax.vmap(partial(self._alone("init_cache"), 1))(jnp.asarray(cond))

    def step(self, cache: Cache, site: Int[Array, ""]) -> tuple[Cache, Float[Array, "n P"]]:
        """As of the network."""
        cache, params = jax.vmap(self._alone("step"), (0, None))(cache, site)
        return cache, params[:, 0]

    def write(self, cache: Cache, site: Int[Array, ""], value: Int[Array, "n 1"]) -> Cache:
        """As of the network."""
        return jax.vmap(self._alone("write"), (0, None, 0))(cache, site, value[:, None])

    def _alone(self, method: str) -> Callable[..., Any]:
        """A method of the network under one mask, which `vmap` may go over."""
        net, variables = self.net.unbind()
        return partial(net.apply, variables, method=method)


class MADEEnsemble(nn.Module):
    """p(x) = 1/K sum_k p_k(x): K masks of one network, each with its own order and degrees (sections 4.2 and 4.3).

    Exact, but no product of conditionals in one order: there is no `step`. The mask is a latent variable whose
    posterior is known, so bits-back codes at -log p(x).
    """

    system: ClassVar[str] = "made"

    event: Event
    hidden: tuple[int, ...] = (500,)
    direct: bool = True
    num_masks: int = 32
    seed: int = 0

    num_classes: ClassVar[int] = 0
    kind: ClassVar[Kind] = "mass"
    value: ClassVar[Value] = "exact"
    codec: ClassVar[Codec] = "bits_back"
    loss_per: ClassVar[LossPer] = "dimension"

    @property
    def latents(self) -> Event:
        """k, uniform."""
        return Event((1,), self.num_masks)

    @property
    def given(self) -> Member:
        """p(x | k) = p_k(x)."""
        return self.member

    def order(self, masks: Int[Array, " B"]) -> Int[Array, "B D"]:
        """Positions of the event in each mask's order of generation."""
        return jnp.asarray(self.member.net.degrees.order)[masks]

    def setup(self):
        """The network that all masks share; InputError without hidden units or masks."""
        if self.num_masks < 1:
            raise InputError(f"an ensemble needs num_masks >= 1, not {self.num_masks}")
        orders = tuple(range(self.seed, self.seed + self.num_masks))
        net = network(self.event, self.hidden, self.direct, orders, self.seed)
        self.member = Member(Event((self.event.size,), self.event.levels), net)

    def joint(self, x: Integer[Array, "B *event"], mask: Int[Array, ""]) -> Nats:
        """log p_k(x) under one mask, nats."""
        x = x.reshape(x.shape[0], -1)
        values = x[:, jnp.asarray(self.member.net.degrees.order)[mask], None]
        return jnp.sum(self.member.head.log_prob(self.member.net(x, mask), values), axis=-1)

    def log_prob(
        self, x: Integer[Array, "B *event"], key: PRNGKey | None = None, cond: Array | None = None
    ) -> Nats:
        """log 1/K sum_k p_k(x), nats: probabilities of whole events are averaged, mask after mask."""
        del key, cond  # exact, no classes
        return jax.nn.logsumexp(self.joints(x), axis=1) - jnp.log(self.num_masks)

    def joints(self, x: Integer[Array, "B *event"]) -> Float[Array, "B K"]:
        """log p_k(x) under every mask, nats."""
        module, variables = self.unbind()
        joint = lambda mask: module.apply(variables, x, mask, method="joint")  # noqa: E731
        return lax.map(joint, jnp.arange(self.num_masks)).T

    def encode(self, x: Integer[Array, "B *event"]) -> Float[Array, "B K"]:
        """log p(k | x), exact."""
        return jax.nn.log_softmax(self.joints(x), axis=1)

    def loss(
        self, x: Integer[Array, "B *event"], key: PRNGKey, cond: Array | None = None
    ) -> tuple[Scalar, Metrics]:
        """Mean negative log-likelihood in nats per dimension under one mask, drawn anew for each batch."""
        del cond
        mask = jax.random.randint(fold_in(key, "mask"), (), 0, self.num_masks)
        nats = -jnp.mean(self.joint(x, mask))
        return nats / self.event.size, {"bits_per_dim": bits_per_dim(nats, self.event)}

    def sample(
        self, key: PRNGKey, n: int, cond: Array | None = None, temperature: float | Scalar = 1.0
    ) -> Int[Array, "n *event"]:
        """n draws, each of a mask of its own and then by its steps."""
        del cond
        module, variables = self.member.unbind()
        masks = jax.random.randint(fold_in(key, "mask"), (n,), 0, self.num_masks)
        in_order = ancestral(module, variables, key, n, masks, temperature)
        rank = jnp.asarray(self.member.net.degrees.position)[masks] - 1
        return jnp.take_along_axis(in_order, rank, axis=1).reshape(n, *self.event.shape)


def network(
    event: Event,
    hidden: tuple[int, ...],
    direct: bool,
    order_seeds: tuple[int | None, ...],
    seed: int,
) -> MaskedMLP:
    """The network for an event of integers; InputError without hidden units."""
    if not hidden or min(hidden) < 1:
        raise InputError(f"made needs at least one hidden unit in every layer, not {hidden}")
    if event.levels is None:
        raise InputError("made is a mass over integers, the event has real values")
    outputs = head_for(event.levels).size
    return MaskedMLP(event.size, event.levels, outputs, hidden, direct, order_seeds, seed)
