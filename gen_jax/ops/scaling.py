"""The one place where integers become reals."""

import jax.numpy as jnp
from jaxtyping import Array, Float, Num


def to_symmetric(x: Num[Array, "*shape"], levels: int) -> Float[Array, "*shape"]:
    """2 x / (levels - 1) - 1: the levels 0..levels-1 spread evenly over [-1, 1], reals between them alike."""
    return x.astype(jnp.result_type(float)) * (2.0 / (levels - 1)) - 1.0
