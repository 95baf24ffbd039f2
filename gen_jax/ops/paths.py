"""Paths between two vectors: the straight line, and the great circle between directions with a norm linear in t.

Standard normal vectors of D numbers have norms near sqrt(D). The middle of a straight line between two of them is
nearer to 0, where no draw lies; a great circle keeps the norm (White 2016, 1609.04468, section 2.1). Deviation: the
formula there keeps it for two vectors of equal norm only; here it is linear in t for any two.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

# Below this sine of the angle, directions are parallel or opposite, and the path is the straight line.
LEAST_SINE = 1e-4


def linear(
    a: Float[Array, "*batch D"], b: Float[Array, "*batch D"], t: float | Float[Array, ""]
) -> Float[Array, "*batch D"]:
    """(1 - t) a + t b."""
    return (1 - t) * a + t * b


def spherical(
    a: Float[Array, "*batch D"], b: Float[Array, "*batch D"], t: float | Float[Array, ""]
) -> Float[Array, "*batch D"]:
    """r (sin((1 - t) w) a / |a| + sin(t w) b / |b|) / sin w, w the angle from a to b, r = (1 - t) |a| + t |b|.

    The angle from a is t w, and both ends are exact. Parallel, opposite and zero vectors have the straight line.
    """
    norm_a, norm_b = (jnp.linalg.norm(v, axis=-1, keepdims=True) for v in (a, b))
    both = (norm_a > 0) & (norm_b > 0)
    norm_a, norm_b = (jnp.where(both, norm, 1.0) for norm in (norm_a, norm_b))
    u, v = a / norm_a, b / norm_b
    # arccos(u v) is inaccurate near 0 and pi; this form is not (Kahan).
    apart, along = (jnp.linalg.norm(w, axis=-1, keepdims=True) for w in (u - v, u + v))
    angle = 2 * jnp.arctan2(apart, along)
    curved = both & (jnp.sin(angle) > LEAST_SINE)
    angle = jnp.where(curved, angle, 1.0)
    norm = (1 - t) * norm_a + t * norm_b
    weight_a = jnp.sin((1 - t) * angle) / jnp.sin(angle) * (norm / norm_a)
    weight_b = jnp.sin(t * angle) / jnp.sin(angle) * (norm / norm_b)
    return jnp.where(curved, weight_a * a + weight_b * b, linear(a, b, t))
