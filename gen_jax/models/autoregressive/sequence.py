"""Sequences: log p(x) = sum_t log p(x_t | x_<t), by one network for all times at once or one time after the other.

A model writes its network once, as `body`. Its layers keep what they need of earlier times in the Linen collection
`cache`. `init_cache`, `step` and `write` are written here, for all models.
"""

from typing import Any, ClassVar, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Integer, Num

from gen_jax.conditions import Cond
from gen_jax.models.autoregressive.base import Autoregressive
from gen_jax.nn.at import require_cache, stepped, zeros_of
from gen_jax.ops.orders import Shuffled

NOTHING = -1  # the value before the first
Time = Int[Array, ""] | None


class Cache(NamedTuple):
    """The layers' collection `cache`, the values of the site before, and the terms of the condition."""

    leaves: dict
    before: Int[Array, "B *V"]
    terms: Any


class Beginning(NamedTuple):
    """What a model may be given instead of its own start: the first input, and where each value of a sequence lies.

    Without `places` the values lie where the model's sites do.
    """

    start: Float[Array, "B F"]
    places: Int[Array, "B sites"] | None = None


class Sequence(Autoregressive):
    """One site after the other, in the model's order or, with the field `order_seed`, in a random order of all values.

    A model that can begin otherwise has `begins` and takes a `Beginning` as its condition.
    """

    begins: ClassVar[bool] = False

    order_seed: ClassVar[int | None] = None

    @property
    def sites(self) -> Int[np.ndarray, "sites 1"]:
        if self.order_seed is None:
            return super().sites
        return Shuffled(self.order_seed).places(1, self.event.size)[:, None]

    def body(
        self, x: Int[Array, "B *sites_V"], cond: Any, train: bool, time: Time
    ) -> Float[Array, "B *sites P"]:
        """The network: parameters of p(x_t | x_<t) for all times, or for one.

        `time` None: x holds all values, in order of generation. The first layer must hide x_t and later values from
        time t, by `shifted` or by a mask. Otherwise x is the value before this time, NOTHING before the first. Values
        have an axis of their own if a site has several.
        """
        raise TypeError(f"{type(self).__name__} does not define its conditionals")

    def terms(self, cond: Any) -> Any:
        """The terms of the condition that `body` reads, computed once an event."""
        return cond

    def __call__(
        self,
        x: Integer[Array, "B *event"],
        cond: Cond | Beginning = None,
        train: bool = False,
    ) -> Float[Array, "B sites P"]:
        values = _without_axis_of_one(self.site_values(x)).astype(jnp.int32)
        return self.body(values, self.terms(cond), train, None)

    def init_cache(self, n: int, cond: Cond | Beginning = None) -> Cache:
        module, variables = self.unbind()
        before = jnp.full((n, self.sites.shape[1]), NOTHING, jnp.int32)
        before, terms = _without_axis_of_one(before), self.terms(cond)

        def leaves(variables, *inputs):
            return stepped(module, variables, {}, "body", *inputs, at=jnp.zeros((), int))[1]

        return Cache(zeros_of(leaves, variables, before, terms), before, terms)

    def step(self, cache: Cache, site: Int[Array, ""]) -> tuple[Cache, Float[Array, "B P"]]:
        module, variables = self.unbind()
        time = jnp.asarray(site, int)  # the same integer type everywhere
        inputs = (cache.before, cache.terms)
        params, leaves = stepped(module, variables, cache.leaves, "body", *inputs, at=time)
        require_cache(module, leaves, cache.leaves)
        return cache._replace(leaves=leaves), params

    def write(self, cache: Cache, site: Int[Array, ""], value: Int[Array, "B V"]) -> Cache:
        return cache._replace(before=_without_axis_of_one(value).astype(jnp.int32))


def shifted(x: Int[Array, "B *sites_V"], time: Time) -> Int[Array, "B *sites_V"]:
    """The values before each time. At one time x is these already."""
    if time is not None:
        return x
    before = ((0, 0), (1, 0), *[(0, 0)] * (x.ndim - 2))
    return jnp.pad(x, before, constant_values=NOTHING)[:, :-1]


def _without_axis_of_one(values: Num[Array, "*batch V"]) -> Num[Array, "*batch_V"]:
    """The values of sites, which have no axis if a site has one."""
    return values[..., 0] if values.shape[-1] == 1 else values
