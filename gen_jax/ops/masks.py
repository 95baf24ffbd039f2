"""Masks over features: which may feed which, by degree or by group; masks over events: what a coupling keeps.

Degrees: Germain et al. 2015, 1502.03509, section 3; groups: van den Oord et al. 2016, 1601.06759, section 3.4;
checkerboards and halves of the channels: Dinh et al. 2016, 1605.08803, section 3.4 and figure 3.
"""

import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Integer

AnyArray = Array | np.ndarray


def group_of(features: int, groups: int) -> np.ndarray:
    """Group of each feature, `features // groups` neighbours to a group; ValueError where they do not divide."""
    if features % groups:
        raise ValueError(f"{features} features do not split into {groups} equal groups")
    return np.arange(features) // (features // groups)


def group_mask(inputs: int, outputs: int, groups: int, strict: bool) -> Bool[AnyArray, "I O"]:
    """mask[i, o] = group(i) < group(o) if strict ("mask A") else group(i) <= group(o) ("mask B")."""
    return degree_mask(group_of(inputs, groups), group_of(outputs, groups), strict)


def degree_mask(
    source: Integer[AnyArray, " I"], target: Integer[AnyArray, " O"], strict: bool
) -> Bool[AnyArray, "I O"]:
    """mask[i, o] = source_i < target_o if strict else source_i <= target_o; of NumPy arrays a NumPy array."""
    source, target = source[:, None], target[None, :]
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
    if value.shape == x.shape:
        return value
    return lax.dynamic_update_slice_in_dim(x, value, group * value.shape[-1], axis=-1)


def alternating(shape: tuple[int, ...], parity: int) -> Bool[np.ndarray, "*shape"]:
    """Dimensions of a vector whose index is even (parity 0) or odd (1)."""
    return np.arange(shape[0]) % 2 == parity


def checkerboard(shape: tuple[int, ...], parity: int) -> Bool[np.ndarray, "*shape"]:
    """All channels of the pixels (H, W, C) whose row and column add up to an even (parity 0) or odd (1) number."""
    rows, columns, _ = np.indices(shape)
    return (rows + columns) % 2 == parity


def channel_half(shape: tuple[int, ...], parity: int) -> Bool[np.ndarray, "*shape"]:
    """The first (parity 0) or second (1) half of the channels of all pixels."""
    return np.indices(shape)[-1] // (shape[-1] // 2) == parity
