"""Groups of latents as symbols; float64 on the host, the same in both directions. Arrays have one row per example.

A group of `ops/latents.py` decides. Reals are coded in units of their prior: (z - m_p) / s_p is standard normal under
the prior, and under the posterior a Gaussian whose bins are the same. Bits and integers are coded as symbols. The
parameters p of the prior and q of the posterior are those of the group, with one row per example.
"""

import math
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Float64, Integer
from scipy.special import expit, ndtr

from gen_jax.coding.frequencies import Symbols, Weights, uniform, weights
from gen_jax.coding.stack import Stack
from gen_jax.ops import latents as groups

WIDTH, FINE = 0.25, 64  # width of a coarse bin, and its number of fine bins
REACH = 16.0  # coarse bins cover |z| <= 16; the outer two extend to infinity
COARSE = int(2 * REACH / WIDTH)
THINNEST = 2.0**-20  # smallest standard deviation: a narrower posterior lies in one bin too
NEVER = 1e-300  # mass of a bin that is too unlikely for float64

Column = Float64[np.ndarray, " units"]
Numbers = Float[np.ndarray, "n *shape"]


@runtime_checkable
class Latents(Protocol):
    """A group of latents on a stack; every push undoes the pop of the same name."""

    dtype: Any
    shape: tuple[int, ...]

    def full(self, params: Any, n: int) -> Any:
        """Parameters with a row for each of n examples, of those that broadcast."""
        ...

    def pop_prior(self, stack: Stack, p: Any) -> Symbols:
        """z from the prior."""
        ...

    def push_prior(self, stack: Stack, symbols: Symbols, p: Any) -> None: ...

    def pop_posterior(self, stack: Stack, q: Any, p: Any) -> Symbols:
        """z from the posterior; FloatingPointError if its parameters are not finite."""
        ...

    def push_posterior(self, stack: Stack, symbols: Symbols, q: Any, p: Any) -> None: ...

    def values(self, symbols: Symbols, p: Any) -> np.ndarray:
        """z, as the model takes it."""
        ...

    def draw(self, rng: np.random.Generator, q: Any) -> np.ndarray:
        """A draw of z from the posterior, without bins."""
        ...

    def log_ratio(self, z: np.ndarray, q: Any, p: Any) -> Float64[np.ndarray, " n"]:
        """log p(z) - log q(z), nats, summed over the group."""
        ...


class Gaussian:
    """Reals in bins of equal width, coded in two digits: a mass is a difference of distribution functions.

    A symbol has at least the mass 2^-24. With all 8,192 bins in one digit a draw would hit a random bin with
    probability 2^-11, which costs bits; with 128 coarse bins that happens once in 10^5 draws, and a random fine bin
    inside the right coarse bin costs little.
    """

    dtype = np.float32

    def __init__(self, shape: tuple[int, ...]):
        self.shape = shape

    def full(self, params: groups.Normal, n: int) -> groups.Normal:
        return groups.Normal(*(np.broadcast_to(part, (n, *self.shape)) for part in params))

    def pop_prior(self, stack: Stack, p: groups.Normal) -> Symbols:
        mean = np.zeros(p.mean.size)
        return _pop(stack, mean, mean + 1)

    def push_prior(self, stack: Stack, symbols: Symbols, p: groups.Normal) -> None:
        mean = np.zeros(len(symbols))
        _push(stack, symbols, mean, mean + 1)

    def pop_posterior(self, stack: Stack, q: groups.Normal, p: groups.Normal) -> Symbols:
        return _pop(stack, *_in_units_of(q, p))

    def push_posterior(
        self, stack: Stack, symbols: Symbols, q: groups.Normal, p: groups.Normal
    ) -> None:
        _push(stack, symbols, *_in_units_of(q, p))

    def values(self, symbols: Symbols, p: groups.Normal) -> Float[np.ndarray, "n *shape"]:
        """The middle of each bin, mapped from units of the prior; exact in float32 under N(0, I)."""
        z = ((symbols + 0.5) * (WIDTH / FINE) - REACH).reshape(-1, *self.shape)
        mean, log_scale = _double(p)
        return (mean + np.exp(log_scale) * z).astype(self.dtype)

    def draw(self, rng: np.random.Generator, q: groups.Normal) -> Float[np.ndarray, "n *shape"]:
        z = q.mean + np.exp(q.log_scale) * rng.normal(size=q.mean.shape)
        return z.astype(self.dtype)

    def log_ratio(
        self, z: Float[np.ndarray, "n *shape"], q: groups.Normal, p: groups.Normal
    ) -> Float64[np.ndarray, " n"]:
        (mean, log_scale), (prior_mean, prior_log_scale) = _double(q), _double(p)
        z = z.astype(np.float64)
        noise = (z - mean) * np.exp(-log_scale)
        prior_noise = (z - prior_mean) * np.exp(-prior_log_scale)
        ratio = log_scale - prior_log_scale + 0.5 * (noise**2 - prior_noise**2)
        return np.sum(ratio.reshape(len(z), -1), axis=-1)


class Discrete:
    """Bits or integers, one symbol each; a distribution is a row of probabilities."""

    dtype = np.int32

    def __init__(self, group: groups.Bernoulli | groups.Categorical):
        self.shape, self._group = group.shape, group

    def full(self, params: np.ndarray, n: int) -> np.ndarray:
        last = () if isinstance(self._group, groups.Bernoulli) else params.shape[-1:]
        return np.broadcast_to(params, (n, *self.shape, *last))

    def pop_prior(self, stack: Stack, p: Any) -> Symbols:
        return stack.pop(self._weights(p))

    def push_prior(self, stack: Stack, symbols: Symbols, p: Any) -> None:
        stack.push(symbols, self._weights(p))

    def pop_posterior(self, stack: Stack, q: Any, p: Any) -> Symbols:
        return stack.pop(self._weights(q))

    def push_posterior(self, stack: Stack, symbols: Symbols, q: Any, p: Any) -> None:
        stack.push(symbols, self._weights(q))

    def values(self, symbols: Symbols, p: Any) -> Integer[np.ndarray, "n *shape"]:
        return symbols.reshape(-1, *self.shape)

    def draw(self, rng: np.random.Generator, q: Any) -> Integer[np.ndarray, "n *shape"]:
        """By the Gumbel-max trick."""
        log_q = self._log_probs(q)
        return np.argmax(log_q + rng.gumbel(size=log_q.shape), axis=-1).astype(self.dtype)

    def log_ratio(
        self, z: Integer[np.ndarray, "n *shape"], q: Any, p: Any
    ) -> Float64[np.ndarray, " n"]:
        at = lambda logs: np.take_along_axis(logs, z[..., None], axis=-1)[..., 0]  # noqa: E731
        ratio = at(self._log_probs(p)) - at(self._log_probs(q)).astype(np.float64)
        return np.sum(ratio.reshape(len(z), -1), axis=-1)

    def _log_probs(self, params: np.ndarray) -> Float[np.ndarray, "n *shape levels"]:
        """log p of every level."""
        if isinstance(self._group, groups.Bernoulli):
            logit = params.astype(np.float64)
            return -np.logaddexp(0, np.stack([logit, -logit], axis=-1))
        if params.shape[-1] == 1:  # equal probabilities
            params = np.full(params.shape, -math.log(self._group.levels))
        return np.broadcast_to(params, (*params.shape[:-1], self._group.levels))

    def _weights(self, params: np.ndarray) -> Weights:
        levels = self._group.levels
        if isinstance(self._group, groups.Bernoulli):
            logit = params.astype(np.float64)
            return weights(np.stack([expit(-logit), expit(logit)], axis=-1).reshape(-1, levels))
        if params.shape[-1] == 1:
            return uniform(params.size, levels)
        return weights(np.exp(params, dtype=np.float64).reshape(-1, levels))


def latents_of(group: groups.Group) -> Latents:
    """How a group is coded: reals in bins, or symbols."""
    if isinstance(group, groups.Gaussian):
        return Gaussian(group.shape)
    assert isinstance(group, groups.Bernoulli | groups.Categorical)
    return Discrete(group)


def _pop(stack: Stack, mean: Column, scale: Column) -> Symbols:
    high = stack.pop(_coarse(mean, scale))
    return high * FINE + stack.pop(_fine(high, mean, scale))


def _push(stack: Stack, symbols: Symbols, mean: Column, scale: Column) -> None:
    high, low = np.divmod(symbols, FINE)
    stack.push(low, _fine(high, mean, scale))
    stack.push(high, _coarse(mean, scale))


def _double(params: groups.Normal) -> tuple[Float64[np.ndarray, "..."], Float64[np.ndarray, "..."]]:
    return params.mean.astype(np.float64), params.log_scale.astype(np.float64)


def _in_units_of(q: groups.Normal, p: groups.Normal) -> tuple[Column, Column]:
    """Mean and scale of the posterior of (z - m_p) / s_p."""
    if not all(np.all(np.isfinite(part)) for part in (*q, *p)):
        raise FloatingPointError("the model's posterior is not finite: nothing can be coded")
    (mean, log_scale), (prior_mean, prior_log_scale) = _double(q), _double(p)
    mean = (mean - prior_mean) * np.exp(-prior_log_scale)
    scale = np.maximum(np.exp(log_scale - prior_log_scale), THINNEST)
    return np.ravel(mean), np.ravel(scale)


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
