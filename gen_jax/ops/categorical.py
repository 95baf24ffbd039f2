"""Draws from a categorical distribution over levels, given by logits."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key


def sample(
    logits: Float[Array, "*batch levels"],
    key: Key[Array, ""],
    temperature: float | Float[Array, ""] = 1.0,
) -> Int[Array, "*batch"]:
    """Draw from softmax(logits / temperature): one uniform draw, and the inverse of the cumulative sum.

    Temperature 0 gives the most likely level; of several, each as often. First the block of neighbouring levels is
    found, then the level in it: two short cumulative sums, not a long one.
    """
    logits = logits.astype(jnp.result_type(float))
    levels, batch = logits.shape[-1], logits.shape[:-1]
    below = logits - jnp.max(logits, axis=-1, keepdims=True)
    weights = jnp.exp(jnp.where(below == 0, 0.0, below / temperature))
    side = math.isqrt(levels - 1) + 1
    weights = jnp.pad(weights, [(0, 0)] * len(batch) + [(0, -levels % side)])
    weights = weights.reshape(*batch, -1, side)
    totals = jnp.sum(weights, axis=-1)
    uniform = jax.random.uniform(key, batch, logits.dtype) * jnp.sum(totals, axis=-1)
    block, before = _inverted(totals, uniform)
    inside = jnp.take_along_axis(weights, block[..., None, None], axis=-2)[..., 0, :]
    return block * side + _inverted(inside, uniform - before)[0]


def _inverted(
    weights: Float[Array, "*batch K"], u: Float[Array, "*batch"]
) -> tuple[Int[Array, "*batch"], Float[Array, "*batch"]]:
    """The first k with sum_{j<=k} w_j > u (if rounding leaves none, the last with w_k > 0), and sum_{j<k} w_j."""
    ends = jnp.cumsum(weights, axis=-1)
    passed = (ends <= u[..., None]) & (ends < ends[..., -1:])
    before = jnp.max(jnp.where(passed, ends, 0), axis=-1)
    return jnp.sum(passed, axis=-1, dtype=jnp.int32), before
