"""LMConv: log p(x) = sum_i log p(x_{o(i)} | x_{o(<i)}) over pixels in any order o; the weights do not depend on it.

One stream of gated residual networks y = x + n(a) . sigma(b), [a, b] = conv(f(n(conv(f(x))) + W f(skip))), with
f = concat_elu, 3x3 convolutions whose mask at each place opens the pixels that come earlier in the order, dilated ones
between the stages, and normalisation n of the features of each place. Trained on several orders, one drawn at each step
(Jain, Abbeel and Pathak 2020, 2006.12486; layers as in their code; n of Li et al. 2019, 1907.04312).
"""

import functools
from typing import ClassVar, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.linen.dtypes import promote_dtype
from jaxtyping import Array, Bool, Float, Int, Integer, Num

from gen_jax.check import require, require_image
from gen_jax.conditions import Cond
from gen_jax.heads import Head, head_for
from gen_jax.models.autoregressive.base import Autoregressive
from gen_jax.models.autoregressive.mixture import Mixture, index_of, loss_of_one
from gen_jax.nn.at import require_cache, stepped, zeros_of
from gen_jax.nn.blocks import show
from gen_jax.nn.shifted_conv import Project
from gen_jax.ops.gates import concat_elu
from gen_jax.ops.local_mask import (
    DILATION,
    TAPS,
    Masks,
    Reach,
    Tables,
    Visit,
    dependence,
    local_conv,
    local_conv_site,
    pick,
    tables,
)
from gen_jax.ops.orders import SYMMETRIES, Order, SCurve, positions
from gen_jax.ops.scaling import to_symmetric
from gen_jax.typing import Dtype, Event, Metrics, Nats, PRNGKey, Scalar

STAGES = 3
S_CURVES: tuple[Order, ...] = tuple(SCurve(variant) for variant in range(SYMMETRIES))


@functools.cache
def reaches(resnets: int) -> tuple[Reach, ...]:
    """The reaches of all convolutions, in the order in which they run."""
    up: tuple[Reach, ...] = ("near",) * 2 * resnets
    down: tuple[Reach, ...] = (*up, "near", "near")
    return ("first", *up, "far", *up, "far", *up, *up, "far", *down, "far", *down)


def normalised(x: Float[Array, "*sites F"]) -> Float[Array, "*sites F"]:
    """Features of mean 0 and variance 1 at each place, from no other place (Li et al. 2019, 1907.04312)."""
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    apart = wide - jnp.mean(wide, axis=-1, keepdims=True)
    variance = jnp.sum(apart**2, axis=-1, keepdims=True) / (x.shape[-1] - 1)
    return (apart / jnp.sqrt(variance + 1e-5)).astype(x.dtype)


class LocalConv(nn.Module):
    """A 3x3 convolution under masks. In steps it keeps its input at each of the `places` of an image."""

    features: int
    places: int
    reach: Reach = "near"
    dtype: Dtype = None

    @nn.compact
    def __call__(self, x: Float[Array, "*sites I"], at: Masks | Visit) -> Float[Array, "*sites O"]:
        """All places, or a site; at a site x is its input, with "first" the input of the site before."""
        init = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform", (0, 1), 2)
        kernel = self.param("kernel", init, (TAPS, x.shape[-1], self.features))
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        x, kernel, bias = promote_dtype(x, kernel, bias, dtype=self.dtype)
        if isinstance(at, Masks):
            mask = jnp.asarray(getattr(at, self.reach))
            return local_conv(x, kernel, mask, DILATION[self.reach]) + bias
        size = (self.places + 1, *x.shape)
        inputs = self.variable("cache", "inputs", jnp.zeros, size, x.dtype)
        place = at.before if self.reach == "first" else at.place
        inputs.value = inputs.value.at[place].set(x)
        taps, read = getattr(at, self.reach)
        return local_conv_site(inputs.value, kernel, taps, read) + bias


class LocalResnet(nn.Module):
    """A gated residual network, with `skip` one that also reads a tensor of the way up."""

    features: int
    places: int
    skip: bool = False
    dtype: Dtype = None

    def setup(self):
        """Declare the two convolutions and the 1x1 of the skip."""
        self.first = LocalConv(self.features, self.places, dtype=self.dtype)
        self.second = LocalConv(2 * self.features, self.places, dtype=self.dtype)
        if self.skip:
            self.project = Project(self.features, dtype=self.dtype)

    def __call__(
        self, x: Float[Array, "*sites F"], at: Masks | Visit, *skip: Float[Array, "*sites F"]
    ) -> Float[Array, "*sites F"]:
        """The outputs at all places, or at a site."""
        hidden = normalised(self.first(concat_elu(x), at))
        if self.skip:
            hidden = hidden + self.project(*map(concat_elu, skip))
        a, b = jnp.split(self.second(concat_elu(hidden), at), 2, axis=-1)
        return x + normalised(a) * jax.nn.sigmoid(b)


class LocalNet(nn.Module):
    """Three stages up and three down, each of `resnets` networks, the last two of one more; down reads up."""

    features: int
    resnets: int
    outputs: int
    places: int
    dtype: Dtype = None

    def setup(self):
        """Declare all layers."""
        sizes = {"features": self.features, "places": self.places, "dtype": self.dtype}
        more = [self.resnets + (stage > 0) for stage in range(STAGES)]
        self.first = LocalConv(**sizes, reach="first")
        self.up = [[LocalResnet(**sizes) for _ in range(self.resnets)] for _ in range(STAGES)]
        self.down = [[LocalResnet(**sizes, skip=True) for _ in range(count)] for count in more]
        self.far = [LocalConv(**sizes, reach="far") for _ in range(2 * (STAGES - 1))]
        self.out = Project(self.outputs, dtype=self.dtype)

    def __call__(self, x: Float[Array, "*sites I"], at: Masks | Visit) -> Float[Array, "*sites P"]:
        """Parameters at all places, or those of a site, given the input of the site before."""
        far = iter(self.far)
        x = normalised(self.first(x, at))
        passed = [x]
        for stage, blocks in enumerate(self.up):
            if stage > 0:
                x = normalised(next(far)(x, at))
                passed.append(x)
            for block in blocks:
                x = block(x, at)
                show(self, x)
                passed.append(x)
        passed.pop()
        for stage, blocks in enumerate(self.down):
            if stage > 0:
                x = normalised(next(far)(x, at))
            for block in blocks:
                x = block(x, at, passed.pop())
                show(self, x)
        return self.out(nn.elu(x))


class Cache(NamedTuple):
    """The layers' memory, the input of the site before, and the order of each example, where there are several."""

    memory: dict
    before: Float[Array, "B I"]
    cond: Cond


class Ordered(Autoregressive):
    """Pixels under the masks of an order: the network, and what `LMConv` and the members of an ensemble share."""

    features: int = 160
    resnets: int = 5
    mixtures: int | None = 10
    orders: tuple[Order, ...] = S_CURVES
    dtype: Dtype = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Height, width and channels of the images."""
        return self.event.shape

    @property
    def head(self) -> Head:
        """K logistics for all channels of a pixel; without mixtures a softmax, for one channel."""
        return head_for(self.levels, self.shape[-1], self.mixtures)

    def setup(self):
        self.check()
        sizes = {"features": self.features, "resnets": self.resnets, "dtype": self.dtype}
        self.net = LocalNet(**sizes, outputs=self.head.size, places=self.num_sites)

    def to_input(self, x: Num[Array, "*B C"]) -> Float[Array, "*B C_and_1"]:
        """The scaled values and a one, which is missing where a place is not known."""
        scaled = to_symmetric(x, self.levels)
        return jnp.concatenate([scaled, jnp.ones_like(scaled[..., :1])], axis=-1)

    def joint(self, x: Integer[Array, "B H W C"], index: Int[Array, ""]) -> Nats:
        """log p(x) under one of `orders`, nats."""
        masks = pick(tables(self.orders, *self.shape[:2]).masks, index)
        params = self.net(self.to_input(x), masks)
        return jnp.sum(self.head.log_prob(params, x), axis=(1, 2))

    def visit(
        self,
        before: Float[Array, "B C_and_1"],
        cond: Cond,
        train: bool,
        site: Int[Array, ""],
    ) -> Float[Array, "B P"]:
        """Parameters of a site, given the input of the site before."""
        raise TypeError(f"{type(self).__name__} does not visit its sites")

    def init_cache(self, n: int, cond: Cond = None) -> Cache:
        module, variables = self.unbind()
        before = jnp.zeros((n, self.shape[-1] + 1))

        def memory(variables, before, cond):
            at = jnp.zeros((), int)
            return stepped(module, variables, {}, "visit", before, cond, at=at)[1]

        return Cache(zeros_of(memory, variables, before, cond), before, cond)

    def step(self, cache: Cache, site: Int[Array, ""]) -> tuple[Cache, Float[Array, "B P"]]:
        module, variables = self.unbind()
        inputs, at = (cache.before, cache.cond), jnp.asarray(site, int)
        params, memory = stepped(module, variables, cache.memory, "visit", *inputs, at=at)
        require_cache(module, memory, cache.memory)
        return cache._replace(memory=memory), params

    def write(self, cache: Cache, site: Int[Array, ""], value: Int[Array, "B V"]) -> Cache:
        return cache._replace(before=self.to_input(value).astype(cache.before.dtype))

    def check(self) -> None:
        """InputError on events, sizes and orders that cannot work."""
        require(
            self.mixtures is not None or self.shape[-1] == 1,
            "lm_conv without mixtures has a softmax, which is for one channel; colour needs mixtures",
        )
        require(
            self.mixtures is None or self.mixtures >= 1,
            f"lm_conv needs at least one mixture, not {self.mixtures}",
        )
        require(
            self.features >= 2,
            f"lm_conv needs at least 2 features to normalise, not {self.features}",
        )
        require(self.resnets >= 0, f"lm_conv needs resnets >= 0, not {self.resnets}")
        require(bool(self.orders), "lm_conv needs at least one order to train on")
        tables(self.orders, *self.shape[:2])


class LMConv(Ordered):
    """Images (H, W, C) of any number of levels, generated in `order`; each step of the training draws one of `orders`.

    The weights serve every order, so that any part of an image can be completed given the rest.
    """

    system: ClassVar[str] = "lm_conv"
    takes_reals: ClassVar[bool] = True

    order: Order = SCurve()  # pyright: ignore[reportIncompatibleVariableOverride]

    @property
    def sites(self) -> Int[np.ndarray, "sites V"]:
        """Positions of the channels of each pixel, in order of generation."""
        return positions(self.order, self.event.shape)

    @property
    def own(self) -> Tables:
        """What convolutions read under `order`."""
        return tables((self.order,), *self.event.shape[:2])

    def __call__(
        self, x: Num[Array, "B H W C"], cond: Cond = None, train: bool = False
    ) -> Float[Array, "B sites P"]:
        params = self.net(self.to_input(x), pick(self.own.masks, 0))
        return params.reshape(len(x), self.num_sites, -1)[:, self.own.places[0]]

    def visit(
        self,
        before: Float[Array, "B C_and_1"],
        cond: Cond,
        train: bool,
        site: Int[Array, ""],
    ) -> Float[Array, "B P"]:
        return self.net(before, pick(self.own.visits, 0, site))

    def loss(  # pyright: ignore[reportIncompatibleMethodOverride]  of whole examples only
        self, x: Integer[Array, "B H W C"], key: PRNGKey, cond: Cond = None
    ) -> tuple[Scalar, Metrics]:
        """Mean negative log-likelihood in nats per dimension under one of `orders`, which the key draws."""
        joint = lambda index: self.joint(x, index)  # noqa: E731
        return loss_of_one(joint, key, len(self.orders), self.event)

    def context(self, site: int) -> Bool[np.ndarray, " sites"]:
        """The places that the masks of all layers leave a path from."""
        places, (height, width, _) = self.own.places[0], self.event.shape
        seen = dependence(self.order, height, width, reaches(self.resnets))
        return seen[places[site], places]

    @nn.nowrap
    def averaged(self) -> "LMConvEnsemble":
        """The average over `orders`; its weights are those of this model under the name `member`."""
        sizes = (self.features, self.resnets, self.mixtures, self.orders, self.dtype)
        return LMConvEnsemble(self.event, *sizes)

    def check(self) -> None:
        require_image(self.event, "lm_conv")
        super().check()


class Member(Ordered):
    """The network under one of `orders`, given its index; events are flat and in its order of generation."""

    sides: tuple[int, ...] = ()

    @property
    def conditions(self) -> tuple[Event, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The index of the order."""
        return (Event((1,), len(self.orders)),)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.sides

    @property
    def sites(self) -> Int[np.ndarray, "sites V"]:
        return np.arange(self.event.size).reshape(-1, self.sides[-1])

    def __call__(
        self, x: Integer[Array, "B D"], cond: Cond = None, train: bool = False
    ) -> Float[Array, "B sites P"]:
        """All sites of each example, by the masks of its order."""
        every, index = tables(self.orders, *self.sides[:2]), index_of(cond)
        places = pick(every.places, index)[..., None]
        values = x.reshape(len(x), self.num_sites, -1)
        image = jnp.take_along_axis(values, jnp.argsort(places, axis=1), axis=1)
        image = self.to_input(image.reshape(len(x), *self.sides))
        params = self.net(image, pick(every.masks, index)).reshape(len(x), self.num_sites, -1)
        return jnp.take_along_axis(params, places, axis=1)

    def visit(
        self,
        before: Float[Array, "B C_and_1"],
        cond: Cond,
        train: bool,
        site: Int[Array, ""],
    ) -> Float[Array, "B P"]:
        def alone(net, before, at):
            return net(before[None], at)[0]

        axes: dict = {"params": None, "cache": 0}
        each = nn.vmap(alone, variable_axes=axes, split_rngs={"params": False})
        visits = pick(tables(self.orders, *self.sides[:2]).visits, index_of(cond), site)
        return each(self.net, before, visits)


class LMConvEnsemble(Mixture):
    """p(x) = 1/K sum_k p_k(x): the network of `LMConv` under each of K orders."""

    system: ClassVar[str] = "lm_conv"

    features: int = 160
    resnets: int = 5
    mixtures: int | None = 10
    orders: tuple[Order, ...] = S_CURVES
    dtype: Dtype = None

    @property
    def num_members(self) -> int:
        """The number of orders."""
        return len(self.orders)

    @property
    def given(self) -> Member:
        return self.member

    def setup(self):
        require_image(self.event, "lm_conv")
        flat = Event((self.event.size,), self.event.levels)
        sizes = (self.features, self.resnets, self.mixtures, self.orders, self.dtype)
        self.member = Member(flat, *sizes, sides=self.event.shape)

    def order(self, index: Int[Array, " B"]) -> Int[Array, "B D"]:
        every = [positions(order, self.event.shape).reshape(-1) for order in self.orders]
        return pick(np.stack(every), index)

    def joint(self, x: Integer[Array, "B H W C"], index: Int[Array, ""]) -> Nats:
        return self.member.joint(x, index)
