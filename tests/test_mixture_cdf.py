"""logit F of a mixture of logistics: against closed forms and autodiff, in the tails, and inverted."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from gen_jax.ops.mixture_cdf import LEAST_LOG_SCALE, Mixture, inverse_logit_cdf, logit_cdf


def mixture_of(components, shape=(200,), spread=2.0, seed=0):
    rng = np.random.default_rng(seed)
    parts = rng.normal(0, spread, (3, *shape, components))
    parts[2] = 0.5 * parts[2] - 1
    return Mixture(*jnp.asarray(parts, jnp.result_type(float)))


def values(shape=(200,), spread=3.0):
    return jnp.asarray(np.random.default_rng(1).normal(0, spread, shape), jnp.result_type(float))


@pytest.mark.usefixtures("x64")
def test_against_the_closed_form():
    mixture, x = mixture_of(3), values()
    y, log_slope = logit_cdf(x, mixture)
    weight = jax.nn.softmax(mixture.logits)
    logistic, shape = stats.logistic, (x[:, None], mixture.mean, np.exp(mixture.log_scale))
    cdf, rest, density = (
        np.sum(weight * f(*shape), axis=-1) for f in (logistic.cdf, logistic.sf, logistic.pdf)
    )
    np.testing.assert_allclose(y, np.log(cdf) - np.log(rest), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(log_slope, np.log(density / cdf / rest), rtol=1e-11, atol=1e-12)


@pytest.mark.usefixtures("x64")
def test_the_slope_is_that_of_autodiff():
    mixture, x = mixture_of(5), values()
    slope = jax.vmap(jax.grad(lambda x, m: logit_cdf(x, m)[0]))(x, mixture)
    np.testing.assert_allclose(logit_cdf(x, mixture)[1], np.log(slope), atol=1e-12)


def test_tails_in_float32():
    """Where F rounds to 0 or 1, y is linear in x with the slope of the widest component, as in float64."""
    mixture, x = mixture_of(4), jnp.asarray([-1e4, -200.0, -30.0, 30.0, 200.0, 1e4])
    one = jax.tree.map(lambda part: jnp.broadcast_to(part[0], (6, 4)), mixture)
    y, log_slope = logit_cdf(x, one)
    assert y.dtype == jnp.float32
    assert np.all(jnp.isfinite(y) & jnp.isfinite(log_slope))
    with jax.enable_x64(True):
        exact = logit_cdf(*jax.tree.map(lambda part: jnp.asarray(part, float), (x, one)))
    np.testing.assert_allclose(y, exact[0], rtol=1e-5)
    assert np.all(np.abs(log_slope - exact[1]) <= 1e-6 * (1 + np.abs(exact[0])))
    np.testing.assert_allclose(exact[1][0], -np.max(one.log_scale[0]), atol=1e-6)


def test_float32_agrees_with_float64():
    mixture, x = mixture_of(32, (2000,)), values((2000,))
    rounded = logit_cdf(x, mixture)
    with jax.enable_x64(True):
        exact = logit_cdf(*jax.tree.map(lambda part: jnp.asarray(part, float), (x, mixture)))
    for one, other in zip(rounded, exact, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("components", [1, 8])
@pytest.mark.parametrize("bits", [32, 64])
def test_bisection_inverts(components, bits):
    """Within the stated share of the bracket, and what a rounding of y makes of x."""
    with jax.enable_x64(bits == 64):
        mixture, x = mixture_of(components), values()
        y, log_slope = logit_cdf(x, mixture)
        again = jax.jit(inverse_logit_cdf)(y, mixture)
        quantiles = mixture.mean + jnp.exp(mixture.log_scale) * y[:, None]
        bracket = np.ptp(np.asarray(quantiles), axis=1)
        rounding = 100 * jnp.finfo(y.dtype).eps
        scale = 1 + np.abs(y) + np.abs(x) + np.abs(mixture.mean).max(axis=1)
        allowed = bracket * 2.0 ** (-34 if bits == 32 else -63)
        allowed += rounding * scale * (1 + np.exp(-log_slope) + np.exp(-mixture.log_scale.min(1)))
        assert again.dtype == y.dtype
        assert np.all(np.abs(again - x) <= allowed)


@pytest.mark.usefixtures("x64")
def test_narrow_components_are_widened():
    mixture = mixture_of(2)
    narrow = mixture._replace(log_scale=mixture.log_scale - 50)
    least = mixture._replace(log_scale=jnp.full_like(mixture.log_scale, LEAST_LOG_SCALE))
    for one, other in zip(logit_cdf(values(), narrow), logit_cdf(values(), least), strict=True):
        np.testing.assert_array_equal(one, other)
    y = logit_cdf(values(), narrow)[0]
    assert np.all(jnp.isfinite(inverse_logit_cdf(y, narrow)))


def test_the_inverse_has_no_gradient():
    """A gradient through the comparisons of a bisection would be wrong; there is an error instead."""
    mixture = mixture_of(2, (3,))
    with pytest.raises(ValueError, match="everse-mode"):
        jax.grad(lambda y: inverse_logit_cdf(y, mixture).sum())(jnp.zeros(3))
