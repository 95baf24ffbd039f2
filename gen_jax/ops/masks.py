"""Masks over features: which group of features may feed which (van den Oord et al. 2016, 1601.06759, section 3.4)."""

import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int


def group_of(features: int, groups: int) -> np.ndarray:
    """Group of each feature, `features // groups` neighbours to a group; ValueError where they do not divide."""
    if features % groups:
        raise ValueError(f"{features} features do not split into {groups} equal groups")
    return np.arange(features) // (features // groups)


def group_mask(inputs: int, outputs: int, groups: int, strict: bool) -> Bool[np.ndarray, "I O"]:
    """mask[i, o] = group(i) < group(o) if strict ("mask A") else group(i) <= group(o) ("mask B")."""
    source, target = group_of(inputs, groups)[:, None], group_of(outputs, groups)[None, :]
    return source < target if strict else source <= target


def take_group(
    x: Float[Array, "*batch O"], group: Int[Array, ""], groups: int, splits: int = 1
) -> Float[Array, "*batch o"]:
    """The features of one group out of `splits` sets in group order."""
    if groups == 1:
        return x
    lead, size = x.shape[:-1], x.shape[-1] // (splits * groups)
    x = x.reshape(*lead, splits, groups, size)
    x = lax.dynamic_index_in_dim(x, group, axis=x.ndim - 2, keepdims=False)
    return x.reshape(*lead, splits * size)


def put_group(
    x: Float[Array, "*batch F"], value: Float[Array, "*batch f"], group: Int[Array, ""]
) -> Float[Array, "*batch F"]:
    """`x` with the features of one group replaced."""
    value = value.astype(x.dtype)
    return lax.dynamic_update_slice_in_dim(x, value, group * value.shape[-1], axis=-1)
