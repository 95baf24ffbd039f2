"""Latents as symbols: reals in bins under Gaussians, or an integer; float64 on the host, the same in both directions.

The event `latents` of a model decides. Reals have the prior N(0, I), and `encode` gives the mean and the log standard
deviation of q(z | x). One integer has a uniform prior, and `encode` gives log q(z | x) for every level. Arrays have one
row per example.
"""

import math

import numpy as np
from jaxtyping import Float, Float64, Integer
from scipy.special import ndtr

from gen_jax.coding.frequencies import Symbols, Weights, uniform, weights
from gen_jax.coding.stack import Stack
from gen_jax.typing import Event

WIDTH, FINE = 0.25, 64  # width of a coarse bin, and its number of fine bins
REACH = 16.0  # coarse bins cover |z| <= 16; the outer two extend to infinity
COARSE = int(2 * REACH / WIDTH)
THINNEST = 2.0**-20  # smallest standard deviation: a narrower posterior lies in one bin too
NEVER = 1e-300  # mass of a bin that is too unlikely for float64

Column = Float64[np.ndarray, " units"]


class Gaussian:
    """Reals in bins of equal width, coded in two digits: a mass is a difference of distribution functions.

    A symbol has at least the mass 2^-24. With all 8,192 bins in one digit a draw would hit a random bin with
    probability 2^-11, which costs bits; with 128 coarse bins that happens once in 10^5 draws, and a random fine bin
    inside the right coarse bin costs little.
    """

    dtype = np.float32

    def __init__(self, units: int):
        self.shape = (units,)

    def pop_prior(self, stack: Stack, count: int) -> Symbols:
        """z from N(0, I), for `count` examples."""
        mean = np.zeros(count * self.shape[0])
        return _pop(stack, mean, mean + 1)

    def push_prior(self, stack: Stack, symbols: Symbols) -> None:
        """The inverse of `pop_prior`."""
        mean = np.zeros(len(symbols))
        _push(stack, symbols, mean, mean + 1)

    def pop_posterior(
        self, stack: Stack, mean: Float[np.ndarray, "n Z"], log_scale: Float[np.ndarray, "n Z"]
    ) -> Symbols:
        """z from N(mean, scale^2); FloatingPointError if its parameters are not finite."""
        return _pop(stack, *_columns(mean, log_scale))

    def push_posterior(
        self,
        stack: Stack,
        symbols: Symbols,
        mean: Float[np.ndarray, "n Z"],
        log_scale: Float[np.ndarray, "n Z"],
    ) -> None:
        """The inverse of `pop_posterior`."""
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
        """A draw of z from q(z | x), without bins."""
        z = mean + np.exp(log_scale) * rng.normal(size=mean.shape)
        return z.astype(self.dtype)

    def log_ratio(
        self,
        z: Float[np.ndarray, "n Z"],
        mean: Float[np.ndarray, "n Z"],
        log_scale: Float[np.ndarray, "n Z"],
    ) -> Float64[np.ndarray, " n"]:
        """log p(z) - log q(z | x), nats, a ratio of densities."""
        z, mean, log_scale = (part.astype(np.float64) for part in (z, mean, log_scale))
        noise = (z - mean) * np.exp(-log_scale)
        return np.sum(log_scale + 0.5 * (noise**2 - z**2), axis=-1)


class Index:
    """One integer below `levels`, coded as one symbol."""

    dtype = np.int32

    def __init__(self, levels: int):
        self.shape, self._levels = (), levels

    def pop_prior(self, stack: Stack, count: int) -> Symbols:
        """z with equal probabilities, for `count` examples."""
        return stack.pop(uniform(count, self._levels))

    def push_prior(self, stack: Stack, symbols: Symbols) -> None:
        """The inverse of `pop_prior`."""
        stack.push(symbols, uniform(len(symbols), self._levels))

    def pop_posterior(self, stack: Stack, log_q: Float[np.ndarray, "n levels"]) -> Symbols:
        """z from q(z | x); FloatingPointError if that is not a distribution."""
        return stack.pop(weights(np.exp(log_q, dtype=np.float64)))

    def push_posterior(
        self, stack: Stack, symbols: Symbols, log_q: Float[np.ndarray, "n levels"]
    ) -> None:
        """The inverse of `pop_posterior`."""
        stack.push(symbols, weights(np.exp(log_q, dtype=np.float64)))

    def values(self, symbols: Symbols) -> Symbols:
        """z itself: a symbol is its value."""
        return symbols

    def draw(
        self, rng: np.random.Generator, log_q: Float[np.ndarray, "n levels"]
    ) -> Integer[np.ndarray, " n"]:
        """A draw of z from q(z | x), by the Gumbel-max trick."""
        noise = rng.gumbel(size=log_q.shape)
        return np.argmax(log_q + noise, axis=-1).astype(self.dtype)

    def log_ratio(
        self, z: Integer[np.ndarray, " n"], log_q: Float[np.ndarray, "n levels"]
    ) -> Float64[np.ndarray, " n"]:
        """log p(z) - log q(z | x), nats."""
        log_q_z = np.take_along_axis(log_q, z[:, None], axis=-1)[:, 0]
        return -math.log(self._levels) - log_q_z.astype(np.float64)


def latents_of(event: Event) -> Gaussian | Index:
    """How the latents of a model are coded: reals in bins, or one integer."""
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
    """The masses of the bins between the edges; above the mean from the upper tail, which is smaller and so exact."""
    standard = (edges - mean[:, None]) / scale[:, None]
    standard[standard[:, 0] > 0] *= -1
    return weights(np.abs(np.diff(ndtr(standard))) + NEVER)
