"""The discretised mixture of logistics against float64 and extended-precision oracles."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from gen_jax.heads import LogisticMixture
from gen_jax.ops import logistic_mixture as mixture

pytestmark = pytest.mark.usefixtures("x64")
LEVELS = (2, 3, 17, 256)
# One program a call: of single operations there would be a thousand.
log_mass = jax.jit(mixture.log_mass, static_argnums=3)
masses_at_once = jax.jit(mixture.masses, static_argnums=2)
log_prob = jax.jit(mixture.log_prob, static_argnums=(2, 3))
head_log_prob = jax.jit(LogisticMixture.log_prob, static_argnums=0)
head_conditional = jax.jit(LogisticMixture.conditional, static_argnums=(0, 2))
head_sample = jax.jit(LogisticMixture.sample, static_argnums=0)
LOG_SCALES = (-7.0, -5.0, -2.0, 0.0, 3.0)


def oracle_mass(x, m, log_scale, levels):
    """The two-sided difference in extended precision, edges open."""
    x, s = np.longdouble(2.0) * x / (levels - 1) - 1, np.exp(np.longdouble(log_scale))
    half = np.longdouble(1.0) / (levels - 1)
    upper = np.where(x > 1 - half, np.inf, (x + half - m) / s)
    lower = np.where(x < -1 + half, -np.inf, (x - half - m) / s)
    # sigma(a) - sigma(b) from the side on which both are small, so that nothing cancels
    flip = (upper + lower) > 0
    a, b = np.where(flip, -lower, upper), np.where(flip, -upper, lower)
    with np.errstate(over="ignore"):
        return 1 / (1 + np.exp(-a)) - 1 / (1 + np.exp(-b))


@pytest.mark.parametrize("levels", LEVELS)
def test_mass_against_extended_precision(levels):
    x = np.arange(levels)
    for log_scale, m in itertools.product(LOG_SCALES, (-1.3, -0.2, 0.0, 0.71, 1.0)):
        with np.errstate(divide="ignore"):
            expected = np.log(oracle_mass(x, m, log_scale, levels))
        found = log_mass(jnp.array(x), jnp.array(m), jnp.array(log_scale), levels)
        sure = expected > -30  # below, the oracle's own exponentials have lost their digits
        np.testing.assert_allclose(
            np.asarray(found)[sure], expected[sure].astype(float), rtol=1e-9, atol=1e-15
        )
        assert np.all(np.asarray(found)[~sure] < -29)


def test_far_tails_are_linear():
    """Ten thousand scales away log p falls by 1 / s a unit: no floor, no infinity."""
    x, log_scale = jnp.array(200), jnp.array(-7.0)
    means = jnp.array([-9.0, -10.0])
    far = log_mass(x, means, log_scale, 256)
    np.testing.assert_allclose(far[0] - far[1], np.exp(7.0), rtol=1e-9)


@pytest.mark.parametrize("levels", LEVELS)
@pytest.mark.parametrize("log_scale", [*LOG_SCALES, 8.0, 50.0, 120.0])
def test_masses_sum_to_one(levels, log_scale):
    """From the bound of `split` to scales far above the image."""
    for m in (-3.0, -0.3, 0.0, 0.9999, 40.0):
        every = log_mass(jnp.arange(levels), jnp.array(m), jnp.array(log_scale), levels)
        np.testing.assert_allclose(np.exp(every).sum(), 1.0, rtol=1e-10)


@pytest.mark.parametrize("levels", LEVELS)
@pytest.mark.parametrize("log_scale", [*LOG_SCALES, 8.0, 50.0, 120.0])
def test_all_masses_at_once(levels, log_scale):
    """The same numbers to the last digits, relatively, down to what a float holds."""
    m = jnp.array([-3.0, -0.3, 0.0, 0.9999, 40.0])
    expected = log_mass(jnp.arange(levels), m[:, None], jnp.array(log_scale), levels)
    found = masses_at_once(m, jnp.full(5, log_scale), levels)
    seen = expected > -600
    np.testing.assert_allclose(
        np.log(np.asarray(found)[seen]), np.asarray(expected)[seen], rtol=1e-10, atol=1e-12
    )
    assert np.all(np.asarray(found)[~seen] < 1e-250)
    with jax.enable_x64(False):
        single = masses_at_once(jnp.array(np.float32(m)), jnp.full(5, log_scale), levels)
    assert single.dtype == jnp.float32
    np.testing.assert_allclose(single.sum(axis=-1), 1.0, rtol=1e-6)


def test_the_published_guard_agrees_where_the_mass_is_large():
    """log(max(cdf difference, 1e-12)) at 256 levels, edges at +-0.999, is the same above 1e-5 and is not below."""
    x = np.arange(256)
    scaled, m, s = x / 127.5 - 1, 0.13, np.exp(-3.0)
    cdf = stats.logistic.cdf
    difference = cdf((scaled + 1 / 255 - m) / s) - cdf((scaled - 1 / 255 - m) / s)
    published = np.log(np.maximum(difference, 1e-12))
    published = np.where(
        scaled < -0.999, stats.logistic.logcdf((scaled + 1 / 255 - m) / s), published
    )
    published = np.where(
        scaled > 0.999, stats.logistic.logsf((scaled - 1 / 255 - m) / s), published
    )
    centre = stats.logistic.logpdf((scaled - m) / s) - np.log(s) - np.log(127.5)
    edge = np.abs(scaled) > 0.999
    guarded = np.where((difference > 1e-5) | edge, published, centre)
    found = np.asarray(log_mass(jnp.array(x), jnp.array(m), jnp.array(-3.0), 256))
    large = (difference > 1e-5) & ~edge
    np.testing.assert_allclose(found[large], guarded[large], rtol=1e-9)
    np.testing.assert_allclose(found[edge], guarded[edge], rtol=1e-9)
    assert abs(np.exp(guarded).sum() - 1) > 1e-8 > abs(np.exp(found).sum() - 1)


def random_params(rng, n, values, mixtures, scale=2.0):
    return jnp.asarray(scale * rng.normal(size=(n, LogisticMixture(256, values, mixtures).size)))


def test_one_indicator_for_all_channels():
    """log sum_k pi_k prod_c P(x_c | k, x_<c), by loops in numpy."""
    rng, levels, K = np.random.default_rng(0), 7, 3
    params, x = random_params(rng, 5, 3, K), rng.integers(0, levels, (5, 3))
    expected = []
    for p, pixel in zip(np.asarray(params), x, strict=True):
        p = p.reshape(-1, K)
        weights = np.exp(p[0]) / np.exp(p[0]).sum()
        c = np.tanh(p[7:])
        scaled = 2 * pixel / (levels - 1) - 1
        total = 0.0
        for k in range(K):
            means = p[1:4, k].copy()
            means[1] += c[0, k] * scaled[0]
            means[2] += c[1, k] * scaled[0] + c[2, k] * scaled[1]
            scales = np.maximum(p[4:7, k], -7)
            masses = [oracle_mass(pixel[i], means[i], scales[i], levels) for i in range(3)]
            total += weights[k] * np.prod(masses)
        expected.append(float(np.log(total)))
    np.testing.assert_allclose(log_prob(params, jnp.asarray(x), levels, K), expected, rtol=1e-9)


def test_scales_end_at_the_published_bound():
    """Log-scales below -7 count as -7, those above as they are: in what is scored, coded and drawn."""
    head, x = LogisticMixture(256, 1, 1), jnp.array([[128]])
    for log_scale in (-9.0, -7.0, -6.9, -5.5, -4.0):
        params = jnp.array([[0.3, 0.01, log_scale]])  # one logistic around 0.01
        expected = np.log(oracle_mass(np.array([128]), 0.01, max(log_scale, -7.0), 256))
        np.testing.assert_allclose(
            head_log_prob(head, params, x), expected.astype(float), rtol=1e-9
        )
        pmf = head_conditional(head, params, 0, x)[0, 128]
        np.testing.assert_allclose(np.log(pmf), expected.astype(float)[0], rtol=1e-9)
    wide, narrow = (
        np.asarray(
            head_sample(head, jnp.tile(jnp.array([0.3, 0.0, s]), (400, 1)), jax.random.key(0))
        )
        for s in (-7.0, -9.0)
    )
    np.testing.assert_array_equal(wide, narrow)


@pytest.mark.parametrize("values", [1, 3])
def test_a_pixel_sums_to_one(values):
    rng, levels, K = np.random.default_rng(1), 4, 2
    params = random_params(rng, 6, values, K)
    every = np.array(list(itertools.product(range(levels), repeat=values)))
    total = sum(
        np.exp(log_prob(params, jnp.tile(jnp.asarray(x), (6, 1)), levels, K)) for x in every
    )
    np.testing.assert_allclose(total, 1.0, rtol=1e-12)


def test_conditionals_read_earlier_channels_only():
    """p(x_c | x_<c) sums to 1, multiplies to the joint, and changes with exactly the values before c."""
    rng, levels = np.random.default_rng(2), 5
    head = LogisticMixture(levels, 3, 2)
    params, x = random_params(rng, 4, 3, 2), rng.integers(0, levels, (4, 3))
    joint = 0.0
    for c in range(3):
        pmf = head_conditional(head, params, c, jnp.asarray(x))
        np.testing.assert_allclose(pmf.sum(axis=-1), 1.0, rtol=1e-12)
        joint = joint + np.log(np.take_along_axis(np.asarray(pmf), x[:, c, None], 1)[:, 0])
        for changed in range(3):
            other = x.copy()
            other[:, changed] = (other[:, changed] + 1) % levels
            again = head_conditional(head, params, c, jnp.asarray(other))
            assert np.all(again == pmf) == (changed >= c)
    np.testing.assert_allclose(head_log_prob(head, params, jnp.asarray(x)), joint, rtol=1e-10)


@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_draws_follow_the_conditionals(temperature):
    """Chi-square of 60,000 pixels over all 27 colours; a temperature divides logits and multiplies scales."""
    n, levels, K = 60_000, 3, 2
    head = LogisticMixture(levels, 3, K)
    params = random_params(np.random.default_rng(3), 1, 3, K, scale=0.7)
    parts = params.reshape(-1, K)
    tempered = parts.at[0].divide(temperature).at[4:7].add(np.log(temperature)).reshape(1, -1)
    every = jnp.asarray(list(itertools.product(range(levels), repeat=3)))
    expected = n * np.exp(head_log_prob(head, jnp.tile(tempered, (27, 1)), every))
    drawn = head_sample(head, jnp.tile(params, (n, 1)), jax.random.key(0), temperature)
    counts = np.bincount(np.asarray(drawn) @ [9, 3, 1], minlength=27)
    assert stats.chisquare(counts, expected * n / expected.sum()).pvalue > 1e-5


def test_gradients_are_finite_everywhere():
    """Also at the first and last level, at scales on and under the bound, at means far outside."""
    for dtype in (jnp.float32, jnp.float64):
        rng = np.random.default_rng(4)
        for scale in (1.0, 30.0, 300.0):
            params = random_params(rng, 64, 3, 4, scale).astype(dtype)
            for levels in (2, 256):
                x = jnp.asarray(rng.choice([0, 1, levels // 2, levels - 1], (64, 3)))
                value, slope = jax.jit(
                    jax.value_and_grad(
                        lambda p, x=x, levels=levels: log_prob(p, x, levels, 4).sum()
                    )
                )(params)
                assert np.isfinite(np.append(slope, value)).all(), (dtype, scale)


def test_gradient_against_differences():
    rng = np.random.default_rng(5)
    params, x = random_params(rng, 1, 3, 2), jnp.asarray([[0, 8, 16]])
    f = jax.jit(lambda p: log_prob(p, x, 17, 2)[0])
    slope, step = jax.grad(f)(params)[0], 1e-6
    for i in range(params.shape[1]):
        ahead = params.at[0, i].add(step)
        behind = params.at[0, i].add(-step)
        np.testing.assert_allclose(slope[i], (f(ahead) - f(behind)) / (2 * step), atol=1e-7)
