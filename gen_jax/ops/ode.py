"""Continuous change of variables: dx/dt = f(x, t) moves x, and d log p(x)/dt = -tr(df/dx).

(Chen et al. 2018, 1806.07366, theorem 1.) Each example is solved by itself, with steps of its own, so its result does
not depend on the rest of the batch. The trace is exact, the sum of e_i . (df/dx) e_i over the unit vectors, or
Hutchinson's estimate e . (df/dx) e with one vector e of random signs for the whole solve (Grathwohl et al. 2018,
1810.01367, equation 8). The estimate is unbiased for the integral of the trace, and so for log p; its exponential is
not unbiased for p. So several draws average log p.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from gen_jax.errors import InputError
from gen_jax.typing import Event, Nats, PRNGKey, Scalar

Method = Literal["bosh3", "tsit5", "dopri5", "dopri8"]
Trace = Literal["exact", "hutchinson"]
Adjoint = Literal["checkpoints", "backsolve"]
# The velocity of one example: f(x, t, shared, own), where `own` are the values given to this example.
Velocity = Callable[[Float[Array, "*event"], Float[Array, ""], Any, Any], Float[Array, "*event"]]
EXACT = 8  # dimensions up to which the trace is computed exactly, by as many derivatives
CLASSES = {"bosh3": "Bosh3", "tsit5": "Tsit5", "dopri5": "Dopri5", "dopri8": "Dopri8"}


@dataclass(frozen=True)
class Solver:
    """How an ODE is solved, which is part of every number computed with it.

    A step of the Runge-Kutta `method` is accepted if its estimated error in x and in log p is at most `tolerance`,
    absolute plus relative. `max_steps` counts accepted and rejected steps of one example; beyond it the ODE is stiff,
    and the result is NaN.
    """

    method: Method = "tsit5"
    tolerance: float = 1e-5
    max_steps: int = 1024
    trace: Trace = "exact"

    def __post_init__(self):
        if not 0 < self.tolerance < 1:
            raise InputError(f"solver.tolerance must lie between 0 and 1, not {self.tolerance}")
        if self.max_steps < 1:
            raise InputError(f"solver.max_steps must be at least 1, not {self.max_steps}")

    def check(self, event: Event) -> None:
        """InputError if the exact trace would need more than eight derivatives."""
        if self.trace == "exact" and event.size > EXACT:
            raise InputError(
                f"solver.trace 'exact' is for events of up to {EXACT} dimensions, not {event.size}: use 'hutchinson'"
            )


class Solved(NamedTuple):
    """x at the end, the integral of the trace, log |det dx(end)/dx(start)| in nats, and the number of steps.

    x and the integral are NaN where the solver needs more than `max_steps`.
    """

    x: Float[Array, "B *event"]
    log_det: Nats
    steps: Int[Array, " B"]


def solve(
    velocity: Velocity,
    x: Float[Array, "B *event"],
    start: float | Scalar,
    end: float | Scalar,
    solver: Solver,
    shared: Any = None,
    own: Any = None,
    noise: Float[Array, "B *event"] | None = None,
    trace: bool = True,
    adjoint: Adjoint = "checkpoints",
) -> Solved:
    """x from time `start` to `end`, which may be earlier; without `trace` the integral is 0.

    `shared`: arrays that the velocity reads, such as weights. `own`: arrays with one row per example. `noise`: the
    signs of Hutchinson's trace, from `signs`. The gradient goes through the steps of the solver, whose states are kept
    at checkpoints; `backsolve` solves the adjoint equation backward instead, which needs less memory and has an error
    of its own (Chen et al. 2018, section 2). Every array that needs a gradient has to be in `x`, `shared` or `own`
    then.
    """

    def one(x, own, noise):
        return _solve_one(velocity, x, start, end, solver, (shared, own, noise), trace, adjoint)

    return Solved(*jax.vmap(one)(x, own, noise))


def signs(
    solver: Solver, key: PRNGKey | None, x: Float[Array, "*batch"]
) -> Float[Array, "*batch"] | None:
    """Random signs for Hutchinson's trace, one vector per example; None for the exact trace.

    InputError if the trace is random and there is no key.
    """
    if solver.trace == "exact":
        return None
    if key is None:
        raise InputError("the trace of the solver is random: log p is an estimate and needs a key")
    bits = jax.random.bits(key, x.shape, jnp.uint8) & 1  # the same in float32 and float64
    return 2 * bits.astype(x.dtype) - 1


def trace_of(
    f: Callable[[Float[Array, "*event"]], Float[Array, "*event"]],
    x: Float[Array, "*event"],
    noise: Float[Array, "*event"] | None,
) -> tuple[Float[Array, "*event"], Float[Array, ""]]:
    """f(x) and the trace of df/dx: exact without noise, else noise . (df/dx) noise."""
    if noise is not None:
        value, along = jax.jvp(f, (x,), (noise,))
        return value, jnp.sum(noise * along)
    basis = jnp.eye(x.size, dtype=x.dtype).reshape(-1, *x.shape)
    derivative = lambda unit: jax.jvp(f, (x,), (unit,))  # noqa: E731
    value, columns = jax.vmap(derivative, out_axes=(None, 0))(basis)
    return value, jnp.sum(basis * columns)


def stiff(unsolved: int, count: int, solver: Solver) -> str:
    """The sentence about examples whose ODE was not solved."""
    return (
        f"the ODE is stiff for {unsolved:,} of {count:,} examples: {solver.method} needs more than"
        f" {solver.max_steps:,} steps at tolerance {solver.tolerance:g}"
    )


def _solve_one(
    velocity: Velocity,
    x: Float[Array, "*event"],
    start: float | Scalar,
    end: float | Scalar,
    solver: Solver,
    args: tuple[Any, Any, Any],
    trace: bool,
    adjoint: Adjoint,
) -> tuple[Float[Array, "*event"], Float[Array, ""], Int[Array, ""]]:
    import diffrax

    def derivative(t, state, args):
        shared, own, noise = args
        f = lambda x: velocity(x, t, shared, own)  # noqa: E731
        return trace_of(f, state[0], noise) if trace else (f(state[0]), jnp.zeros_like(state[1]))

    def controller(norm):
        return diffrax.PIDController(solver.tolerance, solver.tolerance, norm=norm)

    gradient: Any = diffrax.RecursiveCheckpointAdjoint()
    if adjoint == "backsolve":  # no step is rejected for the error in the gradient of the weights
        backward = controller(diffrax.adjoint_rms_seminorm)
        gradient = diffrax.BacksolveAdjoint(stepsize_controller=backward)
    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(derivative),
        getattr(diffrax, CLASSES[solver.method])(),
        t0=start,
        t1=end,
        dt0=None,
        y0=(x, jnp.zeros((), x.dtype)),
        args=args,
        stepsize_controller=controller(_largest),
        adjoint=gradient,
        max_steps=solver.max_steps,
        throw=False,
    )
    solved: Bool[Array, ""] = solution.result == diffrax.RESULTS.successful
    assert solution.ys is not None
    final, log_det = (jnp.where(solved, part[0], jnp.nan) for part in solution.ys)
    return final, log_det, solution.stats["num_steps"].astype(jnp.int32)


def _largest(error: Any) -> Float[Array, ""]:
    """The largest root mean square of the parts of the state, so that x and log p both meet the tolerance."""
    parts = [jnp.sqrt(jnp.mean(leaf**2)) for leaf in jax.tree.leaves(error)]
    return jnp.max(jnp.stack(parts))
