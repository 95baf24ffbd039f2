"""VIMCO: its gradient by enumeration of all draws, with a planted fault; discrete latents against enumeration of z."""

import functools
import itertools
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import build
from jax.lax import stop_gradient
from test_bounds import all_events

from gen_jax import DiscreteVAE, InputError, binary, functional, image
from gen_jax.models.latent import estimators
from gen_jax.models.latent.estimators import VIMCO, Reparameterised
from gen_jax.nn.encoders import DenseDecoder, DenseEncoder
from gen_jax.nn.grids import GridDecoder, GridEncoder
from gen_jax.ops.importance import importance_weighted_bound
from gen_jax.ops.latents import Bernoulli

pytestmark = pytest.mark.usefixtures("x64")
DENSE = {"encoder": DenseEncoder((4,)), "decoder": DenseDecoder((4,))}
MODELS = {
    "bits": DiscreteVAE(binary(3), latent=2, **DENSE),
    "categorical": DiscreteVAE(binary(3), latent=1, levels=4, size=2, **DENSE),
}
K = 3


def forced_noise(model):
    """Noise that makes every tuple of K draws, (tuples, K, *noise)."""
    group = model.groups[0]
    size = K * int(np.prod(group.shape))
    values = np.array(list(itertools.product(range(group.levels), repeat=size)))
    values = values.reshape(-1, K, *group.shape)
    if isinstance(group, Bernoulli):
        return jnp.asarray(np.where(values == 1, -1e6, 1e6))
    return jnp.asarray(1e6 * np.eye(group.levels)[values])


def surrogate(model, x, estimator, params, noise):
    """The surrogate for one example whose draws the noise decides, and log q of these draws."""
    log_q = []

    def program(module):
        def visit(draw):
            def given(group, p, q, drawn):
                z, terms = draw(group, p, q, noise.reshape(drawn.shape))
                log_q.append(jnp.sum(group.log_prob(q, stop_gradient(z))))
                return z, terms

            inputs = (x, module.begin(1, x), jax.random.key(0), jnp.arange(K))
            return module.log_terms(*inputs, given, train=True)

        return estimator.bound(visit)[0]

    return model.apply({"params": params}, method=program), log_q[0]


@dataclass(frozen=True)
class AtFixedDraws:
    """L_K, with the derivative at fixed draws."""

    def bound(self, visit):
        def draw(group, p, q, noise):
            z = stop_gradient(group.draw(q, noise)[0])
            return z, (group.log_prob(p, z) - group.log_prob(q, z),)

        likelihood, (ratio,) = visit(draw)
        return importance_weighted_bound(likelihood + ratio)


def mean_gradient(model, estimator, x):
    """The mean over all draws, and the variance, of the estimator's gradient."""
    params, noise = build(model)[1]["params"], forced_noise(model)
    each = jax.vmap(
        jax.value_and_grad(functools.partial(surrogate, model, x, estimator), has_aux=True),
        in_axes=(None, 0),
    )
    (_, log_q), grads = jax.jit(each)(params, noise)
    p = jnp.exp(log_q)
    np.testing.assert_allclose(p.sum(), 1)
    flat = jnp.concatenate([g.reshape(len(p), -1) for g in jax.tree.leaves(grads)], axis=1)
    return p @ flat, float(jnp.sum(p @ flat**2 - (p @ flat) ** 2))


def exact_gradient(model, x):
    """The gradient of E L_K, a sum over all draws."""
    params, noise = build(model)[1]["params"], forced_noise(model)

    def expected(params):
        each = functools.partial(surrogate, model, x, AtFixedDraws(), params)
        bound, log_q = jax.vmap(each)(noise)
        return jnp.sum(jnp.exp(log_q) * bound)

    grads = jax.jit(jax.grad(expected))(params)
    return jnp.concatenate([g.ravel() for g in jax.tree.leaves(grads)])


@pytest.mark.parametrize("name", MODELS)
def test_the_gradient_is_unbiased(name, monkeypatch):
    """Its mean over all 64 tuples is the gradient of E L_3; divided by K, or without q's score, it is not."""
    model, x = MODELS[name], jnp.array([[1, 0, 1]])
    expected = exact_gradient(model, x)
    found, variance = mean_gradient(model, VIMCO(), x)
    np.testing.assert_allclose(found, expected, atol=1e-12)
    assert jnp.max(jnp.abs(mean_gradient(model, AtFixedDraws(), x)[0] - expected)) > 0.01

    right = estimators.leave_one_out_baselines
    monkeypatch.setattr(estimators, "leave_one_out_baselines", jnp.zeros_like)
    found, more = mean_gradient(model, VIMCO(), x)
    np.testing.assert_allclose(found, expected, atol=1e-12)
    assert more > 2 * variance

    def divided(log_weights):
        bound = importance_weighted_bound(log_weights)
        return bound - (bound - right(log_weights)) / K

    monkeypatch.setattr(estimators, "leave_one_out_baselines", divided)
    assert jnp.max(jnp.abs(mean_gradient(model, VIMCO(), x)[0] - expected)) > 0.01


def latents(model):
    group = model.groups[0]
    size = int(np.prod(group.shape))
    values = np.array(list(itertools.product(range(group.levels), repeat=size)), np.int32)
    return jnp.asarray(values.reshape(-1, *group.shape))


@pytest.mark.parametrize("name", MODELS)
def test_the_bound_by_enumeration(name):
    """sum_x p(x) = 1 over all z, E_q w = p(x), L_1 below log p(x), and L_2000 is near it."""
    model = MODELS[name]
    pure, variables = build(model)
    x, z = jnp.asarray(all_events(model)), latents(model)

    def weights(module):
        at = lambda z: jnp.broadcast_to(z, (len(x), *z.shape))  # noqa: E731
        _, _, q = module.group(module.begin(len(x), x), 0)
        sums = lambda logs: logs.reshape(len(logs), -1).sum(axis=1)  # noqa: E731
        group = module.groups[0]
        log_w = [module.log_weights_at(x, [at(one)]) for one in z]
        log_q = [sums(group.log_prob(q, at(one))) for one in z]
        return jnp.stack(log_w), jnp.stack(log_q)

    log_w, log_q = model.apply(variables, method=weights)
    log_p = np.logaddexp.reduce(np.asarray(log_w + log_q), axis=0)
    np.testing.assert_allclose(np.exp(log_p).sum(), 1)
    elbo = np.sum(np.exp(log_q) * log_w, axis=0)
    assert np.all(elbo < log_p)
    log_prob = jax.jit(pure.log_prob, static_argnames="draws")
    many = log_prob(variables, x, jax.random.key(0), draws=2000)
    np.testing.assert_allclose(many, log_p, atol=0.1)
    repeated = jnp.repeat(x[:1], 2000, axis=0)
    one = np.asarray(log_prob(variables, repeated, jax.random.key(1), draws=1))
    assert abs(one.mean() - elbo[0]) < 4 * one.std() / np.sqrt(2000)


def test_a_grid_of_codes():
    """The networks of VQ-VAE: a prior and a posterior for each place, and one vector for each value."""
    network = {"strided": (3, 4), "blocks": 1, "hidden": 2}
    model = DiscreteVAE(
        image(4, 8, 1, 3), latent=1, levels=5, size=3, grid=(1, 2), mixtures=2,
        encoder=GridEncoder(**network), decoder=GridDecoder(**network),
    )  # fmt: skip
    x = jnp.zeros((2, 4, 8, 1), jnp.int32)
    variables = jax.eval_shape(functional(model).init, jax.random.key(0), x)
    params = variables["params"]
    assert params["prior"].shape == (1, 2, 5)
    assert params["vectors"].shape == (5, 3)
    assert params["posterior"]["kernel"].shape == (4, 5)
    sample = functools.partial(functional(model).sample, n=3)
    assert jax.eval_shape(sample, variables, jax.random.key(0)).shape == (3, 4, 8, 1)


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        (DiscreteVAE(binary(3), draws=1), "draws is 1, not 2 or more"),
        (DiscreteVAE(binary(3), levels=4), "size of a value's vector"),
        (DiscreteVAE(binary(3), levels=1), "levels of at least 2"),
        (DiscreteVAE(binary(3), estimator=Reparameterised()), "choose estimator=VIMCO"),
        (DiscreteVAE(image(4, 4), grid=(2, 2), size=1), "for each place of each example"),
    ],
)
def test_impossible_models_are_refused(model, sentence):
    x = jnp.zeros((1, *model.event.shape), jnp.int32)
    with pytest.raises(InputError, match=sentence):
        jax.eval_shape(functional(model).init, jax.random.key(0), x)
