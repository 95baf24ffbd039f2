"""Masks over features, by degree or by group: which output may read which input. Masks over events, for couplings.

Degrees: Germain et al. 2015, 1502.03509, section 3; groups: van den Oord et al. 2016, 1601.06759, section 3.4;
checkerboards and halves of the channels: Dinh et al. 2016, 1605.08803, section 3.4 and figure 3.
"""

import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Integer

AnyArray = Array | np.ndarray


def group_of(features: int, groups: int) -> np.ndarray:
    """The group of each feature, in `groups` blocks of equal size; ValueError if they do not divide the features."""
    if features % groups:
        raise ValueError(f"{features} features do not split into {groups} equal groups")
    return np.arange(features) // (features // groups)


def group_mask(inputs: int, outputs: int, groups: int, strict: bool) -> Bool[AnyArray, "I O"]:
    """mask[i, o] = group(i) < group(o) if strict ("mask A") else group(i) <= group(o) ("mask B")."""
    return degree_mask(group_of(inputs, groups), group_of(outputs, groups), strict)


def degree_mask(
    source: Integer[AnyArray, " I"], target: Integer[AnyArray, " O"], strict: bool
) -> Bool[AnyArray, "I O"]:
    """mask[i, o] = source_i < target_o if strict else source_i <= target_o; a NumPy array from NumPy arrays."""
    source, target = source[:, None], target[None, :]
    return source < target if strict else source <= target


def take_group(
    x: Float[Array, "*batch O"], group: Int[Array, ""], groups: int, splits: int = 1
) -> Float[Array, "*batch o"]:
    """The features of one group, from each of `splits` sets of features in group order."""
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
    """The entries of a vector with an even (parity 0) or odd (1) index."""
    return np.arange(shape[0]) % 2 == parity


def checkerboard(shape: tuple[int, ...], parity: int) -> Bool[np.ndarray, "*shape"]:
    """The pixels (H, W, C) whose row + column is even (parity 0) or odd (1), with all channels."""
    rows, columns, _ = np.indices(shape)
    return (rows + columns) % 2 == parity


def channel_half(shape: tuple[int, ...], parity: int) -> Bool[np.ndarray, "*shape"]:
    """The first (parity 0) or second (1) half of the channels, at all pixels."""
    return np.indices(shape)[-1] // (shape[-1] // 2) == parity
