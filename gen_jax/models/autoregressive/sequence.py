"""Sequences: log p(x) = sum_t log p(x_t | x_<t), by one network for all times at once or one time after the other.

A model writes its network once, as `body`. Its layers keep what they need of earlier times in the Linen collection
`cache`. `init_cache`, `step` and `write` are written here, for all models.
"""

from typing import Any, ClassVar, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Integer, Num

from gen_jax.models.autoregressive.base import Autoregressive, require_cache, stepped, zeros_of
from gen_jax.ops.orders import Shuffled

NOTHING = -1  # the value before the first
Time = Int[Array, ""] | None


class Cache(NamedTuple):
    """The layers' collection `cache`, the value before, and the terms of the condition."""

    leaves: dict
    before: Int[Array, " B"]
    terms: Any


class Sequence(Autoregressive):
    """One value a site, in the model's order or, with the field `order_seed`, in a random order of all values."""

    order_seed: ClassVar[int | None] = None

    @property
    def sites(self) -> Int[np.ndarray, "sites 1"]:
        if self.order_seed is None:
            return super().sites
        return Shuffled(self.order_seed).places(1, self.event.size)[:, None]

    def body(
        self, x: Int[Array, "B *sites"], cond: Any, train: bool, time: Time
    ) -> Float[Array, "B *sites P"]:
        """The network: parameters of p(x_t | x_<t) for all times, or for one.

        `time` None: x holds all values, in order of generation. The first layer must hide x_t and later values from
        time t, by `shifted` or by a mask. Otherwise x is the value before this time, NOTHING before the first.
        """
        raise TypeError(f"{type(self).__name__} does not define its conditionals")

    def terms(self, cond: Num[Array, "B ..."] | None) -> Any:
        """The terms of the condition that `body` reads, computed once an event."""
        return cond

    def __call__(
        self, x: Integer[Array, "B *event"], cond: Array | None = None, train: bool = False
    ) -> Float[Array, "B sites P"]:
        values = self.site_values(x)[..., 0].astype(jnp.int32)
        return self.body(values, self.terms(cond), train, None)

    def init_cache(self, n: int, cond: Array | None = None) -> Cache:
        module, variables = self.unbind()
        before, terms = jnp.full(n, NOTHING, jnp.int32), self.terms(cond)

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

    def write(self, cache: Cache, site: Int[Array, ""], value: Int[Array, "B 1"]) -> Cache:
        return cache._replace(before=value[:, 0].astype(jnp.int32))


def shifted(x: Int[Array, "B *sites"], time: Time) -> Int[Array, "B *sites"]:
    """The value before each time. At one time x is that value already."""
    if time is not None:
        return x
    return jnp.pad(x, ((0, 0), (1, 0)), constant_values=NOTHING)[:, :-1]
