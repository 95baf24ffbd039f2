"""Bernoulli distribution from one logit; log-probabilities in nats."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Integer, Key


def log_prob(logit: Float[Array, "*batch"], x: Integer[Array, "..."]) -> Float[Array, "*batch"]:
    """log sigma(logit) for x = 1, log sigma(-logit) for x = 0, in float32 or wider; x broadcasts."""
    logit = logit.astype(jnp.promote_types(logit.dtype, jnp.float32))
    return jax.nn.log_sigmoid(jnp.where(x == 1, logit, -logit))


def sample(
    logit: Float[Array, "*batch"], key: Key[Array, ""], temperature: float | Float[Array, ""] = 1.0
) -> Int[Array, "*batch"]:
    """1 with probability sigma(logit / temperature): a logistic draw is compared with the logit."""
    logit = logit.astype(jnp.result_type(float)) / temperature
    return (jax.random.logistic(key, logit.shape, logit.dtype) < logit).astype(jnp.int32)
