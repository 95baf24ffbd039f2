"""Continuous change of variables: closed form, determinant by autodiff, all sign vectors, gradients, stiff examples."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import linalg

from gen_jax import InputError, Solver, points
from gen_jax.ops import ode

pytestmark = pytest.mark.usefixtures("x64")
A = np.array([[0.3, 1.0], [-0.7, -0.2]])
FINE = Solver(tolerance=1e-9)


def curved(x, t, weight, own):
    """A velocity whose trace depends on place and time."""
    shift = 0.0 if own is None else own
    return jnp.tanh(x @ weight + shift) * (1 + t)


@functools.partial(jax.jit, static_argnums=(0, 3))
def solve(velocity, x, weight, solver=FINE, start=0.0, end=1.0, own=None, noise=None):
    return ode.solve(velocity, x, start, end, solver, weight, own, noise)


@pytest.fixture
def x():
    return jnp.asarray(np.random.default_rng(0).normal(size=(3, 2)))


def test_a_linear_velocity_has_a_closed_form(x):
    """x(1) = exp(A) x(0) and log |det| = tr A."""
    found = solve(lambda x, t, weight, own: weight @ x, x, A)
    np.testing.assert_allclose(found.x, x @ linalg.expm(A).T, atol=1e-8)
    np.testing.assert_allclose(found.log_det, np.trace(A), atol=1e-12)


def test_the_integral_of_the_trace_is_the_log_determinant(x):
    """By reverse-mode autodiff through the solver, with values of each example's own; and back again."""
    own = jnp.asarray(np.random.default_rng(1).normal(size=(3, 2)))
    found = solve(curved, x, A, own=own)

    def end(x, own):
        return ode.solve(curved, x[None], 0.0, 1.0, FINE, A, own[None], trace=False).x[0]

    jacobians = jax.jit(jax.vmap(jax.jacrev(end)))(x, own)
    np.testing.assert_allclose(found.log_det, np.linalg.slogdet(jacobians)[1], atol=1e-7)
    assert np.abs(found.log_det).max() > 0.1
    back = solve(curved, found.x, A, FINE, 1.0, 0.0, own=own)
    np.testing.assert_allclose(back.x, x, atol=1e-7)
    np.testing.assert_allclose(back.log_det, -found.log_det, atol=1e-7)


def test_the_mean_over_all_signs_is_the_trace(x):
    """Hutchinson's estimate of log p, with each of the four vectors of signs: the mean is exact, one draw is not."""
    every = np.array(list(itertools.product((-1.0, 1.0), repeat=2)))
    rows = jnp.tile(x, (4, 1))
    estimates = solve(curved, rows, A, noise=jnp.repeat(every, 3, axis=0)).log_det.reshape(4, 3)
    exact = solve(curved, x, A).log_det
    np.testing.assert_allclose(estimates.mean(axis=0), exact, atol=1e-7)
    assert np.abs(estimates - exact).max() > 0.1


def test_signs_come_from_the_key(x):
    key, random = jax.random.key(0), Solver(trace="hutchinson")
    signs = np.asarray(ode.signs(random, key, jnp.zeros((200, 2))))
    assert set(np.unique(signs)) == {-1.0, 1.0}
    np.testing.assert_array_equal(signs[:3], ode.signs(random, key, x))
    assert ode.signs(FINE, None, x) is None
    with pytest.raises(InputError, match="needs a key"):
        ode.signs(random, None, x)


def test_an_example_does_not_depend_on_its_neighbours(x):
    """A neighbour that needs many more steps leaves steps and numbers as they are."""
    speed = lambda x, t, weight, own: own * jnp.sin(own * x)  # noqa: E731
    own = jnp.array([1.0, 30.0, 2.0])[:, None]
    together = solve(speed, x, None, own=own)
    alone = solve(speed, x[2:], None, own=own[2:])
    np.testing.assert_array_equal(together.steps[2:], alone.steps)
    np.testing.assert_allclose(together.x[2:], alone.x, rtol=1e-14)
    np.testing.assert_allclose(together.log_det[2:], alone.log_det, rtol=1e-13)
    assert together.steps[1] > 2 * together.steps[2]


def test_a_stiff_example_is_nan_and_leaves_the_others(x):
    speed = lambda x, t, weight, own: -own * x  # noqa: E731
    own = jnp.array([1.0, 1e5, 2.0])[:, None]
    found = solve(speed, x, None, Solver(max_steps=50), own=own)
    np.testing.assert_array_equal(np.isnan(found.x[:, 0]), [False, True, False])
    np.testing.assert_array_equal(np.isnan(found.log_det), [False, True, False])
    assert found.steps[1] == 50
    sentence = (
        "the ODE is stiff for 1 of 3 examples: tsit5 needs more than 50 steps at tolerance 1e-05"
    )
    assert ode.stiff(1, 3, Solver(max_steps=50)) == sentence


@pytest.mark.parametrize(
    "adjoint", ["checkpoints", pytest.param("backsolve", marks=pytest.mark.slow)]
)
def test_gradients_through_the_solver(adjoint, x):
    """Against a difference quotient; a velocity of zero has finite ones."""

    @functools.partial(jax.jit, static_argnums=1)
    def loss(weight, adjoint):
        end = ode.solve(curved, x, 0.0, 1.0, FINE, weight, adjoint=adjoint)
        return jnp.sum(end.log_det + jnp.sum(end.x**2, axis=1))

    step = 1e-5 * np.array([[0.0, 1.0], [0.0, 0.0]])
    quotient = (loss(A + step, "checkpoints") - loss(A - step, "checkpoints")) / 2e-5
    gradient = jax.jit(jax.grad(loss), static_argnums=1)
    np.testing.assert_allclose(gradient(A, adjoint)[0, 1], quotient, rtol=1e-6)
    assert np.all(np.isfinite(gradient(0 * A, adjoint)))


@pytest.mark.slow
@pytest.mark.parametrize("method", ["bosh3", "dopri5", "dopri8"])
def test_every_method_meets_its_tolerance(method, x):
    found = solve(lambda x, t, weight, own: weight @ x, x, A, Solver(method, 1e-6))
    np.testing.assert_allclose(found.x, x @ linalg.expm(A).T, atol=1e-5)


def test_refusals():
    for fields, match in (
        ({"tolerance": 0.0}, "solver.tolerance must lie between 0 and 1"),
        ({"max_steps": 0}, "solver.max_steps must be at least 1"),
    ):
        with pytest.raises(InputError, match=match):
            Solver(**fields)
    Solver().check(points(8))
    Solver(trace="hutchinson").check(points(9))
    with pytest.raises(InputError, match="up to 8 dimensions, not 9: use 'hutchinson'"):
        Solver().check(points(9))
