"""The laws of a bijection: log p(x) = log N(f(x); 0, I) + log |det df/dx|.

z = f(x) is `forward`, x = f^-1(z) is `inverse` and log p is `log_density`, all in float64 unless a row says float32.
Where they solve an ODE, the limits follow the tolerance of the solver.
Integers are dequantised: x + u with u in the unit cube. The Jacobian of a large image is computed on its corner, by a
model with the same weights (`small.corner`).
"""

import functools
import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from gen_jax.conditions import drawn, rows_of, zeros
from gen_jax.density import Solving, fold_in, functional, root_key, takes_draws
from gen_jax.laws import bound
from gen_jax.laws.row import ERRORS, Row
from gen_jax.laws.small import corner, small
from gen_jax.laws.subject import Subject
from gen_jax.ops import gaussian
from gen_jax.ops.ode import EXACT
from gen_jax.typing import Nats, PRNGKey, Variables

ROUND_TRIP, DETERMINANT, ROUNDED = 1e-8, 1e-6, 1e-4
LARGEST = 256  # dimensions of the largest Jacobian that is computed
SAMPLES = 4096
KOLMOGOROV = (
    2.8  # limit of sqrt(n) times the distance; by chance it is larger once in three million
)
SIDE = 1024  # cells of the grid along each axis
MARGIN = 0.5  # how far the grid extends beyond the samples, as a fraction of their range
OUTSIDE = 2**12  # samples
MASS = 0.01
TOLERANCES = 100  # of a solver, that its errors may add up to
TRACES, AVERAGED = 256, 4  # draws
PRINTED = 1e-4  # one unit of the last printed digit
FEWER = 2**5  # times as few events, if each is an ODE


def round_trip(s: Subject) -> Iterator[Row]:
    """inverse(forward(x)) is x, relative to the largest value."""
    y = _reals(s)
    with jax.enable_x64(True):
        z, _ = _call(s, "forward", y, s.every[1], **signs(s))
        apart = np.abs(_call(s, "inverse", z, s.every[1]) - y)
    measured = float(np.max(apart) / max(1.0, float(np.abs(y).max())))
    note = f"{len(s.x)} real and {len(s.extremes)} extreme examples"
    yield Row("round trip", measured, limit(s.model, ROUND_TRIP), "relative", note)


def determinant(s: Subject) -> Iterator[Row]:
    """log p(x) is log N(z; 0, I) plus the log-determinant of the Jacobian, computed by reverse-mode autodiff.

    With a random trace this holds for the mean over draws.
    """
    model, variables, y = s.model, s.variables, _reals(s)
    largest = EXACT if isinstance(s.model, Solving) else LARGEST
    if model.event.size > largest:
        model, variables = corner(model, variables)
        y = y[(slice(None), *(slice(side) for side in model.event.shape))]
    with jax.enable_x64(True):
        variables = _doubled(variables)

        def by_autodiff(pair: tuple[Array, Any]) -> Array:
            x, cond = pair[0], jax.tree.map(lambda part: part[None], pair[1])

            def forward(x: Array) -> Array:
                options = {"cond": cond, **signs(s)}
                return model.apply(variables, x[None], **options, method="forward")[0][0]

            jacobian = jax.jacrev(forward)(x).reshape(model.event.size, model.event.size)
            return jnp.sum(gaussian.log_prob(forward(x))) + jnp.linalg.slogdet(jacobian)[1]

        pairs = jax.tree.map(jnp.asarray, (y, s.every[1]))
        expected = np.asarray(jax.jit(lambda pairs: lax.map(by_autodiff, pairs))(pairs))
        subject = replace(s, pure=functional(model), variables=variables)
        if signs(s):
            apart = _largest_error(subject, y, s.every[1], expected)
        else:
            density = _call(subject, "log_density", y, s.every[1])
            apart = float(np.max(np.abs(density - expected)))
    note = f"{len(y)} examples of shape {model.event.shape}, Jacobian by autodiff"
    if signs(s):
        note += f", mean of {TRACES} draws"
        yield Row("log-determinant", apart, ERRORS, "errors", note)
    else:
        yield Row("log-determinant", apart, limit(s.model, DETERMINANT), "nats", note)


def trace(s: Subject) -> Iterator[Row]:
    """The mean of log p over draws of Hutchinson's trace is that with the exact trace, on a small event."""
    model, x, variables = s.model, s.x, s.variables
    if model.event.size > EXACT:
        model = small(model)
        x = np.random.default_rng(s.seed).integers(
            0, model.event.num_levels, (2, *model.event.shape)
        )
        variables = functional(model).init(root_key(s.seed), x, cond=drawn(model, len(x)))
    x, cond = x[:2], rows_of(s.conditions(len(x)), slice(0, 2))
    exact, random = (
        Subject(functional(model.clone(solver=replace(model.solver, trace=kind))), variables, x, cond, s.seed)
        for kind in ("exact", "hutchinson")
    )  # fmt: skip
    y = _reals(exact)[: len(x)]
    with jax.enable_x64(True):
        expected = _call(exact, "log_density", y, cond)
        apart = _largest_error(random, y, cond, expected)
    note = f"{len(x)} events of shape {model.event.shape}, {TRACES} draws"
    yield Row("trace", apart, ERRORS, "errors", note)


def averages(s: Subject) -> Iterator[Row]:
    """log p of several draws is the mean of their log p: Hutchinson's trace is unbiased for log p, not for p."""
    if not takes_draws(s.model):
        return
    key, options = fold_in(root_key(s.seed), "averages"), {"cond": s.cond}
    number = jnp.arange(AVERAGED)
    program = jax.jit(functools.partial(s.model.apply, method="log_draws"))
    each = np.asarray(program(s.variables, s.x, key, number, **options), np.float64)
    whole = jax.jit(functools.partial(s.pure.log_prob, draws=AVERAGED))
    log_p = np.asarray(whole(s.variables, s.x, key, **options), np.float64)
    apart = np.abs(log_p - each.mean(axis=0)) / np.maximum(1.0, np.abs(log_p))
    note = f"{AVERAGED} draws of {len(s.x)} real examples, {each.std(axis=0, ddof=1).mean():.2f} nats apart"
    yield Row("draws average log p", float(np.max(apart)), ROUNDED, "relative", note)


def solver(s: Subject) -> Iterator[Row]:
    """log p at the tolerance of the solver and at a tenth of it agree in the printed digits."""
    solver, y = s.model.solver, _reals(s)[: len(s.x)]
    finer = replace(solver, tolerance=solver.tolerance / 10, max_steps=4 * solver.max_steps)
    with jax.enable_x64(True):
        a, b = (
            _call(
                replace(s, pure=functional(s.model.clone(solver=one))),
                "log_density",
                y,
                s.cond,
                **signs(s),
            )
            for one in (solver, finer)
        )
    levels, unit = s.model.event.levels, "nats"
    apart = np.abs(a - b)
    if levels is not None:
        apart, unit = apart / (s.model.event.size * math.log(2.0)), "bits/dim"
    note = f"tolerance {solver.tolerance:g} and a tenth of it, mean of {len(y)} real examples"
    yield Row("solver", float(np.mean(apart)), PRINTED, unit, note)


def rounding(s: Subject) -> Iterator[Row]:
    """log p in float32, as evaluated, agrees with float64 on real examples, relative to its size."""
    y, options = _reals(s)[: len(s.x)], signs(s)
    program = jax.jit(functools.partial(s.model.apply, method="log_density"))
    rounded = np.asarray(program(s.variables, y.astype(np.float32), cond=s.cond, **options))
    with jax.enable_x64(True):
        exact = _call(s, "log_density", y.astype(np.float32).astype(np.float64), s.cond, **options)
    apart = np.abs(rounded - exact) / np.maximum(1.0, np.abs(exact))
    measured, most = float(np.max(apart)), limit(s.model, ROUNDED)
    yield Row("float32", measured, most, "relative", "log p of real examples")


def samples(s: Subject) -> Iterator[Row]:
    """f of the model's samples is standard normal: each coordinate is normal and |z|^2 is chi-square."""
    x = _samples(s).astype(np.float64)
    z = _call(s, "forward", x, s.conditions(SAMPLES), **signs(s))[0]
    distances = [_distance(jax.scipy.stats.norm.cdf(column)) for column in z.T]
    distances.append(_distance(jax.scipy.stats.chi2.cdf(np.sum(z**2, axis=1), z.shape[1])))
    note = f"{len(z):,} samples, each of {z.shape[1]} coordinates and the norm: sqrt(n) times the Kolmogorov distance"
    yield Row("samples' latents normal", float(np.max(distances)), KOLMOGOROV, "", note)


def unit_sum(s: Subject) -> Iterator[Row]:
    """On a small model the masses of all events and the probability outside [0, levels]^D sum to 1.

    The noise of the small model is uniform. Of learned noise 1 / q(u | x) has no finite variance, so a mean of some
    draws misses part of the mass; that q is a density has a law of its own.
    """
    if not isinstance(s.model, Solving):
        yield from bound.unit_sum(s, lost=outside)
        return

    def one_draw(model, variables, x, key, draws, cond):
        del draws  # they average log p, which is biased for p
        return bound.log_prob(model, variables, x, key, 1, cond)

    yield from bound.unit_sum(s, one_draw, bound.SUMMED // FEWER, outside)


def outside(model: Any, variables: Variables, key: PRNGKey) -> float:
    """The fraction of samples from a dequantised density outside [0, levels]^D, where there are no integers."""

    @jax.jit
    def share(variables, key):
        z = jax.random.normal(key, (OUTSIDE, model.event.size))
        y = model.apply(variables, z, drawn(model, OUTSIDE), method="inverse").reshape(OUTSIDE, -1)
        return jnp.mean(jnp.any((y < 0) | (y >= model.event.levels), axis=-1))

    return float(share(variables, key))


def integral(s: Subject) -> Iterator[Row]:
    """The density of a 2-D model, under its first class, integrates to 1 on a grid around its samples."""
    if s.model.event.shape != (2,):
        return
    x = _samples(s, zeros(s.model, SAMPLES)).astype(np.float64)
    low, high = x.min(axis=0), x.max(axis=0)
    solves = isinstance(s.model, Solving)
    side = SIDE // 4 if solves else SIDE
    edges = [
        np.linspace(a - MARGIN * (b - a), b + MARGIN * (b - a), side + 1)
        for a, b in zip(low, high, strict=True)
    ]
    middles = [0.5 * (edge[1:] + edge[:-1]) for edge in edges]
    area = np.prod([edge[1] - edge[0] for edge in edges])
    program = jax.jit(functools.partial(s.model.apply, method="log_density"))
    grid = np.stack(np.meshgrid(*middles, indexing="ij"), axis=-1).reshape(64, -1, 2)
    cond = zeros(s.model, grid.shape[1])
    parts = [program(s.variables, part.astype(np.float32), cond=cond) for part in grid]
    logs = [np.asarray(part, np.float64) for part in parts]
    total = float(np.sum(np.exp(logs)) * area)
    note = f"{total:.4f} on {side} x {side} points"
    yield Row("integral is 1", abs(total - 1.0), MASS, "", note)


def finite(s: Subject) -> Iterator[Row]:
    """log p of extreme examples is finite in float32."""
    cond = s.conditions(len(s.extremes))
    log_prob = np.asarray(jax.jit(s.pure.log_prob)(s.variables, s.extremes, cond=cond))
    bad = float(np.sum(~np.isfinite(log_prob)))
    yield Row("finite", bad, 0.0, "numbers", "corners ten times as far as the data, noise between")


def limit(model: Any, closed_form: float) -> float:
    """The limit of a law: that of a closed form, or a hundred times the solver's tolerance if that is larger."""
    tolerance = model.solver.tolerance if isinstance(model, Solving) else 0.0
    return max(closed_form, TOLERANCES * tolerance)


def signs(s: Subject) -> dict[str, PRNGKey]:
    """The key of `forward` and `log_density` if their trace is random."""
    random = isinstance(s.model, Solving) and s.model.solver.trace == "hutchinson"
    return {"key": fold_in(root_key(s.seed), "signs")} if random else {}


def _reals(s: Subject) -> Float[np.ndarray, "N *event"]:
    """Real and extreme examples, float64; integers plus uniform noise in [0, 1)."""
    both = np.concatenate([s.x, s.extremes]).astype(np.float64)
    if s.model.event.levels is None:
        return both
    return both + np.random.default_rng((s.seed, 2)).uniform(0, 1, both.shape)


def _samples(s: Subject, cond: Any = None) -> Float[np.ndarray, "n *event"]:
    """Samples, by default of all classes in turn."""
    cond = s.conditions(SAMPLES) if cond is None else cond
    draw = jax.jit(s.pure.sample, static_argnums=2)
    key = fold_in(root_key(s.seed), "certify")
    return np.asarray(draw(s.variables, key, SAMPLES, cond))


def _doubled(variables: Any) -> Any:
    """The variables in float64, with x64 enabled."""
    return jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf), jnp.float64), variables)


def _call(s: Subject, method: str, x: np.ndarray, cond: Any, **options: Any) -> Any:
    """The result of a method of the model, in float64."""
    with jax.enable_x64(True):
        program = jax.jit(functools.partial(s.model.apply, method=method))
        result = program(_doubled(s.variables), jnp.asarray(x), cond=cond, **options)
        return jax.tree.map(np.asarray, result)


def _largest_error(
    s: Subject, y: np.ndarray, cond: Any, expected: Float[np.ndarray, " N"]
) -> float:
    """How far the mean of log p over draws of the trace is from the expected one, in standard errors, at most."""
    keys = jax.random.split(fold_in(root_key(s.seed), "traces"), TRACES)

    def draw(variables: Variables, y: Array, key: PRNGKey) -> Nats:
        return s.model.apply(variables, y, cond=cond, key=key, method="log_density")

    with jax.enable_x64(True):
        program = jax.jit(jax.vmap(draw, in_axes=(None, None, 0)))
        draws = np.asarray(program(_doubled(s.variables), jnp.asarray(y), keys))
    error = np.maximum(draws.std(axis=0, ddof=1) / math.sqrt(TRACES), limit(s.model, 0.0) / ERRORS)
    return float(np.max(np.abs(draws.mean(axis=0) - expected) / error))


def _distance(u: Float[Array, " n"]) -> float:
    """sqrt(n) times the Kolmogorov distance between u and the uniform distribution."""
    ordered, n = np.sort(np.asarray(u, np.float64)), len(u)
    above, below = np.arange(1, n + 1) / n - ordered, ordered - np.arange(n) / n
    return float(np.sqrt(n) * np.max(np.maximum(above, below)))
