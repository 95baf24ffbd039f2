"""The walk through the sites of a stepping model, many lanes side by side: the same for who writes and who reads.

Encoder and decoder make the same walk with the same compiled programs on the same shapes, so both see bit-identical
probabilities; the only difference is whether a symbol is given or asked for. So the encoder, though it knows all
values, steps as well: a parallel pass or a scan is another program, whose floats may differ in the last bit. Values
outside an image take the most probable level and are not coded. Everything runs on one device, at highest matmul
precision.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Bool, Int32

from gen_jax.coding.frequencies import Symbols, Weights, weights
from gen_jax.typing import Variables

Choose = Callable[[Weights, Symbols], Symbols]


class Programs(NamedTuple):
    """What runs on the device: once a block, once a site, once for each later channel of a site, once a block."""

    empty: Callable
    visit: Callable
    later: Callable
    bits: Callable


class Walk:
    """The programs of a model and a number of lanes.

    The model is anything with `apply`, `event`, `head`, `sites`, and the methods `init_cache`, `step`, `write` and
    `log_prob_sites`. A row of `sites` is what one step gives parameters for: V values, or G times V independent ones.
    """

    def __init__(self, model: Any, variables: Variables, lanes: int):
        self.model, self.lanes = model, lanes
        self.variables = jax.device_put(variables, jax.devices()[0])
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
        cond: np.ndarray | None,
        choose: Choose,
    ) -> None:
        """Visit the sites up to the last one coded; the values become what was chosen or filled in."""
        sites = self.model.sites
        needed = np.flatnonzero(coded[:, sites].any(axis=(0, *range(2, sites.ndim + 1))))
        found = np.zeros((self.lanes, *sites.shape[1:]), np.int32)
        cache = self.programs.empty(self.variables, cond)
        for site in range(int(needed[-1]) + 1):
            cache, params, pmf = self.programs.visit(self.variables, cache, site, found)
            found = np.zeros_like(found)
            for channel in range(sites.shape[-1]):
                if channel:
                    pmf = self.programs.later(params, found, channel=channel)
                where = sites[site, ..., channel]
                probabilities, marks = np.asarray(pmf), coded[:, where]
                chosen = np.empty(marks.shape, np.int32)
                if not marks.all():
                    chosen[:] = probabilities.argmax(axis=-1)
                if marks.any():
                    chosen[marks] = choose(weights(probabilities[marks]), values[:, where][marks])
                values[:, where] = found[..., channel] = chosen

    def bits(
        self,
        values: Int32[np.ndarray, "lanes D"],
        coded: Bool[np.ndarray, "lanes D"],
        cond: np.ndarray | None,
    ) -> np.ndarray:
        """Bits of each lane by the parallel pass, of the sites of which anything is coded."""
        return np.asarray(self.programs.bits(self.variables, values, coded, cond), np.float64)

    def _init_cache(self, variables, cond):
        return self._apply(variables, self.lanes, cond, method="init_cache")

    def _visited(self, variables, cache, site, before):
        """Write what the site before took, then step: one call a site, as each costs the host its arguments."""
        write = partial(self._apply, variables, method="write")
        cache = lax.cond(
            site > 0,
            lambda cache: write(cache, site - 1, before),
            lambda cache: cache,
            cache,
        )
        cache, params = self._apply(variables, cache, site, method="step")
        nothing = jnp.zeros_like(before)
        return cache, params, self._conditional(params, nothing, channel=0)

    def _conditional(self, params, values, channel):
        return self.model.head.conditional(params, channel, values)

    def _model_bits(self, variables, values, coded, cond):
        x = values.reshape(self.lanes, *self.model.event.shape)
        nats = -self._apply(variables, x, cond, method="log_prob_sites")
        inside = jnp.any(coded[:, self.model.sites], axis=-1)
        nats = jnp.where(inside, nats, 0.0).reshape(self.lanes, -1)
        return jnp.sum(nats, axis=-1) / math.log(2.0)

    def _apply(self, variables, *args, method: str):
        with jax.default_matmul_precision("highest"):
            return self.model.apply(variables, *args, method=method)
