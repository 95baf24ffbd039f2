"""MADE: log p(x) = sum_d log p(x_d | x_<d), all conditionals from one masked autoencoder.

h = relu(b + (W . M) x), z = c + (V . M_V) h (+ (A . M_A) x), where M[i, j] is 1 if degree_i <= degree_j (at the outputs
if degree_i < degree_j), else 0 (Germain, Gregor, Murray and Larochelle 2015, 1502.03509, section 3). `MADEEnsemble`
trains one network with many masks, each for another order, and averages their joint probabilities (section 4).
"""

import functools
import itertools
from typing import Any, ClassVar, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Integer

from gen_jax.check import require, require_integers
from gen_jax.conditions import Cond
from gen_jax.heads import head_for
from gen_jax.models.autoregressive.mixture import Mixture, index_of
from gen_jax.models.autoregressive.sequence import Sequence, Time
from gen_jax.ops.convolution import gathered
from gen_jax.ops.loops import once
from gen_jax.ops.masks import degree_mask
from gen_jax.ops.orders import Raster, Shuffled
from gen_jax.ops.scaling import num_indicators, to_indicators
from gen_jax.typing import Event, Nats

BLOCK = 16  # number of sites whose outputs are started by one product


class Degrees(NamedTuple):
    """For each of K masks: the order, the degree of each position, and the degrees of the hidden units by layer.

    A unit of degree m reads the first m values of the order; an output of degree m reads the first m - 1. `units` lists
    a layer's units by rising degree, and `starts[k, m]` is the number of units of a degree below m, so the units of
    degree m are a slice. `most` is the largest number of units with one degree, `block` the largest number of units
    with the degrees of one block.
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
    """One mask for each order; degrees are uniform from the least degree in the layer before to D - 1.

    No output could read a unit of degree D. With a single value (D = 1) the hidden units have degree 1, and no output
    reads them. NumPy keeps these random streams frozen, so weights keep their masks.
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
    """reach[i, j]: whether a path through the hidden layers leads from value j of the order to output i."""
    degrees = [np.arange(size) + 1, *(h[0] for h in draw(size, hidden, (order_seed,), seed).hidden)]
    paths = np.eye(size, dtype=bool)
    for source, target in itertools.pairwise(degrees):
        paths = paths.astype(np.float32) @ degree_mask(source, target, strict=False) > 0
    return (paths.astype(np.float32) @ degree_mask(degrees[-1], degrees[0], strict=True) > 0).T


class MaskedMLP(nn.Module):
    """ReLU layers of `hidden` units from the D values of an event to P parameters for each, with a mask for each order.

    `direct`: inputs are also connected to outputs. All masks share the weights. A kernel has its outputs first, so that
    the weights of a unit are contiguous. `mask` is the index of the mask in use; its order numbers the sites.
    """

    event: Event
    hidden: tuple[int, ...]
    direct: bool
    order_seeds: tuple[int | None, ...]
    seed: int

    @property
    def degrees(self) -> Degrees:
        """The degrees under all masks."""
        return draw(self.event.size, self.hidden, self.order_seeds, self.seed)

    def setup(self):
        size, levels = self.event.size, self.check()
        self.inputs = num_indicators(levels)
        widths = (size * self.inputs, *self.hidden)
        init = nn.initializers.variance_scaling(2.0, "fan_in", "normal", in_axis=-1, out_axis=0)
        zeros = nn.initializers.zeros
        self.kernels = [
            gathered(self.param(f"kernel_{i}", init, (width, widths[i])))
            for i, width in enumerate(self.hidden)
        ]
        self.biases = [
            self.param(f"bias_{i}", zeros, (width,)) for i, width in enumerate(self.hidden)
        ]
        out = (size, head_for(levels).size)
        init = nn.initializers.variance_scaling(
            1.0, "fan_in", "normal", in_axis=-1, out_axis=0, batch_axis=1
        )
        self.out_kernel = gathered(self.param("out_kernel", init, (*out, widths[-1])))
        self.out_bias = gathered(self.param("out_bias", zeros, out))
        if self.direct:
            self.direct_kernel = gathered(self.param("direct_kernel", zeros, (*out, widths[0])))

    def __call__(
        self, x: Integer[Array, "B D"], mask: int | Int[Array, ""]
    ) -> Float[Array, "B sites P"]:
        """The parameters of all sites at once; x is in raster order."""
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
        """The parameters of one site: first the hidden units of degree `time`, all of whose inputs are known, then it.

        The cache holds the values and hidden units that are known, features first, and zeros for the others. The
        outputs of a block of sites start with one product with all units that are known when the block begins, so that
        a whole event costs about as much as all sites at once.
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
        """`most` units of a layer, which include all of degrees first..last, and which of them have such a degree."""
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
    """One mask, from `mask_seed`. The values are in raster order or, with `order_seed`, in a fixed random order."""

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
        """The sites from which the mask leaves a path to this one: all earlier ones if there are direct connections."""
        if self.direct:
            return super().context(site)
        return reach(self.event.size, self.hidden, self.order_seed, self.mask_seed)[site]


class Member(Sequence):
    """p_k(x) of an ensemble, given the index k of the mask; events are flat, in the order of mask k."""

    net: MaskedMLP

    @property
    def conditions(self) -> tuple[Event, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The index of the mask."""
        return (Event((1,), len(self.net.order_seeds)),)

    def terms(self, cond: Cond) -> Int[Array, " B"]:
        """The index of each example."""
        return index_of(cond)

    def body(
        self, x: Int[Array, "B *sites"], cond: Int[Array, " B"], train: bool, time: Time
    ) -> Float[Array, "B *sites P"]:
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


class MADEEnsemble(Mixture):
    """p(x) = 1/K sum_k p_k(x): K masks of one network, each with its own order and degrees (sections 4.2 and 4.3)."""

    system: ClassVar[str] = "made"

    hidden: tuple[int, ...] = (500,)
    direct: bool = True
    num_masks: int = 32
    seed: int = 0

    @property
    def num_members(self) -> int:
        """The number of masks."""
        return self.num_masks

    def setup(self):
        self.check()
        orders = tuple(range(self.seed, self.seed + self.num_masks))
        net = MaskedMLP(self.event, self.hidden, self.direct, orders, self.seed)
        net.check()
        self.member = Member(Event((self.event.size,), self.event.levels), net)

    @property
    def given(self) -> Member:
        return self.member

    def order(self, index: Int[Array, " B"]) -> Int[Array, "B D"]:
        return jnp.asarray(self.member.net.degrees.order)[index]

    def joint(self, x: Integer[Array, "B *event"], index: Int[Array, ""]) -> Nats:
        """log p_k(x) under one mask, nats."""
        x = x.reshape(x.shape[0], -1)
        values = x[:, jnp.asarray(self.member.net.degrees.order)[index], None]
        return jnp.sum(self.member.head.log_prob(self.member.net(x, index), values), axis=-1)

    def check(self) -> None:
        require(self.num_masks >= 1, f"an ensemble needs num_masks >= 1, not {self.num_masks}")
