"""Categorical distribution over levels, from logits; all values in nats."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Integer, Key


def log_prob(
    logits: Float[Array, "*batch levels"], x: Integer[Array, "*batch"]
) -> Float[Array, "*batch"]:
    """log p(x) = logits[x] - logsumexp(logits), in float32 or wider."""
    logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
    picked = jnp.take_along_axis(logits, x[..., None], axis=-1)[..., 0]
    return picked - jax.nn.logsumexp(logits, axis=-1)


def sample(
    logits: Float[Array, "*batch levels"],
    key: Key[Array, ""],
    temperature: float | Float[Array, ""] = 1.0,
) -> Int[Array, "*batch"]:
    """Draw from softmax(logits / temperature) by inverting the cumulative sum with one uniform draw."""
    logits = logits.astype(jnp.result_type(float)) / temperature
    cumulative = jnp.cumsum(jax.nn.softmax(logits, axis=-1), axis=-1)
    uniform = jax.random.uniform(key, logits.shape[:-1], logits.dtype) * cumulative[..., -1]
    return jnp.sum(cumulative[..., :-1] <= uniform[..., None], axis=-1, dtype=jnp.int32)
