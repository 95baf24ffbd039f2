"""Latents as symbols: bins of reals under Gaussians, or an integer; float64 on the host, the same in both directions.

What a model's `latents` says: an event of reals has the prior N(0, I), and `encode` gives mean and log of the standard
deviation of q(z | x); an event of one integer has a uniform prior, and `encode` gives log q(z | x) of every level.
Arrays have a row for each example.
"""

import math

import numpy as np
from jaxtyping import Float, Float64, Integer
from scipy.special import ndtr

from gen_jax.coding.frequencies import Symbols, Weights, uniform, weights
from gen_jax.coding.stack import Stack
from gen_jax.typing import Event

WIDTH, FINE = 0.25, 64  # of a coarse bin, and how many fine ones it has
REACH = 16.0  # coarse bins cover |z| <= 16, the outer ones all beyond
COARSE = int(2 * REACH / WIDTH)
THINNEST = 2.0**-20  # a narrower posterior is a point too
NEVER = 1e-300  # mass of a bin whose own has no float64

Column = Float64[np.ndarray, " units"]


class Gaussian:
    """Reals in bins of equal width, in two digits: a mass is a difference of distribution functions.

    A symbol has at least the mass 2^-24: with all 8,192 bins in one digit a draw would hit a random bin with
    probability 2^-11, which costs bits; with 128 coarse bins that happens once in 10^5 draws, and among fine ones it
    does not matter.
    """

    dtype = np.float32

    def __init__(self, units: int):
        self.shape = (units,)

    def pop_prior(self, stack: Stack, count: int) -> Symbols:
        """z of N(0, I), for so many examples."""
        each = np.zeros(count * self.shape[0])
        return _pop(stack, each, each + 1)

    def push_prior(self, stack: Stack, symbols: Symbols) -> None:
        """The inverse."""
        each = np.zeros(len(symbols))
        _push(stack, symbols, each, each + 1)

    def pop_posterior(
        self, stack: Stack, mean: Float[np.ndarray, "n Z"], log_scale: Float[np.ndarray, "n Z"]
    ) -> Symbols:
        """z of N(mean, scale^2); FloatingPointError where there is none."""
        return _pop(stack, *_columns(mean, log_scale))

    def push_posterior(
        self,
        stack: Stack,
        symbols: Symbols,
        mean: Float[np.ndarray, "n Z"],
        log_scale: Float[np.ndarray, "n Z"],
    ) -> None:
        """The inverse."""
        _push(stack, symbols, *_columns(mean, log_scale))

    def values(self, symbols: Symbols) -> Float[np.ndarray, "n Z"]:
        """The middle of each bin, exact in float32."""
        z = (symbols + 0.5) * (WIDTH / FINE) - REACH
        return z.astype(self.dtype).reshape(-1, *self.shape)

    def draw(
        self,
        rng: np.random.Generator,
        mean: Float[np.ndarray, "n Z"],
        log_scale: Float[np.ndarray, "n Z"],
    ) -> Float[np.ndarray, "n Z"]:
        """z from q(z | x), without bins."""
        z = mean + np.exp(log_scale) * rng.normal(size=mean.shape)
        return z.astype(self.dtype)

    def log_ratio(
        self,
        z: Float[np.ndarray, "n Z"],
        mean: Float[np.ndarray, "n Z"],
        log_scale: Float[np.ndarray, "n Z"],
    ) -> Float64[np.ndarray, " n"]:
        """log p(z) - log q(z | x), nats, of densities."""
        z, mean, log_scale = (part.astype(np.float64) for part in (z, mean, log_scale))
        noise = (z - mean) * np.exp(-log_scale)
        return np.sum(log_scale + 0.5 * (noise**2 - z**2), axis=-1)


class Index:
    """One integer below `levels`."""

    dtype = np.int32

    def __init__(self, levels: int):
        self.shape, self._levels = (), levels

    def pop_prior(self, stack: Stack, count: int) -> Symbols:
        """z of equal probabilities, for so many examples."""
        return stack.pop(uniform(count, self._levels))

    def push_prior(self, stack: Stack, symbols: Symbols) -> None:
        """The inverse."""
        stack.push(symbols, uniform(len(symbols), self._levels))

    def pop_posterior(self, stack: Stack, log_q: Float[np.ndarray, "n levels"]) -> Symbols:
        """z of q(z | x); FloatingPointError where there is none."""
        return stack.pop(weights(np.exp(log_q, dtype=np.float64)))

    def push_posterior(
        self, stack: Stack, symbols: Symbols, log_q: Float[np.ndarray, "n levels"]
    ) -> None:
        """The inverse."""
        stack.push(symbols, weights(np.exp(log_q, dtype=np.float64)))

    def values(self, symbols: Symbols) -> Symbols:
        """As they are."""
        return symbols

    def draw(
        self, rng: np.random.Generator, log_q: Float[np.ndarray, "n levels"]
    ) -> Integer[np.ndarray, " n"]:
        """z from q(z | x), by the largest sum with Gumbel noise."""
        noise = rng.gumbel(size=log_q.shape)
        return np.argmax(log_q + noise, axis=-1).astype(self.dtype)

    def log_ratio(
        self, z: Integer[np.ndarray, " n"], log_q: Float[np.ndarray, "n levels"]
    ) -> Float64[np.ndarray, " n"]:
        """log p(z) - log q(z | x), nats."""
        own = np.take_along_axis(log_q, z[:, None], axis=-1)[:, 0]
        return -math.log(self._levels) - own.astype(np.float64)


def latents_of(event: Event) -> Gaussian | Index:
    """Reals in bins, or an integer."""
    return Gaussian(event.size) if event.levels is None else Index(event.levels)


def _pop(stack: Stack, mean: Column, scale: Column) -> Symbols:
    high = stack.pop(_coarse(mean, scale))
    return high * FINE + stack.pop(_fine(high, mean, scale))


def _push(stack: Stack, symbols: Symbols, mean: Column, scale: Column) -> None:
    high, low = np.divmod(symbols, FINE)
    stack.push(low, _fine(high, mean, scale))
    stack.push(high, _coarse(mean, scale))


def _columns(
    mean: Float[np.ndarray, "n Z"], log_scale: Float[np.ndarray, "n Z"]
) -> tuple[Column, Column]:
    if not (np.all(np.isfinite(mean)) and np.all(np.isfinite(log_scale))):
        raise FloatingPointError("the model's posterior is not finite: nothing can be coded")
    scale = np.maximum(np.exp(log_scale, dtype=np.float64), THINNEST)
    return np.ravel(mean).astype(np.float64), np.ravel(scale)


def _coarse(mean: Column, scale: Column) -> Weights:
    edges = np.linspace(-REACH, REACH, COARSE + 1)
    edges[[0, -1]] = -np.inf, np.inf
    return _masses(np.broadcast_to(edges, (len(mean), len(edges))), mean, scale)


def _fine(high: Symbols, mean: Column, scale: Column) -> Weights:
    edges = high[:, None] * WIDTH - REACH + np.linspace(0, WIDTH, FINE + 1)
    return _masses(edges, mean, scale)


def _masses(edges: Float64[np.ndarray, "units edges"], mean: Column, scale: Column) -> Weights:
    """Of the bins between the edges; above the mean by the upper tail, which is the smaller one."""
    standard = (edges - mean[:, None]) / scale[:, None]
    standard[standard[:, 0] > 0] *= -1
    return weights(np.abs(np.diff(ndtr(standard))) + NEVER)
