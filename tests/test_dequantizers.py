"""Noise for integers: q(u | x) by autodiff, the bound under every q against the mass by quadrature."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.scipy.special import ndtr
from scipy import stats
from test_flows import NINE, PAIR, build, in_float64, pair  # noqa: F401  a fixture

from gen_jax import InputError, UniformDequantizer, VariationalDequantizer, functional, image
from gen_jax.density import fold_in
from gen_jax.models.flow.base import DequantizedFlow
from gen_jax.ops import gaussian

SMALL = VariationalDequantizer(features=4, blocks=1, components=2, couplings=2, heads=2, context=3)
NOISY = PAIR.clone(dequantizer=SMALL)


def near_identity(params):
    """The same parameters, the linear maps of the halves near 1 instead of near 0."""
    for layer in params.values():
        for linear in ("maps_0", "maps_1"):
            if linear in layer:
                layer[linear]["kernel"] += 1
    return params


@pytest.fixture(scope="module")
def noisy(pair):  # noqa: F811
    """The flow of `pair` under random noise that is spread widely: the weights of narrow noise vary too much."""
    _, variables, inside, _ = pair
    with jax.enable_x64(True):
        params = build(NOISY, scale=0.1)[1]["params"]["dequantizer"]
        for name, layer in near_identity(params).items():
            if "network" in layer:
                assert name in ("layers_2", "layers_5")
                last = layer["network"]["Linear_1"]
                last["bias"] = last["bias"].at[0].set(1.5)  # exp(tanh(1.5)) = 2.5
    params = {**variables["params"], "dequantizer": params}
    return {**variables, "params": params}, inside


def off_the_mass(variables, inside, model=NOISY, rows=600):
    """Means of L_1 and L_20 with their errors; and how far E exp(L_K) is from the masses, in standard errors."""
    x = jnp.repeat(jnp.asarray(NINE), rows, axis=0)
    bound = jax.jit(functional(model).log_prob, static_argnames="draws")
    means, off = [], 0.0
    for draws in (1, 20):
        values = np.asarray(bound(variables, x, jax.random.key(draws), draws=draws))
        values = values.reshape(9, rows)
        errors = np.exp(values).std(axis=1, ddof=1) / math.sqrt(rows)
        off = max(off, np.max(np.abs(np.exp(values).mean(axis=1) - inside) / errors))
        means.append((values.mean(axis=1), values.std(axis=1, ddof=1) / math.sqrt(rows)))
    return means, off


@in_float64
def test_the_bound_under_variational_noise(noisy):
    """exp of the bound has the mean of the cell's mass for any K, and bound_1 <= bound_20 <= log of that mass."""
    inside = noisy[1]
    ((one, error), (twenty, closer)), off = off_the_mass(*noisy)
    assert off < 4.5
    assert np.all(one - 4 * error < twenty)
    assert np.all(twenty < np.log(inside) + 4 * closer)
    assert np.mean(twenty - one) > 0.05


@in_float64
def test_noise_without_its_density_is_caught(noisy, monkeypatch):
    right = DequantizedFlow.dequantized

    def wrong(*of, **o):
        y, log_q = right(*of, **o)
        return y, 0 * log_q

    monkeypatch.setattr(DequantizedFlow, "dequantized", wrong)
    assert off_the_mass(*noisy)[1] > 10


@in_float64
def test_noise_wider_than_its_cell_is_caught(pair, monkeypatch):  # noqa: F811
    """Noise over [-0.2, 1.2) with its right density counts the mass of the next cells too."""
    _, variables, inside, _ = pair
    assert off_the_mass(variables, inside, PAIR)[1] < 4.5

    def wide(self, x, key, levels, y=None, train=False):
        return 1.4 * jax.random.uniform(key, x.shape) - 0.2, jnp.full(len(x), -2 * math.log(1.4))

    monkeypatch.setattr(UniformDequantizer, "noise", wide)
    assert off_the_mass(variables, inside, PAIR)[1] > 10


@in_float64
def test_the_loss_is_the_bound_of_one_draw(noisy):
    """In nats a dimension; evaluation statistics, so that both are of one flow."""
    variables, _ = noisy
    x, key = jnp.asarray(NINE), jax.random.key(0)

    def both(module):
        y, log_q = module.dequantized(x, key)
        return module.loss(x, key)[0], module.log_density(y, True) - log_q

    (loss, expected), _ = NOISY.apply(variables, method=both, mutable=["batch_stats"])
    np.testing.assert_allclose(loss, -np.mean(expected) / 2)


class Quantiles:
    """A layer x -> logit Phi(x), under which sigmoid gives uniform noise."""

    def __call__(self, x, train=False, y=None):
        below, above = jax.scipy.special.log_ndtr(x), jax.scipy.special.log_ndtr(-x)
        log_slope = gaussian.log_prob(x) - below - above
        return below - above, jnp.sum(log_slope.reshape(len(x), -1), axis=-1)


class Even(VariationalDequantizer):
    """A variational dequantiser whose q is uniform."""

    def setup(self):
        super().setup()
        self.layers = [Quantiles()]


@in_float64
def test_uniform_q_gives_the_number_of_uniform_noise(pair, monkeypatch):  # noqa: F811
    pure, variables, *_ = pair
    even = functional(PAIR.clone(dequantizer=Even(features=4, blocks=1, context=3)))
    x, key = jnp.asarray(NINE), jax.random.key(0)
    params = jax.eval_shape(even.init, key, x)["params"]["dequantizer"]
    params = jax.tree.map(lambda leaf: jnp.ones(leaf.shape), params)
    params = {**variables["params"], "dequantizer": params}
    u, log_q = even.model.apply(
        {"params": params}, x, key, method=lambda m, *of: m.dequantizer.noise(*of, 3)
    )
    np.testing.assert_allclose(log_q, 0, atol=1e-12)
    assert stats.kstest(np.ravel(u), "uniform").pvalue > 1e-4
    bound = functools.partial(even.log_prob, {**variables, "params": params}, x, key, draws=5)
    monkeypatch.setattr(
        jax.random, "uniform", lambda key, shape: ndtr(jax.random.normal(key, shape))
    )
    expected = pure.log_prob(variables, x, key, draws=5)
    monkeypatch.undo()
    np.testing.assert_allclose(bound(), expected, atol=1e-12)


@in_float64
def test_noise_by_autodiff():
    """u lies in the unit cube, the inverse gives eps, and log q(u | x) is that of the change of variables."""
    model, x = NOISY.clone(event=image(2, 4, 1, 5)), jnp.arange(16).reshape(2, 2, 4, 1) % 5
    params = near_identity(build(model, scale=0.2)[1]["params"]["dequantizer"])
    variables = {"params": params}
    call = functools.partial(SMALL.apply, variables)
    u, log_q = jax.jit(lambda key: call(x, key, 5, method="noise"))(jax.random.key(0))
    assert np.all((u > 0) & (u < 1))
    context = call(x, 5, method="map_of")
    eps = call(u, context, method="inverse")
    np.testing.assert_allclose(call(eps, context, method="forward")[0], u, atol=1e-12)
    np.testing.assert_allclose(eps, jax.random.normal(jax.random.key(0), x.shape), atol=1e-7)
    for i in range(2):
        row = slice(i, i + 1)
        forward = lambda e: call(e[None], context[row], method="forward")[0][0]  # noqa: B023, E731
        jacobian = jax.jacrev(forward)(eps[i]).reshape(8, 8)
        expected = gaussian.log_prob(eps[i]).sum() - jnp.linalg.slogdet(jacobian)[1]
        np.testing.assert_allclose(log_q[i], expected, atol=1e-7)
    other = call((x + 1) % 5, jax.random.key(0), 5, method="noise")[0]
    assert np.abs(other - u).max() > 1e-3


def test_draws_have_noise_of_their_own():
    """Each draw k has the noise of the key folded with k, under every dequantiser."""
    key, x = jax.random.key(0), jnp.zeros((2, 1, 2, 1), jnp.int32)
    one, two = (UniformDequantizer().noise(x, fold_in(key, k), 3)[0] for k in range(2))
    assert not np.any(one == two)


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        (NOISY.clone(event=image(2, 1, 1, 3)), "an even width"),
        (PAIR.clone(dequantizer=SMALL.clone(heads=3)), "heads 3 must divide features 4"),
    ],
)
def test_impossible_noise_is_refused(model, sentence):
    x = jnp.zeros((2, *model.event.shape), jnp.int32)
    with pytest.raises(InputError, match=sentence):
        jax.eval_shape(functional(model).init, jax.random.key(0), x)
