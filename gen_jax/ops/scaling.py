"""From integers to reals and back: the only place where levels are scaled or become indicators."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Integer, Num


def to_symmetric(x: Num[Array, "*shape"], levels: int) -> Float[Array, "*shape"]:
    """2 x / (levels - 1) - 1: levels 0..levels-1 spread evenly over [-1, 1]; x may also be real."""
    return x.astype(jnp.result_type(float)) * (2.0 / (levels - 1)) - 1.0


def num_indicators(levels: int) -> int:
    """How many numbers represent a value as input of a dense network: one for two levels, else one for each level."""
    return 1 if levels == 2 else levels


def to_indicators(
    x: Integer[Array, "*shape"], numbers: int, dtype: jnp.dtype
) -> Float[Array, "*shape I"]:
    """With `numbers` 1 the value itself, else one-hot; zeros for a negative value, which stands for no value."""
    if numbers == 1:
        return jnp.maximum(x, 0)[..., None].astype(dtype)
    return jax.nn.one_hot(x, numbers, dtype=dtype)


def to_unit(x: Num[Array, "*shape"], levels: int) -> Float[Array, "*shape"]:
    """x / (levels - 1): the levels spread evenly over [0, 1]."""
    return x.astype(jnp.result_type(float)) / (levels - 1)


def from_unit(x: Float[Array, "*shape"], levels: int) -> Integer[Array, "*shape"]:
    """The nearest level to a real in [0, 1]: the inverse of `to_unit`."""
    return jnp.round(jnp.clip(x, 0.0, 1.0) * (levels - 1)).astype(jnp.int32)


def from_symmetric(x: Float[Array, "*shape"], levels: int) -> Integer[Array, "*shape"]:
    """The nearest level to a real in [-1, 1]: the inverse of `to_symmetric`."""
    return from_unit((x + 1.0) / 2.0, levels)
