"""The chain rule, log p(x) = sum_i log p(x_i | x_<i), for every autoregressive model.

A subclass computes the parameters of p(x_i | x_<i) in two ways: for all sites of a given x (`__call__`), and one site
after the other (`init_cache`, `step`, `write`). Likelihood, loss and sampling are written here. Ancestral sampling,
x_i ~ p(x_i | x_<i) for i = 0, 1, ..., takes one cached step a site under `lax.scan`. Its oracle is `naive`, one full
parallel pass a site: it makes the same draws from the same key at a thousand times the cost.
"""

import functools
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Integer, Num

from gen_jax.check import require_integers
from gen_jax.conditions import Cond, zeros
from gen_jax.density import Codec, Kind, LossPer, Value, bits_per_dim, fold_in
from gen_jax.errors import InputError
from gen_jax.heads import Head, head_for
from gen_jax.nn import blocks
from gen_jax.ops.orders import Order, Raster, positions
from gen_jax.typing import Event, Metrics, Nats, PRNGKey, Scalar, Variables

Cache = Any
BATCH, CACHES = 64, 2**32  # events that step side by side, and bytes that their caches may take


class Autoregressive(nn.Module):
    """An exact probability mass over integers, site by site.

    A site is one evaluation of the network. Sites are numbered in the order in which they are generated. A model that
    can follow any `order` of the places of an image makes a field of it.
    """

    event: Event

    num_classes: ClassVar[int] = (
        0  # of the labels that come with the data; a model with classes makes a field of it
    )
    conditions: ClassVar[tuple[Event, ...]] = ()  # what else an example is given
    kind: ClassVar[Kind] = "mass"
    value: ClassVar[Value] = "exact"
    codec: ClassVar[Codec] = "direct"
    loss_per: ClassVar[LossPer] = "dimension"
    takes_reals: ClassVar[bool] = False  # x may be real: parameters have gradients in x
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
        """The positions of each site's values in the flattened event: here one value a site, in the model's order."""
        return positions(self.order, self.event.shape).reshape(-1, 1)

    @property
    def num_sites(self) -> int:
        """The number of network evaluations that one sample takes."""
        return len(self.sites)

    def __call__(
        self, x: Array, cond: Cond = None, train: bool = False
    ) -> Float[Array, "B sites P"]:
        """Parameters of every p(x_i | x_<i), all sites at once."""
        raise TypeError(f"{type(self).__name__} does not define its conditionals")

    def context(self, site: int) -> Bool[np.ndarray, " sites"]:
        """The sites that the distribution of this site depends on: all earlier ones, unless a model overrides it."""
        return np.arange(self.num_sites) < site

    def init_cache(self, n: int, cond: Cond = None) -> Cache:
        """The cache for n events of which no site is known; `step` and `write` keep its structure."""
        raise TypeError(f"{type(self).__name__} does not step")

    def step(self, cache: Cache, site: Int[Array, ""]) -> tuple[Cache, Float[Array, "B P"]]:
        """Parameters of p(x_site | x_<site), once all earlier sites have been written."""
        raise TypeError(f"{type(self).__name__} does not step")

    def write(self, cache: Cache, site: Int[Array, ""], value: Int[Array, "B V"]) -> Cache:
        """The cache after the values of a site have become known."""
        raise TypeError(f"{type(self).__name__} does not step")

    def site_values(self, x: Num[Array, "B *event"]) -> Num[Array, "B sites V"]:
        """The values of each site, in the order of generation."""
        return x.reshape(x.shape[0], -1)[:, self.sites]

    def block_features(self, x: Integer[Array, "B *event"]) -> tuple[Float[Array, "B F"], ...]:
        """The mean over all places of what each block gives, for models that show their blocks (`nn/blocks.py`)."""
        module, variables = self.unbind()
        return blocks.features(module, variables, x)

    def log_prob_sites(
        self, x: Integer[Array, "B *event"], cond: Cond = None, train: bool = False
    ) -> Float[Array, "B sites"]:
        """log p(x_i | x_<i) of every site, nats."""
        return self.head.log_prob(self(x, cond, train), self.site_values(x))

    def log_prob(
        self, x: Integer[Array, "B *event"], key: PRNGKey | None = None, cond: Cond = None
    ) -> Nats:
        """log p(x), exact, nats."""
        del key  # exact: no noise
        return jnp.sum(self.log_prob_sites(x, cond), axis=-1)

    def loss(
        self,
        x: Integer[Array, "B *event"],
        key: PRNGKey,
        cond: Cond = None,
        sizes: Int[Array, " B"] | None = None,
    ) -> tuple[Scalar, Metrics]:
        """Mean negative log-likelihood in nats per dimension.

        With `sizes` that of the first values of each example; the others count as zero nats in the loss.
        """
        del key  # dropout has its own stream
        log_prob = self.log_prob_sites(x, cond, train=True)
        if sizes is not None:
            log_prob = jnp.where(self.counted(sizes), log_prob, 0.0)
        nats = -jnp.mean(jnp.sum(log_prob, axis=-1))
        share = 1.0 if sizes is None else jnp.mean(sizes) / self.event.size
        return nats / self.event.size, {"bits_per_dim": bits_per_dim(nats, self.event) / share}

    def counted(self, sizes: Int[Array, " B"]) -> Bool[Array, "B sites"]:
        """Whether each site lies in the first `sizes` values of its example; InputError unless sites are in order.

        The sum of log p(x_i | x_<i) over these is log p of the first values, whatever follows them.
        """
        if not np.array_equal(self.sites.reshape(-1), np.arange(self.event.size)):
            raise InputError(
                f"{type(self).__name__} visits the values in an order of its own: it has no probability of the first"
                " steps of a padded example"
            )
        return jnp.asarray(self.sites[:, -1]) < sizes[:, None]

    def sample(
        self, key: PRNGKey, n: int, cond: Cond = None, temperature: float | Scalar = 1.0
    ) -> Int[Array, "n *event"]:
        """n draws by ancestral sampling."""
        module, variables = self.unbind()
        return ancestral(module, variables, key, n, cond, temperature)


def ancestral(
    model: Any,
    variables: Variables,
    key: PRNGKey,
    n: int,
    cond: Cond = None,
    temperature: float | Scalar = 1.0,
    known: Num[Array, "n *event"] | None = None,
    num_known: int | Int[Array, ""] = 0,
) -> Int[Array, "n *event"]:
    """n draws, one step a site; with `known`, its first `num_known` sites are kept and the others drawn."""
    cache = model.apply(variables, n, cond, method="init_cache")
    sites = model.sites
    values = jnp.zeros((len(sites), n, sites.shape[1]), jnp.int32)
    if known is not None:
        values = jnp.swapaxes(model.site_values(known), 0, 1).astype(jnp.int32)

    times = jnp.arange(len(sites))
    keys = jax.vmap(functools.partial(fold_in, key))(times)

    def body(cache, inputs):
        site, key, value = inputs
        cache, params = model.apply(variables, cache, site, method="step")
        drawn = model.head.sample(params, key, temperature).astype(jnp.int32)
        value = jnp.where(site < num_known, value, drawn)
        return model.apply(variables, cache, site, value, method="write"), value

    _, values = lax.scan(body, cache, (times, keys, values))
    flat = jnp.zeros((n, model.event.size), jnp.int32)
    flat = flat.at[:, sites].set(jnp.swapaxes(values, 0, 1))
    return lax.reshape(flat, (n, *model.event.shape))


def naive(
    model: Any,
    variables: Variables,
    key: PRNGKey,
    n: int,
    cond: Cond = None,
    temperature: float | Scalar = 1.0,
    upto: int | None = None,
) -> Int[Array, "n *event"]:
    """The draws of `ancestral` by one full parallel pass a site; `upto`: only this many sites."""
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
    model: Any, variables: Variables, x: Integer[Array, "B *event"], cond: Cond = None
) -> Float[Array, "B sites P"]:
    """Parameters of every site, computed step by step through a given x; `__call__` must give the same."""
    cache = model.apply(variables, x.shape[0], cond, method="init_cache")
    values = jnp.swapaxes(model.site_values(x), 0, 1)

    def body(cache, inputs):
        site, value = inputs
        cache, params = model.apply(variables, cache, site, method="step")
        return model.apply(variables, cache, site, value, method="write"), params

    _, params = lax.scan(body, cache, (jnp.arange(model.num_sites), values))
    return jnp.swapaxes(params, 0, 1)


def batch_of(model: Any, variables: Variables) -> int:
    """How many events step side by side: 64, or as many as have caches of 4 GiB in all, at least one.

    It depends on the model alone, since the noise of a sample depends on its batch.
    """
    if not isinstance(model, Autoregressive):
        return BATCH
    return max(1, min(BATCH, CACHES // cache_bytes(model, variables)))


def cache_bytes(model: Autoregressive, variables: Variables) -> int:
    """Bytes of the cache of one event, the condition included."""
    cond = zeros(model, 1)
    empty = lambda variables, cond: model.apply(variables, 1, cond, method="init_cache")  # noqa: E731
    shapes = jax.tree.leaves(jax.eval_shape(empty, variables, cond))
    return max(1, sum(leaf.size * leaf.dtype.itemsize for leaf in shapes))


def prefix_length(model: Any, keep: Bool[np.ndarray, "*event"]) -> int:
    """The number of first sites that `keep` covers; InputError if it also covers sites after a gap.

    Drawing the rest given the kept part is exact only for such a prefix: p(x_>=k | x_<k) needs every earlier site.
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
