"""Attention: y_i = sum_j softmax_j(q_i . k_j / sqrt(K)) v_j over all sites j (full) or earlier ones (causal).

(Vaswani et al. 2017, 1706.03762, equation 1.) Causal attention is strict, j < i and y_0 = 0, as in Chen et al. 2017,
1712.09763, or inclusive, j <= i. Chen et al. add 1e-6 to the denominator of the softmax; here the weights sum to 1.
Scores and weights are float32 or wider. Leading axes are batches.
"""

import functools
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from gen_jax.target import platform


class Partial(NamedTuple):
    """Attention over some of the keys before its weights are normalised: they are divided by exp(peak)."""

    peak: Float[Array, "*batch I 1"]
    total: Float[Array, "*batch I 1"]
    weighted: Float[Array, "*batch I V"]


def full_attention(
    query: Float[Array, "*batch L K"],
    key: Float[Array, "*batch L K"],
    value: Float[Array, "*batch L V"],
) -> Float[Array, "*batch L V"]:
    """Every site reads all sites."""
    sites = query.shape[-2]
    return attend(query, key, value, jnp.ones((sites, sites), bool))


def causal_attention(
    query: Float[Array, "*batch L K"],
    key: Float[Array, "*batch L K"],
    value: Float[Array, "*batch L V"],
    block: int = 128,
    inclusive: bool = False,
) -> Float[Array, "*batch L V"]:
    """All sites, `block` queries at a time against the keys up to the block's end: little more than half of L x L."""
    sites, parts = query.shape[-2], []
    for first in range(0, sites, block):
        last = min(first + block, sites)
        ends = jnp.arange(first, last) + inclusive
        earlier = jnp.arange(last) < ends[:, None]
        rows = query[..., first:last, :]
        parts.append(attend(rows, key[..., :last, :], value[..., :last, :], earlier))
    return jnp.concatenate(parts, axis=-2)


def causal_attention_site(
    query: Float[Array, "B K"],
    keys: Float[Array, "B L K"],
    values: Float[Array, "B L V"],
    site: Int[Array, ""],
) -> Float[Array, "B V"]:
    """One site; `keys` and `values` hold those of earlier sites, and entries from `site` on are not read."""
    earlier = jnp.arange(keys.shape[1]) < site
    return attend(query[:, None], keys, values, earlier[None])[:, 0]


def attend(
    query: Float[Array, "*batch I K"],
    key: Float[Array, "*batch J K"],
    value: Float[Array, "*batch J V"],
    read: Bool[Array, "*batch_or_none I J"],
) -> Float[Array, "*batch I V"]:
    """Attention over the entries that may be `read`; zeros, with zero gradient, in rows that may read none."""
    return normalised(partial_attention(query, key, value, read)).astype(value.dtype)


def partial_attention(
    query: Float[Array, "*batch I K"],
    key: Float[Array, "*batch J K"],
    value: Float[Array, "*batch J V"],
    read: Bool[Array, "*batch_or_none I J"],
) -> Partial:
    """The sums over the entries that may be `read`; the total of a row that may read none is 0."""
    wide = jnp.promote_types(query.dtype, jnp.float32)
    scores = jnp.einsum("...ik,...jk->...ij", query, key, preferred_element_type=wide)
    scores = jnp.where(read, scores / key.shape[-1] ** 0.5, jnp.finfo(wide).min)
    peak = lax.stop_gradient(jnp.max(scores, axis=-1, keepdims=True))
    weights = jnp.where(read, jnp.exp(scores - peak), 0)
    total = jnp.sum(weights, axis=-1, keepdims=True)
    weighted = jnp.einsum(
        "...ij,...jv->...iv", weights.astype(value.dtype), value, preferred_element_type=wide
    )
    return Partial(peak, total, weighted)


def attend_parts(
    query: Float[Array, "*batch I K"],
    keys: tuple[Float[Array, "*batch _J K"], ...],
    values: tuple[Float[Array, "*batch _J V"], ...],
    read: Bool[Array, " J"],
) -> Float[Array, "*batch I V"]:
    """Attention over the entries of several arrays, of which at least one entry is `read`.

    The arrays are read where they lie. Only their scores are put together.
    """
    wide = jnp.promote_types(query.dtype, jnp.float32)
    product = functools.partial(jnp.einsum, preferred_element_type=wide)
    scores = jnp.concatenate([product("...ik,...jk->...ij", query, key) for key in keys], axis=-1)
    scores = jnp.where(read, scores / query.shape[-1] ** 0.5, jnp.finfo(wide).min)
    weights = jnp.exp(scores - jnp.max(scores, axis=-1, keepdims=True))
    total = jnp.sum(weights, axis=-1, keepdims=True)
    ends = np.cumsum([key.shape[-2] for key in keys])[:-1]
    shares = jnp.split(weights.astype(values[0].dtype), ends, axis=-1)
    means = [product("...ij,...jv->...iv", w, v) for w, v in zip(shares, values, strict=True)]
    return (sum(means) / total).astype(values[0].dtype)


def merged(one: Partial, other: Partial) -> Partial:
    """The sums over the keys of both."""
    peak = jnp.maximum(one.peak, other.peak)
    scales = jnp.exp(one.peak - peak), jnp.exp(other.peak - peak)
    return Partial(
        peak,
        scales[0] * one.total + scales[1] * other.total,
        scales[0] * one.weighted + scales[1] * other.weighted,
    )


def normalised(part: Partial) -> Float[Array, "*batch I V"]:
    """The mean under the weights; zeros where there is nothing to read."""
    return part.weighted / jnp.where(part.total == 0, 1, part.total)


def in_one_kernel(query: Float[Array, "B N L K"], value: Float[Array, "B N L V"]) -> bool:
    """Whether cuDNN reads it: on a GPU, in half precision, keys and values as wide, by eights and up to 128."""
    half, width = query.dtype in (jnp.bfloat16, jnp.float16), query.shape[-1]
    fits = width == value.shape[-1] and width % 8 == 0 and width <= 128
    return platform() == "gpu" and half and fits


def one_kernel(
    query: Float[Array, "B N L K"],
    key: Float[Array, "B N L K"],
    value: Float[Array, "B N L K"],
    window: int | None = None,
    by: Literal["cudnn", "xla"] = "cudnn",
) -> Float[Array, "B N L K"]:
    """Position t reads 0, ..., t, or the last `window` of these, in the kernel of a library."""
    query, key, value = (jnp.swapaxes(x, 1, 2) for x in (query, key, value))
    near = None if window is None else (window - 1, 0)
    mean = jax.nn.dot_product_attention(
        query, key, value, is_causal=True, local_window_size=near, implementation=by
    )
    return jnp.swapaxes(mean, 1, 2)
