"""Groups of latents: their distributions, the estimators of the gradient by enumeration and quadrature, collapse."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats
from test_bounds import build

from gen_jax import IWAE, InputError, binary, functional
from gen_jax.models.latent import estimators
from gen_jax.models.latent.estimators import VIMCO, DReG, Reparameterised
from gen_jax.nn.encoders import DenseDecoder, DenseEncoder
from gen_jax.ops.importance import leave_one_out_baselines
from gen_jax.ops.latents import Bernoulli, Categorical, Gaussian, Normal

pytestmark = pytest.mark.usefixtures("x64")
RNG = np.random.default_rng(0)
LOGITS, OTHER = RNG.normal(size=(2, 1, 2, 3))
DISCRETE = [
    (Bernoulli((3,)), LOGITS[:, 0], OTHER[:, 0], 2),
    (
        Categorical((2,), 3),
        special.log_softmax(LOGITS, axis=-1),
        special.log_softmax(OTHER, axis=-1),
        3,
    ),
]
N = 20_000


@pytest.mark.parametrize(("group", "q", "p", "levels"), DISCRETE)
def test_discrete_groups_by_enumeration(group, q, p, levels):
    """Probabilities sum to 1, KL and location are their sums, and draws follow them; at temperature 0 the mode."""
    q, p = (jnp.asarray(logits.reshape(1, *logits.shape[1:])) for logits in (q, p))
    every = jnp.arange(levels).reshape(levels, *(1,) * len(group.shape)) + jnp.zeros(
        group.shape, int
    )
    log_q, log_p = (np.asarray(group.log_prob(params, every)) for params in (q, p))
    np.testing.assert_allclose(np.exp(log_q).sum(axis=0), 1)
    kl = np.sum(np.exp(log_q) * (log_q - log_p), axis=0)
    np.testing.assert_allclose(group.kl(q, p)[0], kl, rtol=1e-12)
    apart = (np.exp(log_q) - np.exp(log_p)) ** 2 / np.exp(log_p)
    location = np.sum(np.asarray(group.location(q, p)) ** 2, axis=-1)[0]
    np.testing.assert_allclose(location, apart.sum(axis=0), rtol=1e-10)
    assert group.location(q, p).shape == (1, *group.shape, group.parts)

    noise = group.noise(jax.random.key(0), N)
    z, log_prob = group.draw(q, noise)
    np.testing.assert_array_equal(log_prob, group.log_prob(q, z))
    for unit in range(group.shape[0]):
        counts = np.bincount(np.asarray(z[:, unit]), minlength=levels)
        assert stats.chisquare(counts, N * np.exp(log_q[:, unit])).pvalue > 1e-4
    np.testing.assert_array_equal(group.draw(q, 0 * noise[:1])[0], group.mode(q))


def test_a_gaussian_group_against_scipy():
    """Draws, KL by quadrature, and a location that is E[z | x] under N(0, I)."""
    group = Gaussian((2, 2))
    q = Normal(*jnp.asarray(RNG.normal(size=(2, 1, 2, 2))))
    p = Normal(*jnp.asarray(RNG.normal(size=(2, 2, 2))))
    noise = group.noise(jax.random.key(1), N)
    z, log_prob = group.draw(q, noise)
    np.testing.assert_allclose(log_prob, stats.norm.logpdf(z, q.mean, np.exp(q.log_scale)))
    standard = ((z - q.mean) * np.exp(-q.log_scale)).reshape(N, -1)
    assert all(stats.kstest(column, "norm").pvalue > 1e-4 for column in np.asarray(standard).T)
    np.testing.assert_array_equal(group.location(q, Normal(0.0, 0.0))[..., 0], q.mean)
    ratio = np.asarray(log_prob - group.log_prob(p, z))
    error = ratio.std(axis=0) / np.sqrt(N)
    assert np.all(np.abs(ratio.mean(axis=0) - group.kl(q, p)[0]) < 4 * error)


def test_equal_levels_need_one_number():
    group = Categorical((), 5)
    np.testing.assert_allclose(group.log_prob(group.uniform, jnp.arange(5)), -np.log(5))


def test_baselines_leave_their_draw_out():
    """As the definition says, also where one weight is all of the sum: subtracting it there would leave -inf."""
    for scale in (1.0, 1e4):
        logs = scale * RNG.normal(size=(4, 3))
        found = np.asarray(leave_one_out_baselines(jnp.asarray(logs)))
        for k in range(4):
            replaced = logs.copy()
            replaced[k] = np.delete(logs, k, axis=0).mean(axis=0)
            expected = special.logsumexp(replaced, axis=0) - np.log(4)
            np.testing.assert_allclose(found[k], expected, rtol=1e-12)


TINY = IWAE(binary(3), latent=1, draws=2, encoder=DenseEncoder((4,)), decoder=DenseDecoder((4,)))


def expected_gradient(estimator):
    """The mean gradient of L_2 over its noise, by Gauss-Hermite quadrature."""
    _, variables = build(TINY)
    x = jnp.array([[1, 0, 1]])
    nodes, weights = np.polynomial.hermite_e.hermegauss(40)
    noise = jnp.asarray(np.array(list(itertools.product(nodes, repeat=2))))[..., None]
    share = jnp.asarray(np.outer(weights, weights).ravel() / (2 * np.pi))

    def bound(params, noise):
        def program(module):
            def visit(draw):
                given = lambda group, p, q, drawn: draw(  # noqa: E731
                    group, p, q, noise.reshape(drawn.shape)
                )
                inputs = (x, module.begin(1, x), jax.random.key(0), jnp.arange(2))
                return module.log_terms(*inputs, given, train=True)

            return estimator.bound(visit)[0]

        return TINY.apply({"params": params}, method=program)

    each = jax.jit(jax.vmap(jax.grad(bound), in_axes=(None, 0)))(variables["params"], noise)
    mean = jax.tree.map(lambda g: jnp.einsum("t,t...->...", share, g), each)
    spread = jax.tree.map(lambda g: jnp.einsum("t,t...->...", share, g**2), each)
    variance = sum(jax.tree.leaves(jax.tree.map(lambda s, m: jnp.sum(s - m**2), spread, mean)))
    return jnp.concatenate([leaf.ravel() for leaf in jax.tree.leaves(mean)]), float(variance)


def test_dreg_has_the_same_mean(monkeypatch):
    """Its mean is the gradient of the bound; without the squared weights it is another, by 0.01 and more."""
    expected, _ = expected_gradient(Reparameterised())
    found, _ = expected_gradient(DReG())
    np.testing.assert_allclose(found, expected, atol=1e-6)
    monkeypatch.setattr(estimators, "normalised_weights", jnp.ones_like)
    biased, _ = expected_gradient(DReG())
    assert jnp.max(jnp.abs(biased - expected)) > 1e-3


def test_dreg_is_a_loss():
    """The same value, another gradient."""
    x, key = jnp.array([[1, 0, 1], [0, 0, 1]]), jax.random.key(1)
    _, variables = build(TINY)
    losses = [functional(TINY.clone(estimator=e)).loss for e in (Reparameterised(), DReG())]
    one, two = (
        jax.jit(jax.value_and_grad(lambda v, f=f: f(v, x, key)[0]))(variables) for f in losses
    )
    np.testing.assert_allclose(one[0], two[0], rtol=1e-12)
    apart = jax.tree.map(lambda a, b: float(jnp.max(jnp.abs(a - b))), one[1], two[1])["params"]
    assert max(jax.tree.leaves(apart["decoder"])) < 1e-12
    assert max(jax.tree.leaves(apart["encoder"])) > 1e-4


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        (IWAE(binary(3), draws=0), "draws must be at least 1"),
        (IWAE(binary(3), draws=1, estimator=VIMCO()), "draws is 1, not 2 or more"),
    ],
)
def test_impossible_estimators_are_refused(model, sentence):
    x = jnp.zeros((1, 3), jnp.int32)
    with pytest.raises(InputError, match=sentence):
        jax.eval_shape(functional(model).init, jax.random.key(0), x)
