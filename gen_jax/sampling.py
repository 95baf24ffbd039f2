"""Ancestral sampling: x_i ~ p(x_i | x_<i) for i = 0, 1, ..., one cached step a site under `lax.scan`.

Everything sequential goes through the stepping interface of `models/autoregressive/base.py`. The loop of full parallel
passes stays as the oracle: same keys, same draws, a thousand times the cost.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Integer, Num

from gen_jax.density import fold_in
from gen_jax.errors import InputError
from gen_jax.typing import PRNGKey, Scalar, Variables


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
