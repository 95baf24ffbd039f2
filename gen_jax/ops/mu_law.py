"""mu-law companding, f(s) = sign(s) log(1 + mu |s|) / log(1 + mu) with mu = levels - 1 (ITU-T G.711).

WaveNet codes amplitudes in [-1, 1] as 256 levels, which are finest around zero (van den Oord et al. 2016, 1609.03499,
section 2.2). These functions are NumPy in float64, since data are coded once.
"""

import numpy as np
from jaxtyping import Float, Integer


def compress(s: Float[np.ndarray, "*shape"], mu: int = 255) -> Float[np.ndarray, "*shape"]:
    """f(s), which maps [-1, 1] onto itself."""
    return np.sign(s) * np.log1p(mu * np.abs(s)) / np.log1p(mu)


def expand(f: Float[np.ndarray, "*shape"], mu: int = 255) -> Float[np.ndarray, "*shape"]:
    """The inverse of `compress`: sign(f) ((1 + mu)^|f| - 1) / mu."""
    return np.sign(f) * np.expm1(np.abs(f) * np.log1p(mu)) / mu


def encode(s: Float[np.ndarray, "*shape"], levels: int = 256) -> Integer[np.ndarray, "*shape"]:
    """floor((f(s) + 1) / 2 mu + 1/2): the nearest level, where levels are spread evenly over f."""
    f = compress(np.asarray(s, np.float64), levels - 1)
    return np.floor((f + 1) / 2 * (levels - 1) + 0.5).astype(np.int32)


def decode(codes: Integer[np.ndarray, "*shape"], levels: int = 256) -> Float[np.ndarray, "*shape"]:
    """The amplitude in the middle of each code's bin; `encode(decode(codes))` is `codes`."""
    return expand(2 * np.asarray(codes, np.float64) / (levels - 1) - 1, levels - 1)
