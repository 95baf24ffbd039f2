"""Attention: y_i = sum_j softmax_j(q_i . k_j / sqrt(K)) v_j over all sites j (full) or over j < i (causal).

(Vaswani et al. 2017, 1706.03762, equation 1.) Causal attention here is strict, and y_0 = 0, as in Chen et al. 2017,
1712.09763; their code adds 1e-6 to the denominator of the softmax, here the weights sum to 1. Scores and weights are
float32 or wider.
"""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int


def full_attention(
    query: Float[Array, "B L K"], key: Float[Array, "B L K"], value: Float[Array, "B L V"]
) -> Float[Array, "B L V"]:
    """Every site reads all sites."""
    sites = query.shape[1]
    return _read(query, key, value, jnp.ones((sites, sites), bool))


def causal_attention(
    query: Float[Array, "B L K"],
    key: Float[Array, "B L K"],
    value: Float[Array, "B L V"],
    block: int = 128,
) -> Float[Array, "B L V"]:
    """All sites, `block` queries at a time against the keys up to the block's end: little more than half of L x L."""
    sites, parts = query.shape[1], []
    for first in range(0, sites, block):
        last = min(first + block, sites)
        earlier = jnp.arange(last) < jnp.arange(first, last)[:, None]
        parts.append(_read(query[:, first:last], key[:, :last], value[:, :last], earlier))
    return jnp.concatenate(parts, axis=1)


def causal_attention_site(
    query: Float[Array, "B K"],
    keys: Float[Array, "B L K"],
    values: Float[Array, "B L V"],
    site: Int[Array, ""],
) -> Float[Array, "B V"]:
    """One site; `keys` and `values` hold those of earlier sites, and entries from `site` on are not read."""
    earlier = jnp.arange(keys.shape[1]) < site
    return _read(query[:, None], keys, values, earlier[None])[:, 0]


def _read(
    query: Float[Array, "B I K"],
    key: Float[Array, "B J K"],
    value: Float[Array, "B J V"],
    read: Bool[Array, "I J"],
) -> Float[Array, "B I V"]:
    """Attention over the entries that may be `read`; zeros, with zero gradient, in rows that may read none."""
    wide = jnp.promote_types(query.dtype, jnp.float32)
    scores = jnp.einsum("bik,bjk->bij", query, key, preferred_element_type=wide)
    scores = jnp.where(read, scores / key.shape[-1] ** 0.5, jnp.finfo(wide).min)
    peak = lax.stop_gradient(jnp.max(scores, axis=-1, keepdims=True))
    weights = jnp.where(read, jnp.exp(scores - peak), 0)
    total = jnp.sum(weights, axis=-1, keepdims=True)
    mean = jnp.einsum(
        "bij,bjv->biv", weights.astype(value.dtype), value, preferred_element_type=wide
    )
    return (mean / jnp.where(total == 0, 1, total)).astype(value.dtype)
