"""Glow: its layers against autodiff, closed forms of its priors, and planted faults."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gen_jax.nn import bijections
from gen_jax.nn.bijections import Actnorm, Invertible1x1
from gen_jax.ops import lu

in_float64 = pytest.mark.usefixtures("x64")


def noise(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.result_type(float))


def checked(layer, variables, x):
    """Round trip and log-determinant of a layer against autodiff."""
    z, log_det = layer.apply(variables, x)
    np.testing.assert_allclose(layer.apply(variables, z, method="inverse"), x, atol=1e-10)
    one = lambda x: layer.apply(variables, x[None])[0].ravel()  # noqa: E731
    jacobian = jax.vmap(jax.jacrev(one))(x).reshape(len(x), x[0].size, x[0].size)
    np.testing.assert_allclose(log_det, jnp.linalg.slogdet(jacobian)[1], atol=1e-10)
    return z


@in_float64
def test_lu_factors_of_a_matrix():
    """The product is x W, the determinant is that of W, and the solution inverts it; rows move and signs differ."""
    matrix, x = noise(5, 5), noise(2, 3, 5, seed=1)
    packed, order, sign = lu.factors(matrix)
    assert {*np.asarray(sign)} == {-1.0, 1.0}
    assert np.any(np.asarray(order) != np.arange(5))
    np.testing.assert_allclose(lu.product(x, packed, order, sign), x @ matrix, atol=1e-12)
    expected = np.linalg.slogdet(matrix)[1]
    np.testing.assert_allclose(lu.log_abs_det(packed), expected, atol=1e-12)
    y = lu.solution(x, packed, order, sign)
    np.testing.assert_allclose(y, x @ np.linalg.inv(matrix), atol=1e-11)


@in_float64
@pytest.mark.parametrize("by", ["lu", "matrix"])
@pytest.mark.parametrize("shape", [(3,), (2, 3, 4)])
def test_an_invertible_1x1(by, shape):
    """It starts as a rotation, has C^2 parameters, and its determinant counts every place."""
    layer, x = Invertible1x1(by), noise(3, *shape)
    variables = layer.init(jax.random.key(0), x)
    z, log_det = layer.apply(variables, x)
    norm = functools.partial(np.linalg.norm, axis=-1)
    np.testing.assert_allclose(norm(z), norm(x), atol=1e-12)
    np.testing.assert_allclose(log_det, 0, atol=1e-12)
    [kernel] = jax.tree.leaves(variables["params"])
    assert kernel.size == shape[-1] ** 2
    moved = {**variables, "params": {"kernel": kernel + 0.3 * noise(*kernel.shape, seed=2)}}
    checked(layer, moved, x)
    assert np.abs(layer.apply(moved, x)[1]).min() > 0.01


@in_float64
def test_both_forms_of_a_1x1_are_the_same_map():
    matrix, x = noise(4, 4), noise(2, 3, 4, seed=1)
    given = lambda key, shape: matrix  # noqa: E731
    both = []
    for by in ("lu", "matrix"):
        layer = Invertible1x1(by, given)
        both.append(layer.apply(layer.init(jax.random.key(0), x), x))
    jax.tree.map(functools.partial(np.testing.assert_allclose, atol=1e-12), *both)
    np.testing.assert_allclose(both[1][0], x @ matrix)


@in_float64
@pytest.mark.parametrize(("each", "axes"), [("channel", (0, 1, 2)), ("dimension", 0)])
def test_actnorm(each, axes):
    """Mean 0 and deviation 1 over the first batch, a constant unscaled; then a bijection like any other."""
    layer, x = Actnorm(each), 3 + 2 * noise(6, 2, 3, 4)
    x = x.at[..., 0].set(5.0)
    variables = layer.init(jax.random.key(0), x)
    z, log_det = layer.apply(variables, x)
    np.testing.assert_allclose(jnp.mean(z, axis=axes), 0, atol=1e-12)
    deviation = np.broadcast_to(np.std(z, axis=axes), z.shape[1:])
    np.testing.assert_allclose(deviation[..., 1:], 1, atol=1e-5)
    np.testing.assert_array_equal(z[..., 0], 0)
    gains = np.broadcast_to(np.std(x, axis=axes), x.shape[1:])[..., 1:]
    np.testing.assert_allclose(log_det, -np.log(gains).sum(), atol=1e-4)
    checked(layer, jax.tree.map(lambda leaf: leaf + 0.1 * noise(*leaf.shape, seed=2), variables), x)


@in_float64
def test_a_1x1_that_counts_one_place_is_caught(monkeypatch):
    """The log-determinant of the matrix alone, not times H x W."""
    layer, x = Invertible1x1(), noise(2, 2, 3, 4)
    variables = layer.init(jax.random.key(0), x)
    kernel = variables["params"]["kernel"] + 0.3 * noise(4, 4, seed=2)
    right = bijections.lu.log_abs_det
    monkeypatch.setattr(bijections.lu, "log_abs_det", lambda packed: right(packed) / 6)
    with pytest.raises(AssertionError):
        checked(layer, {**variables, "params": {"kernel": kernel}}, x)
