"""The chain rule: log p(x) = sum_i log p(x_i | x_<i), once for every autoregressive model.

A subclass says how the parameters of p(x_i | x_<i) are computed, for all sites of a given x (`__call__`) and one site
after the other (`init_cache`, `step`, `write`); likelihood, loss and sampling follow. Ancestral sampling,
x_i ~ p(x_i | x_<i) for i = 0, 1, ..., takes one cached step a site under `lax.scan`; `naive`, one full parallel pass a
site, is its oracle: same keys, same draws, a thousand times the cost.
"""

from collections.abc import Callable
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Integer, Num

from gen_jax.check import require_integers
from gen_jax.density import Codec, Kind, LossPer, Value, bits_per_dim, fold_in
from gen_jax.errors import InputError
from gen_jax.heads import Head, head_for
from gen_jax.ops.orders import Order, Raster, positions
from gen_jax.typing import Event, Metrics, Nats, PRNGKey, Scalar, Variables

Cache = Any


class Autoregressive(nn.Module):
    """An exact probability mass over integers, site by site.

    A site is one network evaluation; sites are numbered in the order in which they are generated. A model that can
    follow any `order` of the places of an image makes a field of it.
    """

    event: Event

    num_classes: ClassVar[int] = 0  # a class-conditional model makes a field of it
    kind: ClassVar[Kind] = "mass"
    value: ClassVar[Value] = "exact"
    codec: ClassVar[Codec] = "direct"
    loss_per: ClassVar[LossPer] = "dimension"
    takes_reals: ClassVar[bool] = (
        False  # `__call__` takes levels as reals too: it has gradients in x
    )
    order: ClassVar[Order] = Raster()

    @property
    def levels(self) -> int:
        """Number of levels of each value; InputError for events of reals."""
        return require_integers(self.event, type(self).__name__)

    @property
    def head(self) -> Head:
        """The distribution of a site's values given its parameters."""
        return head_for(self.levels)

    @property
    def sites(self) -> Int[np.ndarray, "sites V"]:
        """Positions in the flattened event of each site's values; here one value a site, those of a place in turn."""
        return positions(self.order, self.event.shape).reshape(-1, 1)

    @property
    def num_sites(self) -> int:
        """Number of network evaluations that a sample takes."""
        return len(self.sites)

    def __call__(
        self, x: Array, cond: Array | None = None, train: bool = False
    ) -> Float[Array, "B sites P"]:
        """Parameters of every p(x_i | x_<i), all sites at once."""
        raise TypeError(f"{type(self).__name__} does not define its conditionals")

    def context(self, site: int) -> Bool[np.ndarray, " sites"]:
        """The sites that this site's distribution depends on: all earlier ones, unless a model says otherwise."""
        return np.arange(self.num_sites) < site

    def init_cache(self, n: int, cond: Array | None = None) -> Cache:
        """The cache of n empty events; step and write keep its structure."""
        raise TypeError(f"{type(self).__name__} does not step")

    def step(self, cache: Cache, site: Int[Array, ""]) -> tuple[Cache, Float[Array, "B P"]]:
        """Parameters of p(x_site | x_<site), the sites before having been written."""
        raise TypeError(f"{type(self).__name__} does not step")

    def write(self, cache: Cache, site: Int[Array, ""], value: Int[Array, "B V"]) -> Cache:
        """Take in the values of a site: drawn, decoded or given."""
        raise TypeError(f"{type(self).__name__} does not step")

    def site_values(self, x: Num[Array, "B *event"]) -> Num[Array, "B sites V"]:
        """The values of each site, in the order of generation."""
        return x.reshape(x.shape[0], -1)[:, self.sites]

    def log_prob_sites(
        self, x: Integer[Array, "B *event"], cond: Array | None = None, train: bool = False
    ) -> Float[Array, "B sites"]:
        """log p(x_i | x_<i) of every site, nats."""
        return self.head.log_prob(self(x, cond, train), self.site_values(x))

    def log_prob(
        self, x: Integer[Array, "B *event"], key: PRNGKey | None = None, cond: Array | None = None
    ) -> Nats:
        """log p(x), exact, nats."""
        del key  # exact: no noise
        return jnp.sum(self.log_prob_sites(x, cond), axis=-1)

    def loss(
        self, x: Integer[Array, "B *event"], key: PRNGKey, cond: Array | None = None
    ) -> tuple[Scalar, Metrics]:
        """Mean negative log-likelihood in nats per dimension."""
        del key  # dropout has its own stream
        nats = -jnp.mean(jnp.sum(self.log_prob_sites(x, cond, train=True), axis=-1))
        return nats / self.event.size, {"bits_per_dim": bits_per_dim(nats, self.event)}

    def sample(
        self, key: PRNGKey, n: int, cond: Array | None = None, temperature: float | Scalar = 1.0
    ) -> Int[Array, "n *event"]:
        """n draws by ancestral sampling, one step a site."""
        module, variables = self.unbind()
        return ancestral(module, variables, key, n, cond, temperature)


def ancestral(
    model: Any,
    variables: Variables,
    key: PRNGKey,
    n: int,
    cond: Array | None = None,
    temperature: float | Scalar = 1.0,
    known: Num[Array, "n *event"] | None = None,
    num_known: int | Int[Array, ""] = 0,
) -> Int[Array, "n *event"]:
    """n samples; where `known` is given its first `num_known` sites are kept and the rest drawn given them."""
    cache = model.apply(variables, n, cond, method="init_cache")
    sites = model.sites
    given = jnp.zeros((len(sites), n, sites.shape[1]), jnp.int32)
    if known is not None:
        given = jnp.swapaxes(model.site_values(known), 0, 1).astype(jnp.int32)

    def body(cache, inputs):
        site, value = inputs
        cache, params = model.apply(variables, cache, site, method="step")
        drawn = model.head.sample(params, fold_in(key, site), temperature).astype(jnp.int32)
        value = jnp.where(site < num_known, value, drawn)
        return model.apply(variables, cache, site, value, method="write"), value

    _, values = lax.scan(body, cache, (jnp.arange(len(sites)), given))
    return _assemble(model, values)


def naive(
    model: Any,
    variables: Variables,
    key: PRNGKey,
    n: int,
    cond: Array | None = None,
    temperature: float | Scalar = 1.0,
    upto: int | None = None,
) -> Int[Array, "n *event"]:
    """The same draws by one full parallel pass a site: the oracle of `ancestral`; only the first `upto` where given."""
    sites = jnp.asarray(model.sites)

    def body(site, x):
        params = model.apply(variables, x.reshape(n, *model.event.shape), cond)[:, site]
        drawn = model.head.sample(params, fold_in(key, site), temperature).astype(jnp.int32)
        return x.at[:, sites[site]].set(drawn)

    x = lax.fori_loop(
        0, len(sites) if upto is None else upto, body, jnp.zeros((n, model.event.size), jnp.int32)
    )
    return x.reshape(n, *model.event.shape)


def stepped_params(
    model: Any, variables: Variables, x: Integer[Array, "B *event"], cond: Array | None = None
) -> Float[Array, "B sites P"]:
    """Parameters of every site by stepping through a given x: what the parallel pass must equal."""
    cache = model.apply(variables, x.shape[0], cond, method="init_cache")
    given = jnp.swapaxes(model.site_values(x), 0, 1)

    def body(cache, inputs):
        site, value = inputs
        cache, params = model.apply(variables, cache, site, method="step")
        return model.apply(variables, cache, site, value, method="write"), params

    _, params = lax.scan(body, cache, (jnp.arange(model.num_sites), given))
    return jnp.swapaxes(params, 0, 1)


def stepped(
    module: Autoregressive,
    variables: Variables,
    memory: dict,
    method: str,
    *inputs: Any,
    at: Any,
) -> tuple[Any, dict]:
    """What a method gives at one place, and the layers' memory (their collection `cache`) after it."""
    own = {name: tree for name, tree in variables.items() if name != "cache"}
    both: Any = module.apply(
        {**own, "cache": memory}, *inputs, False, at, method=method, mutable=["cache"]
    )
    result, updated = both
    return result, {**memory, **updated.get("cache", {})}


def require_cache(module: Autoregressive, new: Any, old: Any) -> None:
    """InputError where `old` lacks what a step needs: layers would begin with zeros at every site."""
    if jax.tree.structure(new) != jax.tree.structure(old):
        raise InputError(f"this is no cache of {type(module).__name__}: parts of it are absent")


def zeros_of(function: Callable[..., Any], *inputs: Any) -> Any:
    """Zeros in the shapes and types of what a function gives, without computing it."""
    shapes = jax.eval_shape(function, *inputs)
    return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)


def prefix_length(model: Any, keep: Bool[np.ndarray, "*event"]) -> int:
    """Number of leading sites that `keep` covers; InputError where it is no prefix of the model's order.

    Only then is drawing the rest, given the kept part, exact: p(x_>=k | x_<k) needs every earlier site known.
    """
    covered = keep.reshape(-1)[model.sites]
    whole: np.ndarray = np.all(covered, axis=1)
    if np.any(np.any(covered, axis=1) != whole):
        raise InputError(
            "the kept region cuts through a site: a pixel's values must be kept or drawn together"
        )
    length = int(whole.sum())
    if not whole[:length].all():
        first = int(np.flatnonzero(~whole)[0])
        where = np.unravel_index(model.sites[first][0], model.event.shape)
        raise InputError(
            "only a prefix of the model's order of generation can be kept, and the kept region has a gap at"
            f" {tuple(int(i) for i in where)}, whose distribution would have to be conditioned on later pixels"
        )
    return length


def _assemble(model: Any, values: Int[Array, "sites n V"]) -> Int[Array, "n *event"]:
    flat = jnp.zeros((values.shape[1], model.event.size), jnp.int32)
    flat = flat.at[:, model.sites].set(jnp.swapaxes(values, 0, 1))
    return jax.lax.reshape(flat, (values.shape[1], *model.event.shape))
