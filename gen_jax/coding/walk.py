"""The walk through the sites of a stepping model, with many lanes in parallel; encoder and decoder share it.

Both walk with the same compiled programs on the same shapes, so they see bit-identical probabilities; the encoder
provides each symbol, the decoder reads it. The encoder steps although it knows all values, because a parallel pass or a
scan is another program, whose floats may differ in the last bit. Values outside an image take the most probable level
and are not coded. Everything runs on one device, at highest matmul precision.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Bool, Int32

from gen_jax import progress
from gen_jax.coding.colours import Restriction
from gen_jax.coding.frequencies import Symbols, Weights, weights
from gen_jax.typing import Variables

Choose = Callable[[Weights, Symbols], Symbols]


class Programs(NamedTuple):
    """What runs on the device: `empty` and `bits` once per block, `visit` per site, `later` per later channel."""

    empty: Callable
    visit: Callable
    later: Callable
    bits: Callable


class Walk:
    """The programs for a model and a number of lanes.

    The walk goes through `part(model)` of the bound model, which has `event`, `head`, `sites`, `init_cache`, `step`,
    `write` and `log_prob_sites`. A row of `sites` lists the values of one step: V values, or G independent groups of V.
    """

    def __init__(
        self,
        model: Any,
        variables: Variables,
        lanes: int,
        part: Callable[[Any], Any] = lambda model: model,
    ):
        self.model, self.lanes, self.part = model, lanes, part
        self.variables = jax.device_put(variables, jax.devices()[0])
        bound = part(model.bind(variables))
        self.event, self.head, self.sites = bound.event, bound.head, bound.sites
        self.programs = Programs(
            jax.jit(self._init_cache),
            jax.jit(self._visited, donate_argnums=1),
            jax.jit(self._conditional, static_argnames="channel"),
            jax.jit(self._model_bits),
        )

    def walk(
        self,
        values: Int32[np.ndarray, "lanes D"],
        coded: Bool[np.ndarray, "lanes D"],
        cond: Any,
        choose: Choose,
        restriction: Restriction | None = None,
    ) -> None:
        """Visit the sites up to the last coded one; `values` becomes the chosen and the filled-in values.

        A restriction rules out the values that the image cannot have.
        """
        sites = self.sites
        needed = np.flatnonzero(coded[:, sites].any(axis=(0, *range(2, sites.ndim + 1))))
        site_values = np.zeros((self.lanes, *sites.shape[1:]), np.int32)
        cache = self.programs.empty(self.variables, cond)
        for site in progress.counted(range(int(needed[-1]) + 1), "sites"):
            cache, params, pmf = self.programs.visit(self.variables, cache, site, site_values)
            site_values = np.zeros_like(site_values)
            for channel in range(sites.shape[-1]):
                if channel:
                    pmf = self.programs.later(params, site_values, channel=channel)
                where = sites[site, ..., channel]
                probabilities, marks = np.asarray(pmf), coded[:, where]
                if restriction:
                    probabilities = restriction.of(probabilities, where, values, marks)
                chosen = np.empty(marks.shape, np.int32)
                if not marks.all():
                    chosen[:] = probabilities.argmax(axis=-1)
                if marks.any():
                    chosen[marks] = choose(weights(probabilities[marks]), values[:, where][marks])
                values[:, where] = site_values[..., channel] = chosen

    def bits(
        self,
        values: Int32[np.ndarray, "lanes D"],
        coded: Bool[np.ndarray, "lanes D"],
        cond: Any,
    ) -> np.ndarray:
        """Bits of each lane by the parallel pass, summed over the sites with coded values."""
        return np.asarray(self.programs.bits(self.variables, values, coded, cond), np.float64)

    def _init_cache(self, variables, cond):
        return self._apply(variables, lambda part: part.init_cache(self.lanes, cond))

    def _visited(self, variables, cache, site, before):
        """Write the values of the previous site, then step: one call per site, since each call costs the host time."""
        cache = lax.cond(
            site > 0,
            lambda cache: self._apply(variables, lambda p: p.write(cache, site - 1, before)),
            lambda cache: cache,
            cache,
        )
        cache, params = self._apply(variables, lambda part: part.step(cache, site))
        nothing = jnp.zeros_like(before)
        return cache, params, self._conditional(params, nothing, channel=0)

    def _conditional(self, params, values, channel):
        return self.head.conditional(params, channel, values)

    def _model_bits(self, variables, values, coded, cond):
        x = values.reshape(self.lanes, *self.event.shape)
        nats = -self._apply(variables, lambda part: part.log_prob_sites(x, cond))
        inside = jnp.any(coded[:, self.sites], axis=-1)
        nats = jnp.where(inside, nats, 0.0).reshape(self.lanes, -1)
        return jnp.sum(nats, axis=-1) / math.log(2.0)

    def _apply(self, variables, call: Callable[[Any], Any]):
        with jax.default_matmul_precision("highest"):
            return self.model.apply(variables, method=lambda model: call(self.part(model)))
