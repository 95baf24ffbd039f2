"""The laws, over every model at seeded random parameters, in float64."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import CASES, all_events, build, labels, of_systems, random_events
from scipy import stats

from gen_jax.models.autoregressive.base import ancestral, naive, stepped_params

pytestmark = pytest.mark.usefixtures("x64")
every_model = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
every_system = pytest.mark.parametrize("case", of_systems())
FALSE_ALARM = 1e-4


@every_model
def test_normalises(case):
    """The probabilities of all events sum to 1, for every class."""
    model = case.model
    pure, variables = build(model)
    x = all_events(model)
    for label in range(max(1, model.num_classes)):
        cond = jnp.full(len(x), label) if model.num_classes else None
        log_prob = jax.jit(pure.log_prob)(variables, x, cond=cond)
        assert log_prob.dtype == jnp.float64
        np.testing.assert_allclose(np.exp(log_prob).sum(), 1.0, atol=1e-10)


def influence(model, variables, trials=12):
    """influence[i, j]: the parameters of site i change when the values of site j do, all else bit-identical."""
    sites, found = model.num_sites, 0

    @jax.jit
    def params(
        x,
    ):  # one event at a time: the same program for each, so that equal inputs give equal bits
        return jax.lax.map(lambda one: model.apply(variables, one[None], labels(model, 1))[0], x)

    for trial in range(trials):
        x = np.array(random_events(model, 1, trial)).reshape(1, -1)
        changed = np.repeat(x, sites, axis=0)
        step = 1 + trial % (model.event.levels - 1)
        for j, where in enumerate(model.sites):
            changed[j, where] = (changed[j, where] + step) % model.event.levels
        both = np.concatenate([x, changed]).reshape(-1, *model.event.shape)
        p = np.asarray(params(both))
        found = found | np.any(p[1:] != p[:1], axis=-1).T
    return found


@every_model
def test_depends_on_its_context_and_on_nothing_else(case):
    """A site's distribution changes with exactly the sites that `context` declares; none of them is later."""
    model = case.larger
    _, variables = build(model)
    declared = np.stack([model.context(site) for site in range(model.num_sites)])
    assert not np.triu(declared).any()
    np.testing.assert_array_equal(influence(model, variables), declared)


@every_system
def test_step_equals_parallel(case):
    """Stepping through given values gives the parameters of the parallel pass."""
    model = case.larger
    _, variables = build(model)
    x, cond = random_events(model, 3), labels(model, 3)
    parallel = jax.jit(model.apply)(variables, x, cond)
    stepped = jax.jit(functools.partial(stepped_params, model))(variables, x, cond)
    np.testing.assert_allclose(stepped, parallel, rtol=1e-12, atol=1e-12)


@every_system
def test_cached_samples_are_the_naive_ones(case):
    """Same keys, same integers, whether by cached steps or by full passes."""
    model = case.larger
    pure, variables = build(model)
    key, cond = jax.random.key(7), labels(model, 5)
    cached = jax.jit(pure.sample, static_argnums=2)(variables, key, 5, cond, 1.3)
    oracle = jax.jit(functools.partial(naive, model), static_argnums=2)(
        variables, key, 5, cond, 1.3
    )
    np.testing.assert_array_equal(cached, oracle)
    assert np.unique(np.asarray(cached)).size > 1


@every_system
def test_samples_follow_the_density(case):
    """Chi-square of 20,000 samples against the enumerated probabilities."""
    model, n = case.model, 20_000
    pure, variables = build(model)
    x = all_events(model)
    cond = None if not model.num_classes else jnp.ones(len(x), jnp.int32)
    expected = n * np.exp(jax.jit(pure.log_prob)(variables, x, cond=cond))
    drawn = jax.jit(pure.sample, static_argnums=2)(
        variables, jax.random.key(3), n, None if cond is None else jnp.ones(n, jnp.int32)
    )
    powers = model.event.levels ** np.arange(model.event.size)[::-1]
    counts = np.bincount(np.asarray(drawn).reshape(n, -1) @ powers, minlength=len(x))
    assert pooled_chi_square(counts, expected) > FALSE_ALARM


def pooled_chi_square(counts, expected):
    """p-value, with rare events pooled into cells of an expected count of at least 10."""
    order = np.argsort(expected)
    cell = np.floor(np.cumsum(expected[order]) / 10).astype(int)
    counts, expected = np.bincount(cell, counts[order]), np.bincount(cell, expected[order])
    kept = expected > 5
    return stats.chisquare(
        counts[kept], expected[kept] * counts[kept].sum() / expected[kept].sum()
    ).pvalue


@every_system
def test_code_length_of_samples_is_their_entropy(case):
    """On the model's own samples sum_i -log p(x_i | x_<i) - H_i has mean 0 (a martingale)."""
    model, n = case.larger, 512
    pure, variables = build(model)
    cond = labels(model, n)
    x = jax.jit(pure.sample, static_argnums=2)(variables, jax.random.key(11), n, cond)
    params = jax.jit(model.apply)(variables, x, cond)
    values = model.site_values(x)
    log_prob, excess = 0.0, 0.0
    for v in range(values.shape[-1]):
        pmf = model.head.conditional(params, v, values)
        np.testing.assert_allclose(pmf.sum(axis=-1), 1.0, atol=1e-12)
        own = jnp.log(jnp.take_along_axis(pmf, values[..., v, None], axis=-1)[..., 0])
        log_prob, excess = log_prob + own, excess - own + jnp.sum(pmf * jnp.log(pmf), axis=-1)
    np.testing.assert_allclose(log_prob, model.head.log_prob(params, values), rtol=1e-9, atol=1e-9)
    excess = np.asarray(jnp.sum(excess, axis=-1))
    assert abs(excess.mean()) < 4 * excess.std() / np.sqrt(n) + 1e-12


@every_system
def test_completion_keeps_the_known_part(case):
    """Known sites stay bit for bit, drawn ones are those of the sampler that got the same values."""
    model, n = case.larger, 4
    _, variables = build(model)
    x, cond, known = random_events(model, n, 5), labels(model, n), model.num_sites // 2
    draw = jax.jit(functools.partial(ancestral, model), static_argnums=2)
    first, second = (
        np.asarray(draw(variables, jax.random.key(k), n, cond, 1.0, x, known)) for k in (0, 1)
    )
    kept = model.sites[:known].ravel()
    np.testing.assert_array_equal(
        first.reshape(n, -1)[:, kept], np.asarray(x).reshape(n, -1)[:, kept]
    )
    assert np.any(first != second)
    everything = draw(
        variables, jax.random.key(0), n, cond, 1.0, first.astype(x.dtype), model.num_sites
    )
    np.testing.assert_array_equal(everything, first)


@pytest.mark.parametrize("case", of_systems(in_float32=True))
def test_float32_steps_agree_relatively(case):
    """In float32 the two forms agree to 1e-4 of the largest parameter."""
    with jax.enable_x64(False):
        model = case.larger
        _, variables = build(model)
        x, cond = random_events(model, 3), labels(model, 3)
        parallel = np.asarray(jax.jit(model.apply)(variables, x, cond))
        stepped = np.asarray(jax.jit(functools.partial(stepped_params, model))(variables, x, cond))
    assert parallel.dtype == np.float32
    assert np.abs(stepped - parallel).max() < 1e-4 * max(1.0, np.abs(parallel).max())
