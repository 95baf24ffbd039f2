"""The bijection y = logit F(x), where F is the distribution function of a mixture of logistics, in log space.

F(x) = sum_k w_k sigmoid((x - m_k) / s_k) (Ho et al. 2019, 1902.00275, section 3.2). log F and log (1 - F) are each a
logsumexp over the components, so y and its slope are finite where F rounds to 0 or 1.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

LEAST_LOG_SCALE = -7.0
STEPS_BEYOND_PRECISION = 10  # of the bisection, more than the bits of a number's fraction


class Mixture(NamedTuple):
    """Of each value: logits of the weights, means and logs of the scales; a log-scale below -7 counts as -7."""

    logits: Float[Array, "*batch K"]
    mean: Float[Array, "*batch K"]
    log_scale: Float[Array, "*batch K"]


def logit_cdf(
    x: Float[Array, "*batch"], mixture: Mixture
) -> tuple[Float[Array, "*batch"], Float[Array, "*batch"]]:
    """y = log F(x) - log(1 - F(x)) and log dy/dx = log F'(x) - log F(x) - log(1 - F(x)) of each value."""
    log_scale = jnp.maximum(mixture.log_scale, LEAST_LOG_SCALE)
    log_weight = jax.nn.log_softmax(mixture.logits)
    standard = (x[..., None] - mixture.mean) * jnp.exp(-log_scale)
    below, above = jax.nn.log_sigmoid(standard), jax.nn.log_sigmoid(-standard)
    log_cdf = jax.nn.logsumexp(log_weight + below, axis=-1)
    log_rest = jax.nn.logsumexp(log_weight + above, axis=-1)
    log_density = jax.nn.logsumexp(log_weight + below + above - log_scale, axis=-1)
    return log_cdf - log_rest, log_density - log_cdf - log_rest


def inverse_logit_cdf(y: Float[Array, "*batch"], mixture: Mixture) -> Float[Array, "*batch"]:
    """The x with logit F(x) = y, by bisection.

    x lies between the least and the greatest quantile m_k + s_k y of a component. The error is at most their distance
    divided by 2^34 in float32 and by 2^63 in float64, besides the rounding of y over the slope. No gradients.
    """
    scale = jnp.exp(jnp.maximum(mixture.log_scale, LEAST_LOG_SCALE))
    quantiles = mixture.mean + scale * y[..., None]
    low, high = jnp.min(quantiles, axis=-1), jnp.max(quantiles, axis=-1)
    steps = jnp.finfo(y.dtype).nmant + STEPS_BEYOND_PRECISION

    def halve(state):
        step, low, high = state
        middle = low + 0.5 * (high - low)
        left = logit_cdf(middle, mixture)[0] < y
        return step + 1, jnp.where(left, middle, low), jnp.where(left, high, middle)

    _, low, high = lax.while_loop(lambda state: state[0] < steps, halve, (0, low, high))
    return low + 0.5 * (high - low)
