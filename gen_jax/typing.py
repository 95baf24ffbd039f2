"""Shapes by letter, and the event over which a model is a distribution.

B batch, H W C image, D dimensions of a flattened event, V values of one site, P parameters of one site,
L levels or sequence length, F features, G groups (colour channels; each reads those before it).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Integer, Key, Num

from gen_jax.errors import InputError

__all__ = [
    "Array",
    "Batch",
    "Bool",
    "Dtype",
    "Event",
    "Float",
    "Int",
    "Key",
    "MetricRows", "Metrics",
    "Nats",
    "Num",
    "PRNGKey",
    "Params",
    "Scalar",

    "Values",
    "Variables",
    "binary",
    "image",
    "points",
    "sound",
    "tokens",
]  # fmt: skip

PRNGKey = Key[Array, ""]
Scalar = Float[Array, ""]
Nats = Float[Array, " B"]
Params = Float[Array, "*batch P"]
Values = Integer[Array, "*batch V"]
Variables = Mapping[str, Any]
Dtype = Literal["bfloat16", "float32"] | None
Metrics = dict[str, Scalar]
MetricRows = dict[str, Float[Array, " steps"]]
Batch = dict[str, Any]


@dataclass(frozen=True)
class Event:
    """The shape of an example and the number of its levels (integers 0..levels-1), None for real values."""

    shape: tuple[int, ...]
    levels: int | None = None

    def __post_init__(self):
        if not self.shape or any(side < 1 for side in self.shape):
            raise InputError(f"an event needs positive sides, not {self.shape}")
        if self.levels is not None and self.levels < 2:
            raise InputError(f"an event of integers needs at least 2 levels, not {self.levels}")

    @property
    def size(self) -> int:
        """D, the number of dimensions that bits/dim divides by."""
        return math.prod(self.shape)

    @property
    def num_levels(self) -> int:
        """The number of levels; InputError if values are real."""
        if self.levels is None:
            raise InputError("the event has real values, which have no levels")
        return self.levels

    def refusal(self, x: np.ndarray) -> str | None:
        """Why the batch `x` (first axis: examples) is none of such events; None if it is one."""
        return self.misfit(x.shape, x.dtype) or self.outside(x)

    def misfit(self, shape: tuple[int, ...], dtype: np.dtype, what: str = "examples") -> str | None:
        """Why a batch of this shape and type is none of such events; None if it may be one."""
        if shape[1:] != self.shape or not shape:
            return f"{what} have shape {shape[1:]}, the model is of shape {self.shape}"
        if self.levels is None:
            real = dtype.kind in "iu" or jnp.issubdtype(dtype, jnp.floating)  # no timedelta64
            return None if real else f"{what} are {dtype}, the model is of real numbers"
        if dtype.kind not in "iub":
            return f"{what} are {dtype}, the model is of integers 0..{self.levels - 1}"
        return None

    def outside(self, x: np.ndarray, what: str = "examples") -> str | None:
        """Why the values of a batch are not in range; None if they are."""
        if self.levels is None:
            return None if np.all(np.isfinite(x)) else f"{what} hold values that are not finite"
        if x.size and (x.min() < 0 or x.max() >= self.levels):
            return f"values run from {x.min()} to {x.max()}, the model's levels from 0 to {self.levels - 1}"
        return None


def image(height: int, width: int, channels: int = 1, levels: int = 256) -> Event:
    """Images (H, W, C) of integers."""
    return Event((height, width, channels), levels)


def binary(size: int) -> Event:
    """Binary vectors (D,)."""
    return Event((size,), 2)


def tokens(length: int, levels: int) -> Event:
    """Sequences (L,) over an alphabet of `levels` symbols."""
    return Event((length,), levels)


def sound(length: int, levels: int = 256) -> Event:
    """Windows (L,) of mu-law codes."""
    return Event((length,), levels)


def points(size: int = 2) -> Event:
    """Points (D,) of reals."""
    return Event((size,))
