"""MADE: log p(x) = sum_d log p(x_d | x_<d), all conditionals by one masked autoencoder.

h = relu(b + (W . M) x), z = c + (V . M_V) h (+ (A . M_A) x), M[i, j] = degree_i <= degree_j, strict at the outputs
(Germain, Gregor, Murray and Larochelle 2015, 1502.03509, section 3). `MADEEnsemble` trains one network under many
masks, each with its own order, and averages their joint probabilities (section 4).
"""

import functools
import itertools
from typing import Any, ClassVar, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Integer

from gen_jax.check import require, require_integers
from gen_jax.density import Codec, Kind, LossPer, Value, bits_per_dim, fold_in
from gen_jax.heads import head_for
from gen_jax.models.autoregressive.base import ancestral
from gen_jax.models.autoregressive.sequence import Sequence, Time
from gen_jax.nn.at import once
from gen_jax.ops.masks import degree_mask
from gen_jax.ops.orders import Raster, Shuffled
from gen_jax.ops.scaling import num_indicators, to_indicators
from gen_jax.typing import Event, Metrics, Nats, PRNGKey, Scalar

BLOCK = 16  # sites whose outputs are begun together


class Degrees(NamedTuple):
    """For each of K masks the order, the degree of each position, and those of the hidden units, layer by layer.

    A unit of degree m sees the first m values of the order, an output those before its own. `units` holds a layer's
    units by rising degree, `starts[k, m]` the number of units of a degree below m, so the units of degree m are a
    slice; `most` is the largest number of units of one degree, `block` that of the degrees of one block.
    """

    order: Int[np.ndarray, "K D"]
    position: Int[np.ndarray, "K D"]
    hidden: tuple[Int[np.ndarray, "K H"], ...]
    units: tuple[Int[np.ndarray, "K H"], ...]
    starts: tuple[Int[np.ndarray, "K D"], ...]
    most: tuple[int, ...]
    block: tuple[int, ...]


@functools.cache
def draw(
    size: int, hidden: tuple[int, ...], order_seeds: tuple[int | None, ...], seed: int
) -> Degrees:
    """One mask for each order; degrees are uniform from the least of the layer before to D - 1.

    A unit of degree D would feed nothing. Of a single value (D = 1) the hidden units have degree 1 and feed nothing.
    The random streams are frozen, so weights keep their masks for good.
    """
    orders = [Raster() if one is None else Shuffled(one) for one in order_seeds]
    order = np.stack([one.places(1, size) for one in orders])
    layers, least = [], np.ones(len(order), int)
    streams = [np.random.RandomState([seed, k]) for k in range(len(order))]
    for width in hidden:
        pairs = zip(streams, least, strict=True)
        layer = np.stack([stream.randint(low, max(size, 2), width) for stream, low in pairs])
        layers.append(layer)
        least = layer.min(axis=1)
    counts = [np.stack([np.bincount(row, minlength=size) for row in layer]) for layer in layers]
    blocks = [np.add.reduceat(count, np.arange(0, size, BLOCK), axis=1) for count in counts]
    return Degrees(
        order=order,
        position=np.argsort(order, axis=1) + 1,
        hidden=tuple(layers),
        units=tuple(np.argsort(layer, axis=1, kind="stable") for layer in layers),
        starts=tuple(np.cumsum(count, axis=1)[:, :size] - count[:, :size] for count in counts),
        most=tuple(int(count.max()) for count in counts),
        block=tuple(int(count.max()) for count in blocks),
    )


@functools.cache
def reach(
    size: int, hidden: tuple[int, ...], order_seed: int | None, seed: int
) -> Bool[np.ndarray, "D D"]:
    """reach[i, j]: some path through the hidden layers leads from the j-th value of the order to the i-th output."""
    degrees = [np.arange(size) + 1, *(h[0] for h in draw(size, hidden, (order_seed,), seed).hidden)]
    paths = np.eye(size, dtype=bool)
    for source, target in itertools.pairwise(degrees):
        paths = paths.astype(np.float32) @ degree_mask(source, target, strict=False) > 0
    return (paths.astype(np.float32) @ degree_mask(degrees[-1], degrees[0], strict=True) > 0).T


class MaskedMLP(nn.Module):
    """ReLU layers of `hidden` units from the D symbols of an event to P parameters of each, one mask for each order.

    `direct` connects inputs to outputs as well. All masks share the weights, outputs first: those of a unit are one
    piece. `mask` is the index of the one in use, whose order numbers the sites.
    """

    event: Event
    hidden: tuple[int, ...]
    direct: bool
    order_seeds: tuple[int | None, ...]
    seed: int

    @property
    def degrees(self) -> Degrees:
        """Those of all masks."""
        return draw(self.event.size, self.hidden, self.order_seeds, self.seed)

    def setup(self):
        size, levels = self.event.size, self.check()
        self.inputs = num_indicators(levels)
        widths = (size * self.inputs, *self.hidden)
        init = nn.initializers.variance_scaling(2.0, "fan_in", "normal", in_axis=-1, out_axis=0)
        zeros = nn.initializers.zeros
        self.kernels = [
            self.param(f"kernel_{i}", init, (width, widths[i]))
            for i, width in enumerate(self.hidden)
        ]
        self.biases = [
            self.param(f"bias_{i}", zeros, (width,)) for i, width in enumerate(self.hidden)
        ]
        out = (size, head_for(levels).size)
        init = nn.initializers.variance_scaling(
            1.0, "fan_in", "normal", in_axis=-1, out_axis=0, batch_axis=1
        )
        self.out_kernel = self.param("out_kernel", init, (*out, widths[-1]))
        self.out_bias = self.param("out_bias", zeros, out)
        if self.direct:
            self.direct_kernel = self.param("direct_kernel", zeros, (*out, widths[0]))

    def __call__(
        self, x: Integer[Array, "B D"], mask: int | Int[Array, ""]
    ) -> Float[Array, "B sites P"]:
        """All sites at once, every weight under its mask; x by position."""
        position = jnp.asarray(self.degrees.position)[mask]
        below = first = jnp.repeat(position, self.inputs)
        h = u = to_indicators(x, self.inputs, self.out_bias.dtype).reshape(x.shape[0], -1)
        for kernel, bias, table in zip(self.kernels, self.biases, self.degrees.hidden, strict=True):
            degree = jnp.asarray(table)[mask]
            h = nn.relu(h @ jnp.where(degree_mask(below, degree, strict=False), kernel.T, 0) + bias)
            below = degree
        out = self.out_bias + _outputs(
            h, self.out_kernel, degree_mask(below, position, strict=True)
        )
        if self.direct:
            out = out + _outputs(u, self.direct_kernel, degree_mask(first, position, strict=True))
        return out[:, jnp.asarray(self.degrees.order)[mask]]

    @nn.compact
    def site(
        self, x: Int[Array, " B"], mask: int | Int[Array, ""], time: Int[Array, ""]
    ) -> Float[Array, "B P"]:
        """The hidden units that see `time` values, which are all known by now, then the site's output.

        The cache has the values and the hidden units completed so far, features first, zero elsewhere: what a mask
        puts in the place of what is not known. The outputs of a block of sites are begun by one product with the units
        completed by then, so that a whole event costs about as much as all sites at once.
        """
        n, dtype, order = len(x), self.out_bias.dtype, jnp.asarray(self.degrees.order)[mask]
        values = self.variable(
            "cache", "values", jnp.zeros, (self.event.size, self.inputs, n), dtype
        )
        u = to_indicators(x, self.inputs, dtype)
        values.value = values.value.at[order[time - 1]].set(u.T)
        h = u = values.value.reshape(-1, n)
        for i, width in enumerate(self.hidden):
            layer = self.variable("cache", f"layer_{i}", jnp.zeros, (width, n), dtype)
            units, complete = self._slice(i, mask, time, time, self.degrees.most[i])
            new = nn.relu(self.kernels[i][units] @ h + self.biases[i][units, None])
            h = layer.value.at[units].set(jnp.where(complete, new, layer.value[units]))
            layer.value = h
        first = time - time % BLOCK
        block = order[jnp.minimum(first + jnp.arange(BLOCK), self.event.size - 1)]
        begun = self.variable(
            "cache", "begun", jnp.zeros, (BLOCK, self.out_bias.shape[1], n), dtype
        )
        begun.value = once(time == first, lambda _: self.out_kernel[block] @ h, begun.value)
        units, complete = self._slice(-1, mask, first + 1, time, self.degrees.block[-1])
        out = begun.value[time - first] + self.out_bias[order[time], :, None]
        kernel = self.out_kernel[order[time], :, units].T
        out = out + kernel @ jnp.where(complete, h[units], 0)
        if self.direct:
            out = out + self.direct_kernel[order[time]] @ u
        return out.T

    def _slice(self, layer, mask, first, last, most):
        """`most` units of a layer among which are those of degrees first..last, and which of them are."""
        start = jnp.asarray(self.degrees.starts[layer])[mask, first]
        units = jnp.asarray(self.degrees.units[layer])[mask]
        units = lax.dynamic_slice_in_dim(units, start, most, allow_negative_indices=False)
        degree = jnp.asarray(self.degrees.hidden[layer])[mask, units][:, None]
        return units, (first <= degree) & (degree <= last)

    @nn.nowrap
    def check(self) -> int:
        """The number of levels; InputError on events of real values and without hidden units."""
        require(
            bool(self.hidden) and min(self.hidden) >= 1,
            f"made needs at least one hidden unit in every layer, not {self.hidden}",
        )
        return require_integers(self.event, "made")


def _outputs(h, kernel, mask):
    """sum_i mask[i, d] kernel[d, p, i] h[b, i], by one product."""
    D, P, width = kernel.shape
    kernel = jnp.where(mask.T[:, None, :], kernel, 0).reshape(D * P, width)
    return (h @ kernel.T).reshape(-1, D, P)


class MADE(Sequence):
    """One mask, from `mask_seed`; positions in raster order or, by `order_seed`, in a fixed random one."""

    system: ClassVar[str] = "made"

    hidden: tuple[int, ...] = (500,)
    direct: bool = True
    order_seed: int | None = None  # pyright: ignore[reportIncompatibleVariableOverride]
    mask_seed: int = 0

    def setup(self):
        self.net = MaskedMLP(
            self.event, self.hidden, self.direct, (self.order_seed,), self.mask_seed
        )
        self.net.check()

    def body(
        self, x: Int[Array, "B *sites"], cond: Any, train: bool, time: Time
    ) -> Float[Array, "B *sites P"]:
        if time is not None:
            return self.net.site(x, 0, time)
        return self.net(x[:, self.net.degrees.position[0] - 1], 0)

    def context(self, site: int) -> Bool[np.ndarray, " sites"]:
        """Earlier sites to which the mask leaves a path: all of them with direct connections."""
        if self.direct:
            return super().context(site)
        return reach(self.event.size, self.hidden, self.order_seed, self.mask_seed)[site]


class Member(Sequence):
    """Any mask of an ensemble as a class: `cond` has its index, events are flat and in its order of generation."""

    net: MaskedMLP

    @property
    def num_classes(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The number of masks."""
        return len(self.net.order_seeds)

    def body(
        self, x: Int[Array, "B *sites"], cond: Int[Array, " B"], train: bool, time: Time
    ) -> Float[Array, "B *sites P"]:
        """Each example under its own mask: one after the other where all sites are asked for, else side by side."""
        if time is not None:

            def site(net, x, mask):
                return net.site(x[None], mask, time)[0]

            axes: dict = {"params": None, "cache": 0}
            each = nn.vmap(site, variable_axes=axes, split_rngs={"params": False})
            return each(self.net, x, cond)
        net, variables = self.net.unbind()
        rank = jnp.asarray(net.degrees.position) - 1

        def alone(pair):
            values, mask = pair
            return net.apply(variables, values[None, rank[mask]], mask)[0]

        return lax.map(alone, (x, jnp.asarray(cond)))


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
        self.check()
        orders = tuple(range(self.seed, self.seed + self.num_masks))
        net = MaskedMLP(self.event, self.hidden, self.direct, orders, self.seed)
        net.check()
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
        """Mean negative log-likelihood in nats per dimension under one mask, which the key draws for the batch."""
        del cond
        mask = jax.random.randint(fold_in(key, "mask"), (), 0, self.num_masks)
        nats = -jnp.mean(self.joint(x, mask))
        return nats / self.event.size, {"bits_per_dim": bits_per_dim(nats, self.event)}

    def sample(
        self, key: PRNGKey, n: int, cond: Array | None = None, temperature: float | Scalar = 1.0
    ) -> Int[Array, "n *event"]:
        """n draws: a mask for each, then its sites one after the other."""
        del cond
        module, variables = self.member.unbind()
        masks = jax.random.randint(fold_in(key, "mask"), (n,), 0, self.num_masks)
        in_order = ancestral(module, variables, key, n, masks, temperature)
        rank = jnp.asarray(self.member.net.degrees.position)[masks] - 1
        return jnp.take_along_axis(in_order, rank, axis=1).reshape(n, *self.event.shape)

    def check(self) -> None:
        require(self.num_masks >= 1, f"an ensemble needs num_masks >= 1, not {self.num_masks}")
