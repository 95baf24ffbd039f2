"""What the latents of a trained model are and do: paths between events, traversals of units, KL of each unit.

Latents are those of `Interpolating`: of a model with Gaussian groups the noise of its prior, which is z under N(0, I).
All pictures of one call have the same noise of p(x | z), so that they differ by their latents only.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Bool, Float

from gen_jax import sharding
from gen_jax.conditions import Cond, rows_of
from gen_jax.density import Latent, fold_in, root_key
from gen_jax.encoding import Interpolating
from gen_jax.errors import InputError
from gen_jax.evaluate.draw import in_batches, reconstruction_key
from gen_jax.models.latent.base import ACTIVE, visit
from gen_jax.ops import paths
from gen_jax.runs.run import Trained
from gen_jax.typing import PRNGKey, Variables

AT_ONCE = 16  # places in the space of latents whose events are computed side by side
JOINS = {"spherical": paths.spherical, "linear": paths.linear}


def interpolate(
    run: Trained,
    x: np.ndarray,
    y: np.ndarray,
    steps: int,
    seed: int = 0,
    cond: Cond = None,
    cond_y: Cond = None,
) -> np.ndarray:
    """Events (B, steps, *event) at equal distances on the path from each x to its y; the ends are reconstructions.

    Several groups of latents go along paths of their own. Under classes the first half has that of x, the second that
    of y. InputError for a model without continuous latents of an event.
    """
    check_paths(run)
    model = run.experiment.model
    join, times = JOINS[model.interpolation], jnp.linspace(0.0, 1.0, steps)

    @jax.jit
    def program(variables, key, x, y, cond, cond_y):
        ends = _latents_of(model, variables, x, cond), _latents_of(model, variables, y, cond_y)

        def at(t):
            between = lambda a, b: join(_rows(a), _rows(b), t).reshape(a.shape)  # noqa: E731
            nearer = jax.tree.map(lambda a, b: jnp.where(t <= 0.5, a, b), cond, cond_y)
            return _event_at(model, variables, jax.tree.map(between, *ends), key, nearer)

        return lax.map(at, times)

    parts = []
    for rows, key in in_batches(run, len(x), reconstruction_key(seed)):
        ends = _typed(x[rows]), _typed(y[rows])
        batch = (*ends, rows_of(cond, rows), rows_of(cond_y, rows))
        drawn = program(run.variables, key, *sharding.put_rows(batch, run.mesh))
        parts.append(np.asarray(drawn).swapaxes(0, 1)[: len(x[rows])])
    return np.concatenate(parts)


def check_paths(run: Trained) -> None:
    """InputError if no path leads from one event to another."""
    if not has_paths(run.experiment.model):
        raise InputError(
            f"{run.experiment.system} gives no continuous latents of an event, so no path leads from one to another"
        )


def has_paths(model: Any) -> bool:
    """Whether a path leads from one event to another in the model's latents."""
    return isinstance(model, Interpolating) and model.interpolation != "none"


def vector_units(model: Any) -> int:
    """The units of a model whose latents are one vector of Gaussian units; 0 for another model."""
    if not (has_paths(model) and isinstance(model, Latent) and len(model.groups) == 1):
        return 0
    shape = model.groups[0].shape
    return shape[0] if len(shape) == 1 else 0


def latents_of(run: Trained, x: np.ndarray, cond: Cond = None) -> np.ndarray:
    """The latents (B, units) of a model with one vector of Gaussian units: the means of q(z | x) under N(0, I)."""
    program, parts = jax.jit(partial(_latents_of, run.experiment.model)), []
    for rows, _ in in_batches(run, len(x), root_key(0)):
        batch = sharding.put_rows((_typed(x[rows]), rows_of(cond, rows)), run.mesh)
        [latents] = program(run.variables, *batch)
        parts.append(np.asarray(latents)[: len(x[rows])])
    return np.concatenate(parts)


def traverse(
    run: Trained,
    x: np.ndarray,
    units: Sequence[int],
    values: Float[np.ndarray, " values"],
    seed: int = 0,
    cond: Cond = None,
) -> np.ndarray:
    """Events (B, units, values, *event): x at its own latents, but with one of the units at each of the values."""
    model = run.experiment.model
    places = [jnp.asarray(part) for part in np.meshgrid(units, values, indexing="ij")]

    @jax.jit
    def program(variables, key, x, cond, places):
        [own] = _latents_of(model, variables, x, cond)

        def at(place):
            unit, value = place
            return _event_at(model, variables, [own.at[:, unit].set(value)], key, cond)

        return lax.map(at, tuple(part.ravel() for part in places), batch_size=AT_ONCE)

    batch = sharding.put_rows((_typed(x), cond), run.mesh)
    drawn = np.asarray(program(run.variables, reconstruction_key(seed), *batch, places))
    drawn = drawn[:, : len(x)].reshape(*places[0].shape, len(x), *model.event.shape)
    return np.moveaxis(drawn, 2, 0)


def plane(
    run: Trained, values: Float[np.ndarray, " values"], seed: int = 0, cond: Cond = None
) -> np.ndarray:
    """Events (values, values, *event) of a model with two units; unit 0 goes along axis 1, unit 1 along axis 0.

    A class-conditional model takes the `cond` of one event for all.
    """
    model = run.experiment.model
    second, first = np.meshgrid(values, values, indexing="ij")
    places = jnp.asarray(np.stack([first.ravel(), second.ravel()], axis=-1)[:, None])

    @jax.jit
    def program(variables, key, places, cond):
        at = lambda z: _event_at(model, variables, [z], key, cond)  # noqa: E731
        return lax.map(at, places, batch_size=AT_ONCE)

    drawn = program(run.variables, reconstruction_key(seed), places, cond)
    return np.asarray(drawn).reshape(len(values), len(values), *model.event.shape)


@dataclass(frozen=True)
class Information:
    """What q(z | x) says beyond the prior, means over examples.

    kl: nats of each group. units: nats of each unit of a single group, or nothing if there are several groups. active:
    whether the location of a unit varies over the examples, as in the diagnosis of latent models.
    """

    kl: Float[np.ndarray, " groups"]
    units: Float[np.ndarray, " units"]
    active: Bool[np.ndarray, " units"]


def information(run: Trained, x: np.ndarray, seed: int = 0, cond: Cond = None) -> Information:
    """The KL of each group at one draw of the groups before it, and of a single group that of each unit."""
    model: Any = run.experiment.model
    single = len(model.groups) == 1

    def program(module: Any, x, key, cond):
        def choose(k, group, p, q):
            z, _ = group.draw(q, group.noise(fold_in(key, k), len(x)))
            kl = _rows(group.kl(q, p))
            location = group.location(q, p).reshape(len(x), -1, group.parts) if single else None
            return z, (kl.sum(axis=-1), kl if single else None, location)

        _, collected = visit(module, module.begin(len(x), x, cond), choose)
        return collected

    compiled = jax.jit(partial(model.apply, method=program))
    groups, units, first, second = [], [], 0.0, 0.0
    for rows, key in in_batches(run, len(x), fold_in(root_key(seed), "information")):
        batch, given = sharding.put_rows((_typed(x[rows]), rows_of(cond, rows)), run.mesh)
        collected = jax.device_get(compiled(run.variables, batch, key, given))
        count = len(x[rows])
        groups.append(np.stack([kl[:count] for kl, *_ in collected], axis=1))
        if single:
            _, kl, location = collected[0]
            location = location[:count].astype(np.float64)
            units.append(kl[:count])
            first, second = first + location.sum(axis=0), second + (location**2).sum(axis=0)
    kl = np.concatenate(groups).mean(axis=0)
    if not single:
        return Information(kl, np.zeros(0), np.zeros(0, bool))
    variance = second / len(x) - (first / len(x)) ** 2
    active = np.asarray(variance).sum(axis=-1) > ACTIVE
    return Information(kl, np.concatenate(units).mean(axis=0), active)


def _latents_of(model: Any, variables: Variables, x: Any, cond: Cond) -> Any:
    return model.apply(variables, x, cond, method="latents_of")


def _event_at(model: Any, variables: Variables, latents: Any, key: PRNGKey, cond: Cond) -> Any:
    return model.apply(variables, latents, key, cond, method="event_at")


def _typed(x: np.ndarray) -> np.ndarray:
    """Integers in the type of a model's own samples."""
    return x.astype(np.int32 if np.issubdtype(x.dtype, np.integer) else np.float32)


def _rows(x: Any) -> Any:
    """One vector for each example."""
    return x.reshape(len(x), -1)
