"""The subject of the laws: a model, its weights, real and extreme events, seeded choices.

It uses one device and one compiled forward pass of a few images at a time, so that equal inputs in equal places give
equal bits and memory stays bounded.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Integer

from gen_jax.conditions import joined, parts_of, rows_of
from gen_jax.density import Autoregressive, Functional, functional
from gen_jax.typing import Variables

CHUNK, RANDOM_SITES = 16, 16
FAR = 10.0  # extreme real values, in units of the data's range
NUMBERS = 2**24  # size of an array of parameters: 64 MiB in float32


@dataclass(frozen=True)
class Subject:
    """A model, its weights on one device, real examples with their conditions, and the seed of all choices.

    `random_sites`: number of chosen sites besides those at corners, edges and the middle.
    """

    pure: Functional
    variables: Variables
    x: np.ndarray
    cond: Any
    seed: int
    random_sites: int = RANDOM_SITES

    @property
    def model(self) -> Any:
        """The Flax module itself."""
        return self.pure.model

    @cached_property
    def extremes(self) -> np.ndarray:
        """All lowest, all highest, a checkerboard of both, noise; real values are up to ten times the data's range."""
        shape, levels = self.model.event.shape, self.model.event.levels
        if levels is None:
            low, high = (end * (self.x.max() - self.x.min()) for end in (-FAR, FAR))
            board = np.where(np.indices(shape).sum(axis=0) % 2, low, high)
            noise = np.random.default_rng(self.seed).uniform(low, high, shape)
            return np.stack([np.full(shape, low), np.full(shape, high), board, noise]).astype(
                self.x.dtype
            )
        board = (levels - 1) * (sum(np.indices(shape)[: min(2, len(shape))]) % 2)
        noise = np.random.default_rng(self.seed).integers(0, levels, shape)
        images = [np.zeros(shape), np.full(shape, levels - 1), board, noise]
        return np.stack(images).astype(self.x.dtype)

    @cached_property
    def every(self) -> tuple[np.ndarray, Any]:
        """Real and extreme events with their conditions; the extreme ones have different classes."""
        both, last = np.concatenate([self.x, self.extremes]), self.conditions(len(self.extremes))
        return both, jax.tree.map(lambda *parts: np.concatenate(parts), self.cond, last)

    def conditions(self, n: int) -> Any:
        """Conditions of n events, if the model is given any: all classes in turn, and the real values in turn."""
        label, values = parts_of(self.model, self.cond)
        if label is not None:
            label = np.arange(n, dtype=np.int32) % self.model.num_classes
        return joined(label, rows_of(values, np.arange(n) % len(self.x)))

    def chunks(self, x: np.ndarray, cond: Any) -> Iterator[tuple[np.ndarray, Any, int]]:
        """Chunks of events and conditions, all of one size, padded with their first row, and how many rows count."""
        model = self.model
        each = model.event.size
        if isinstance(model, Autoregressive):
            each = model.num_sites * model.head.size
        size = min(CHUNK, len(self.every[0]), max(1, NUMBERS // each))
        for first in range(0, len(x), size):
            rows = np.arange(first, first + size)
            count = min(size, len(x) - first)
            rows = np.where(rows < len(x), rows, first)
            yield x[rows], rows_of(cond, rows), count

    @cached_property
    def members(self) -> "Subject":
        """For a mixture over an integer z: the model p(x | z) given z, on the same events in the order of z."""
        member, variables = self.model.bind(self.variables).given.unbind()
        z = np.arange(len(self.x), dtype=np.int32) % self.model.num_members
        x = self.ordered(self.x, z)
        return Subject(functional(member), variables, x, z[:, None], self.seed)

    def ordered(self, x: np.ndarray, z: np.ndarray) -> np.ndarray:
        """The events, flat, in the order of p(x | z)."""
        order = np.asarray(self.model.apply(self.variables, jnp.asarray(z), method="order"))
        return np.take_along_axis(x.reshape(len(x), -1), order, axis=1)

    @cached_property
    def params(self) -> Any:
        """The parallel pass, compiled once: from (x, cond) to the parameters of all sites."""
        program = jax.jit(lambda variables, x, cond: self.model.apply(variables, x, cond))
        return lambda x, cond: program(self.variables, x, cond)

    @cached_property
    def log_probs(self) -> Any:
        """A function from (x, cond) to log p of every site and of the whole event; compiled once."""

        def both(variables, x, cond):
            sites = self.model.apply(variables, x, cond, method="log_prob_sites")
            return sites, self.pure.log_prob(variables, x, cond=cond)

        program = jax.jit(both)
        return lambda x, cond: tuple(
            np.asarray(part, np.float64) for part in program(self.variables, x, cond)
        )

    @cached_property
    def sample(self) -> Any:
        """A function from (key, n, cond, temperature) to n samples; compiled once for each n."""
        program = jax.jit(self.pure.sample, static_argnums=2)
        return lambda *args: np.asarray(program(self.variables, *args))

    @cached_property
    def conditionals(self) -> Any:
        """A function from (params, x) to the results of `_conditionals`, one image at a time."""
        program = jax.jit(
            lambda params, x: lax.map(
                lambda image: _conditionals(self.model, *image), (params, self.model.site_values(x))
            )
        )
        return lambda params, x: tuple(np.asarray(part) for part in program(params, x))

    @cached_property
    def chosen_sites(self) -> np.ndarray:
        """Sites at corners, edges and the middle, and some random ones."""
        event = self.model.event
        sides = [{0, side // 2, side - 1} for side in event.shape[:2]]
        rest = [range(side) for side in event.shape[2:]]
        places = [np.ravel_multi_index(p, event.shape) for p in itertools.product(*sides, *rest)]
        owner = np.empty(event.size, np.int64)
        owner[self.model.sites] = np.arange(self.model.num_sites)[:, None]
        rng, sites = np.random.default_rng((self.seed, 0)), self.model.num_sites
        chosen = rng.choice(sites, min(self.random_sites, sites), replace=False)
        return np.union1d(owner[places], chosen)


def _conditionals(
    model: Any, params: Float[Array, "sites P"], values: Integer[Array, "sites V"]
) -> tuple[Float[Array, " sites"], Float[Array, "sites V"], Float[Array, " sites"]]:
    """For each site: error of its conditionals (negative, or sum not 1), the values' probabilities, entropy in nats."""
    p, entropy, wrong = [], jnp.zeros(len(values)), jnp.zeros(len(values))
    for value in range(values.shape[-1]):
        pmf = model.head.conditional(params, value, values)
        off = jnp.maximum(jnp.abs(jnp.sum(pmf, axis=-1) - 1), -jnp.min(pmf, axis=-1))
        wrong = jnp.maximum(wrong, off)
        index = values[:, value, None].astype(jnp.int32)
        p.append(jnp.take_along_axis(pmf, index, axis=-1)[:, 0])
        entropy = entropy - jnp.sum(pmf * jnp.log(jnp.where(pmf > 0, pmf, 1)), axis=-1)
    return wrong, jnp.stack(p, axis=-1), entropy
