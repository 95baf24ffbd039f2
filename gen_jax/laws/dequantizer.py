"""The laws of noise u from a conditional flow q(u | x), and of the bound log p(x) >= E [log p(x + u) - log q(u | x)].

eps is standard normal noise, u = g(eps; x) is `forward`, and eps = g^-1(u; x) is `inverse`. As for the flow itself, the
Jacobian of a large image is computed on its corner (`small.corner`).
"""

import functools
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from gen_jax.conditions import rows_of
from gen_jax.density import fold_in, root_key
from gen_jax.laws import bound
from gen_jax.laws.row import Row
from gen_jax.laws.small import corner
from gen_jax.laws.subject import Subject
from gen_jax.ops import dequantize, gaussian
from gen_jax.typing import Nats, PRNGKey, Variables

ROUND_TRIP, DENSITY, WEIGHT = 1e-8, 1e-5, 1e-4
LARGEST = 256  # dimensions of the largest Jacobian that is computed
ATTEMPTS = 64  # samples for each that must lie in [0, levels]^D
EDGE = 1e-6  # least distance of u from 0 and 1 in float32


def density(s: Subject) -> Iterator[Row]:
    """u lies in the unit cube, g inverts, and log q(u | x) is log N(eps; 0, I) - log |det dg/deps| by autodiff."""
    model, variables, (x, cond) = s.model, s.variables, s.every
    if model.event.size > LARGEST:
        model, variables = corner(model, variables)
        x = x[(slice(None), *(slice(side) for side in model.event.shape))]
    with jax.enable_x64(True):
        flow = model.bind(_doubled(variables))
        module, params = flow.dequantizer.unbind()
        call, levels = functools.partial(module.apply, params), model.event.num_levels

        def measured(row: tuple[Array, Any, Array]) -> tuple[Array, Array, Array]:
            x, cond, number = row
            y = flow.one_hot(jax.tree.map(lambda part: part[None], cond))
            key = fold_in(fold_in(root_key(s.seed), "noise"), number)
            u, log_q = call(x[None], key, levels, y, method="noise")
            context = call(x[None], levels, y, method="map_of")
            eps = call(u, context, method="inverse")[0]

            def forward(eps: Array) -> Array:
                return call(eps[None], context, method="forward")[0][0]

            jacobian = jax.jacrev(forward)(eps).reshape(model.event.size, model.event.size)
            expected = jnp.sum(gaussian.log_prob(eps)) - jnp.linalg.slogdet(jacobian)[1]
            outside = jnp.sum((u < 0) | (u > 1))
            return jnp.max(jnp.abs(forward(eps) - u[0])), jnp.abs(log_q[0] - expected), outside

        rows = jax.tree.map(jnp.asarray, (x, cond, np.arange(len(x))))
        program = jax.jit(lambda rows: lax.map(measured, rows))
        apart, wrong, outside = map(np.asarray, program(rows))
    note = f"{len(x)} examples of shape {model.event.shape}"
    yield Row("noise round trip", float(np.max(apart)), ROUND_TRIP, "", note)
    yield Row("noise density", float(np.max(wrong)), DENSITY, "nats", f"{note}, by autodiff")
    yield Row("noise in the unit cube", float(np.sum(outside)), 0.0, "values", note)


def weight(s: Subject) -> Iterator[Row]:
    """The bound of one draw is log p(x + u) - log q(u | x), where g^-1 gives log q."""
    x, cond = s.every
    with jax.enable_x64(True):

        @jax.jit
        def both(variables: Variables, x: Array, key: PRNGKey, cond: Any) -> tuple[Nats, Nats]:
            call = functools.partial(s.model.apply, variables)
            y = call(x, fold_in(key, 0), cond=cond, method="dequantized")[0]
            log_p = call(y, cond=cond, method="log_density")
            log_q = _log_q(s.model, variables, x, y - x, cond)
            return call(x, key, cond, draws=1, method="log_prob"), log_p - log_q

        key = fold_in(root_key(s.seed), "weight")
        found, expected = map(np.asarray, both(_doubled(s.variables), x, key, cond))
    apart = float(np.max(np.abs(found - expected)))
    yield Row("bound of one draw", apart, WEIGHT, "nats", f"{len(x)} examples")


def simulated(
    model: Any, variables: Variables, key: PRNGKey, n: int, draws: int, cond: Any = None
) -> tuple[Int[Array, "n *event"], Nats]:
    """Samples x = floor(y) of the model, and log p(y) - log q(y - x | x), nats, as y - x is a draw from p(u | x).

    Each is the first of some attempts whose y lies in [0, levels]^D, where the model's mass is.
    """
    del draws  # one
    call = functools.partial(model.apply, variables)
    z = jax.random.normal(fold_in(key, "z"), (ATTEMPTS * n, model.event.size))
    of = jnp.tile(jnp.arange(n), ATTEMPTS)
    y = call(z, rows_of(cond, of), method="inverse")
    outside = (y < 0) | (y >= model.event.num_levels)
    inside = ~jnp.any(outside.reshape(ATTEMPTS, n, -1), axis=-1)
    y = y.reshape(ATTEMPTS, n, *model.event.shape)[jnp.argmax(inside, axis=0), jnp.arange(n)]
    x = dequantize.cell(y, model.event.num_levels)
    u = jnp.clip(y - x, EDGE, 1 - EDGE)

    log_p = call(x + u, cond=cond, method="log_density")
    return x, log_p - _log_q(model, variables, x, u, cond)


def both_sides(s: Subject) -> Iterator[Row]:
    """On pairs (x, u) sampled from the model log p(x + u) - log q(u | x) lies above the lower bound of one draw."""
    yield from bound.both_sides(s, simulated, draws=1)


def _log_q(
    model: Any,
    variables: Variables,
    x: Int[Array, "B *event"],
    u: Float[Array, "B *event"],
    cond: Any,
) -> Nats:
    """log N(eps; 0, I) - log |det dg/deps| at eps = g^-1(u; x)."""

    def log_q(flow: Any) -> Nats:
        context = flow.dequantizer.map_of(x, model.event.num_levels, flow.one_hot(cond))
        eps = flow.dequantizer.inverse(u, context)
        log_det = flow.dequantizer.forward(eps, context)[1]
        return jnp.sum(gaussian.log_prob(eps).reshape(len(eps), -1), axis=-1) - log_det

    return model.apply(variables, method=log_q)


def _doubled(variables: Variables) -> Any:
    """The variables in float64, with x64 enabled."""
    return jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf), jnp.float64), variables)
