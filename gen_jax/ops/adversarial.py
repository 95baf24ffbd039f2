"""The game of a generator G and a discriminator D, on the logits of D; all values in nats.

V(D, q) = E_p log D(x) + E_q log(1 - D(x)), where q is the distribution of G(z). Its maximum, at the logits
log p - log q, is 2 JSD(p, q) - log 4 (Goodfellow et al. 2014, 1406.2661, equation 1, proposition 1, theorem 1).
"""

import jax
import jax.numpy as jnp
from jax.scipy.special import rel_entr
from jaxtyping import Array, Float


def value(
    real: Float[Array, " n"],
    fake: Float[Array, " m"],
    p: Float[Array, " n"] | None = None,
    q: Float[Array, " m"] | None = None,
) -> Float[Array, ""]:
    """V from logits of draws from p and of draws from q, or of points with these weights, which need not sum to 1."""
    true, false = jax.nn.log_sigmoid(real), jax.nn.log_sigmoid(-fake)
    return jnp.average(true, weights=p) + jnp.average(false, weights=q)


def generator_loss(fake: Float[Array, " m"], saturating: bool = False) -> Float[Array, ""]:
    """-E log D(G(z)), or the saturating E log(1 - D(G(z))), whose gradient vanishes where D is sure."""
    if saturating:
        return jnp.mean(jax.nn.log_sigmoid(-fake))
    return -jnp.mean(jax.nn.log_sigmoid(fake))


def jensen_shannon(p: Float[Array, " n"], q: Float[Array, " n"]) -> Float[Array, ""]:
    """JSD(p, q) = (KL(p || m) + KL(q || m)) / 2 with m = (p + q) / 2, of masses that sum to 1; from 0 to log 2."""
    middle = (p + q) / 2
    return jnp.sum(rel_entr(p, middle) + rel_entr(q, middle)) / 2
