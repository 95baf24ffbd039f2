"""Bounds are bounds: unit sum, order in the draws, gradients, the KL term; latents small enough for quadrature."""

import dataclasses
import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cases import all_events as enumerated
from cases import build as built
from cases import random_events
from scipy import stats

from gen_jax import IWAE, VAE, InputError, PixelVAE, binary, functional, image, points
from gen_jax.density import num_parameters
from gen_jax.laws.row import pooled_chi_square
from gen_jax.models.autoregressive import base
from gen_jax.models.latent.estimators import reparameterised
from gen_jax.models.latent.losses import KLTerm
from gen_jax.nn.encoders import ConvDecoder, ConvEncoder, DenseDecoder, DenseEncoder
from gen_jax.ops import gaussian
from gen_jax.ops.importance import importance_weighted_bound

pytestmark = pytest.mark.usefixtures("x64")
DENSE = {"encoder": DenseEncoder((5,)), "decoder": DenseDecoder((5,))}
PIXEL = {"depth": 2, "features": 4, "first_kernel": 3, "head_features": 4}
BOUNDS = {
    "vae": VAE(binary(4), latent=2, **DENSE),
    "vae_softmax": VAE(image(1, 3, 1, 3), latent=1, **DENSE),
    "vae_mixture": VAE(image(1, 1, 3, 3), latent=1, mixtures=2, **DENSE),
    "vae_conv": VAE(
        image(2, 2, 1, 2), latent=1, encoder=ConvEncoder((3,)), decoder=ConvDecoder((3,))
    ),
    "iwae": IWAE(binary(3), latent=1, draws=3, **DENSE),
    "pixel_vae": PixelVAE(image(2, 2, 1, 2), latent=1, encoder=DenseEncoder((4,)), **PIXEL),
}
every_bound = pytest.mark.parametrize("name", BOUNDS)
some_bounds = pytest.mark.parametrize("name", ["vae", "pixel_vae"])


def all_events(model):
    return jnp.asarray(enumerated(model))


def build(model):
    """Random variables with a posterior about as wide as the prior, so that weights have a finite variance."""
    pure, variables = built(model)
    posterior = variables["params"]["posterior"]
    narrow = lambda leaf: leaf.at[..., model.latent :].multiply(0.3)  # noqa: E731
    params = {**variables["params"], "posterior": jax.tree.map(narrow, posterior)}
    return pure, {**variables, "params": params}


def grid(units):
    """Nodes and log-weights of the trapezoidal rule under a standard normal, finer in one dimension."""
    axis = np.linspace(-16.0, 16.0, {1: 2049, 2: 129}[units])
    nodes = np.array(list(itertools.product(axis, repeat=units)))
    return jnp.asarray(nodes), stats.norm.logpdf(nodes).sum(axis=1) + units * np.log(
        axis[1] - axis[0]
    )


@functools.cache
def quadrature(name):
    """For every event log p(x) over the prior, and E_q[w], E_q[log w], KL(q || p) through the model's weights."""
    model = BOUNDS[name]
    _, variables = build(model)
    x = all_events(model)
    nodes, log_weight = grid(model.latent)
    pairs = len(nodes), len(x)

    @jax.jit
    def evaluated(x, nodes):
        apply = functools.partial(model.apply, variables)
        tiled = jnp.broadcast_to(x, (pairs[0], *x.shape)).reshape(-1, *x.shape[1:])
        likelihood = apply(tiled, jnp.repeat(nodes, len(x), axis=0), method="log_likelihood")
        noise = jnp.repeat(nodes, len(x), axis=0)
        draw = lambda group, p, q, drawn: reparameterised(  # noqa: E731
            group, p, q, noise.reshape(drawn.shape)
        )
        arguments = (x, apply(len(x), x, method="begin"), jax.random.key(0))
        return likelihood, apply(*arguments, jnp.arange(pairs[0]), draw, method="log_terms")

    likelihood, (given, (ratio,)) = jax.device_get(evaluated(x, nodes))
    log_joint = likelihood.reshape(pairs) + log_weight[:, None]
    log_w, average = given + ratio, np.exp(log_weight)[:, None]
    return {
        "exact": np.logaddexp.reduce(log_joint, axis=0),
        "mean_weight": np.logaddexp.reduce(log_w + log_weight[:, None], axis=0),
        "elbo": np.sum(average * log_w, axis=0),
        "kl": -np.sum(average * ratio, axis=0),
    }


@every_bound
def test_weights_average_to_the_probability(name):
    """E_q[p(x, z) / q(z | x)] = p(x) for every x, and the sum over x is 1: no term can be mis-scaled."""
    found = quadrature(name)
    np.testing.assert_allclose(found["mean_weight"], found["exact"], atol=1e-6)
    np.testing.assert_allclose(np.exp(found["mean_weight"]).sum(), 1.0, atol=1e-6)


@some_bounds
def test_unit_sum(name):
    """The same by the bound as it is evaluated: exp(bound of K draws) is the mean weight, unbiased for any K."""
    model = BOUNDS[name]
    pure, variables = build(model)
    x = all_events(model)
    one = jax.jit(lambda key: jnp.exp(pure.log_prob(variables, x, key, draws=100)).sum())
    sums = np.array([one(jax.random.key(k)) for k in range(60)])
    assert abs(sums.mean() - 1) < 4 * sums.std(ddof=1) / np.sqrt(60)
    assert sums.std() < 0.2


@some_bounds
def test_more_draws_are_tighter(name):
    """ELBO <= IWAE-5 <= IWAE-50 <= log p(x), the first as by quadrature, the last near log p(x) at 2,000 draws."""
    model, found, rows = BOUNDS[name], quadrature(name), 2000
    pure, variables = build(model)
    worst = int(np.argmax(found["exact"] - found["elbo"]))
    x = jnp.repeat(all_events(model)[worst][None], rows, axis=0)
    log_prob = jax.jit(pure.log_prob, static_argnames="draws")
    bounds, errors = [], []
    for draws in (1, 5, 50):
        values = np.asarray(log_prob(variables, x, jax.random.key(1), draws=draws))
        bounds.append(values.mean())
        errors.append(values.std(ddof=1) / np.sqrt(rows))
    assert abs(bounds[0] - found["elbo"][worst]) < 4 * errors[0]
    exact = found["exact"][worst]
    assert bounds[0] + 4 * errors[0] < bounds[1] < bounds[2] < exact + 4 * errors[2]
    many = np.asarray(log_prob(variables, x[:8], jax.random.key(2), draws=2000))
    assert abs(many.mean() - exact) < 0.05


def test_chunks_do_not_change_the_bound(monkeypatch):
    """10 draws at once and by threes: the same noise, the same number, also of the plain formula."""
    model = BOUNDS["vae"]
    pure, variables = build(model)
    x, key = all_events(model)[:6], jax.random.key(3)
    found = []
    for chunk in (10, 3):
        monkeypatch.setattr("gen_jax.models.latent.base.VALUES_AT_ONCE", chunk * x.size)
        bound = jax.jit(functools.partial(pure.log_prob, draws=10))
        found.append(np.asarray(bound(variables, x, key)))

    @jax.jit
    def plain(x, key):
        apply = functools.partial(model.apply, variables)
        state = apply(6, x, method="begin")
        likelihood, (ratio,) = apply(x, state, key, jnp.arange(10), method="log_terms")
        return importance_weighted_bound(likelihood + ratio), ratio

    expected, ratio = plain(x, key)
    for one in found:
        np.testing.assert_allclose(one, expected, rtol=1e-12)
    assert np.unique(np.asarray(ratio)).size == ratio.size


def test_five_thousand_draws_take_the_memory_of_fifty(monkeypatch):
    model = BOUNDS["vae"]
    pure, variables = build(model)
    monkeypatch.setattr("gen_jax.models.latent.base.VALUES_AT_ONCE", 50 * 16 * 4)
    program = jax.jit(pure.log_prob, static_argnames="draws")
    x, key = jnp.asarray(all_events(model)), jax.random.key(0)
    sizes = []
    for draws in (50, 5000):
        compiled = program.lower(variables, x, key, draws=draws).compile()
        sizes.append(compiled.memory_analysis().temp_size_in_bytes)
    assert sizes[1] < sizes[0] + 2 * 8 * 16 * 100  # one number for each chunk and example


def test_the_gradient_of_iwae_weighs_the_draws():
    """grad L_K = sum_k w_k / (sum w) grad log w_k (Burda et al. 2015, equation 14), draw by draw."""
    model = BOUNDS["iwae"]
    pure, variables = build(model)
    params, x, key = variables["params"], random_events(model, 4), jax.random.key(5)

    def log_weights(params):
        apply = functools.partial(model.apply, {"params": params})
        state = apply(4, x, method="begin")
        likelihood, (ratio,) = apply(x, state, key, jnp.arange(3), method="log_terms")
        return likelihood + ratio

    log_w = np.asarray(jax.jit(log_weights)(params))
    normalised = np.exp(log_w - np.logaddexp.reduce(log_w, axis=0))
    assert np.ptp(normalised) > 0.1
    expected = jax.tree.map(
        lambda each: -np.einsum("kb,kb...->...", normalised, each) / 4,
        jax.jit(jax.jacobian(log_weights))(params),
    )
    loss = lambda p: pure.loss({"params": p}, x, key)[0]  # noqa: E731
    value, found = jax.jit(jax.value_and_grad(loss))(params)
    np.testing.assert_allclose(value, -(np.logaddexp.reduce(log_w, axis=0) - np.log(3)).mean())
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-12), found, expected)


def test_the_gradient_of_many_draws_is_that_of_log_p():
    """With 400 draws the decoder's gradient is near the gradient of log p(x) by quadrature; with one draw it is not."""
    model = BOUNDS["iwae"]
    _, variables = build(model)
    x = all_events(model)
    nodes, log_weight = grid(1)

    def log_p(params):
        tiled = jnp.broadcast_to(x, (len(nodes), *x.shape)).reshape(-1, 3)
        z = jnp.repeat(nodes, len(x), axis=0)
        each = model.apply({"params": params}, tiled, z, method="log_likelihood")
        total = each.reshape(len(nodes), -1) + log_weight[:, None]
        return -jnp.mean(jax.nn.logsumexp(total, axis=0))

    def off(draws):
        pure = functional(dataclasses.replace(model, draws=draws))
        grad = jax.jit(jax.grad(lambda p, key: pure.loss({"params": p}, x, key)[0]))
        each = [grad(variables["params"], jax.random.key(k))["decoder"] for k in range(20)]
        mean = jax.tree.map(lambda *g: np.mean(g, axis=0), *each)
        return float(optax.tree.norm(optax.tree.sub(mean, expected)))

    expected = jax.jit(jax.grad(log_p))(variables["params"])["decoder"]
    norm = float(optax.tree.norm(expected))
    assert off(400) < 0.03 * norm < off(1)


@some_bounds
def test_the_loss_is_the_negative_elbo(name):
    """Its mean over many draws and its KL agree with quadrature; beta adds (beta - 1) KL and nothing else."""
    model, found = BOUNDS[name], quadrature(name)
    _, variables = build(model)
    x = jnp.tile(all_events(model), (200, *(1,) * len(model.event.shape)))
    loss, (metrics, _) = jax.jit(functional(model).loss)(variables, x, jax.random.key(0))
    np.testing.assert_allclose(metrics["kl"], found["kl"].mean(), atol=1e-8)
    np.testing.assert_allclose(loss, metrics["kl"] + metrics["reconstruction"])
    np.testing.assert_allclose(loss, -found["elbo"].mean(), rtol=0.02)
    bits = loss / model.event.size / np.log(2)
    heavy = functional(dataclasses.replace(model, kl=KLTerm(beta=4.0)))
    weighted, (same, _) = jax.jit(heavy.loss)(variables, x, jax.random.key(0))
    np.testing.assert_allclose(weighted, loss + 3 * metrics["kl"])
    for each in (metrics, same):
        np.testing.assert_allclose(each["bits_per_dim"], bits)


def test_gaussian_against_scipy_and_quadrature():
    rng = np.random.default_rng(0)
    x, mean, log_scale = jnp.asarray(rng.normal(size=(3, 50)) * [[3], [2], [0.5]])
    expected = stats.norm.logpdf(x, mean, np.exp(log_scale))
    np.testing.assert_allclose(gaussian.log_prob(x, mean, log_scale), expected, rtol=1e-12)
    nodes, log_weight = grid(1)
    z = gaussian.sample(mean, log_scale, nodes)
    difference = stats.norm.logpdf(z, mean, np.exp(log_scale)) - stats.norm.logpdf(z)
    kl = np.sum(np.exp(log_weight)[:, None] * difference, axis=0)
    np.testing.assert_allclose(gaussian.kl_to_standard(mean, log_scale), kl, rtol=1e-9)
    assert gaussian.kl_to_standard(jnp.zeros(1), jnp.zeros(1))[0] == 0


@every_bound
def test_samples_follow_the_marginal(name):
    """Chi-square of 20,000 samples against log p(x) by quadrature."""
    model, n, exact = BOUNDS[name], 20_000, quadrature(name)["exact"]
    pure, variables = build(model)
    drawn = jax.jit(pure.sample, static_argnums=2)(variables, jax.random.key(3), n)
    powers = model.event.levels ** np.arange(model.event.size)[::-1]
    counts = np.bincount(np.asarray(drawn).reshape(n, -1) @ powers, minlength=len(exact))
    assert pooled_chi_square(counts, n * np.exp(exact)) > 1e-4


def test_a_decoder_of_pixels_steps_with_its_vector():
    """Gated PixelCNN given a vector for each example: cached samples are the naive ones, and the vector matters."""
    model = PixelVAE(image(3, 3, 2, 3), latent=3, encoder=DenseEncoder((4,)), **PIXEL)
    _, variables = build(model)
    decoder, own = model.bind(variables).decoder.unbind()
    z, key = jax.random.normal(jax.random.key(1), (5, 3)), jax.random.key(2)
    cached = jax.jit(functools.partial(base.ancestral, decoder), static_argnums=2)(own, key, 5, z)
    naive = functools.partial(base.naive, decoder)
    np.testing.assert_array_equal(jax.jit(naive, static_argnums=2)(own, key, 5, z), cached)
    same = jnp.repeat(jnp.asarray(cached[:1]), 5, axis=0)
    assert np.unique(decoder.apply(own, same, None, z, method="log_prob")).size == 5


@pytest.mark.parametrize("model", [VAE(binary(4), latent=1), IWAE(image(1, 3, 1, 3), latent=1)])
def test_the_output_may_begin_at_the_marginals_of_the_data(model):
    """Logits of the frequencies within [0.001, 0.999]; a decoder that adds nothing then has those as p(x | z)."""
    model = model.clone(data_bias=True, encoder=DenseEncoder((2,)), decoder=DenseDecoder((2,)))
    x = jnp.zeros((8, *model.event.shape), jnp.int32).at[:3].set(1)
    x = x.at[:, ..., 1, :].set(0) if x.ndim > 2 else x.at[:, 1].set(0)
    variables = jax.jit(functional(model).init)(jax.random.key(0), x)
    bias = variables["params"]["decoder"]["Dense_1"]["bias"]
    if model.event.levels == 2:
        p = np.array([3 / 8, 0.001, 3 / 8, 3 / 8])
        np.testing.assert_allclose(bias, np.log(p / (1 - p)), rtol=1e-5)
    else:
        p = np.array([5 / 8, 3 / 8, 0.001, 0.999, 0.001, 0.001, 5 / 8, 3 / 8, 0.001])
        np.testing.assert_allclose(bias, np.log(p), rtol=1e-5)


def test_parameter_count_of_the_published_network():
    """One stochastic layer, 784-200-200-(50, 50) and 50-200-200-784 (Burda et al. 2015), counted by hand."""
    shapes = jax.eval_shape(
        functional(IWAE(image(28, 28, levels=2))).init,
        jax.random.key(0),
        jnp.zeros((1, 28, 28, 1), jnp.int32),
    )
    encoder = 785 * 200 + 201 * 200 + 201 * 100
    decoder = 51 * 200 + 201 * 200 + 201 * 784
    assert num_parameters(IWAE(image(28, 28, levels=2)), shapes) == encoder + decoder


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        (VAE(points()), "model of integers"),
        (VAE(binary(4), latent=0), "latent must be at least 1"),
        (VAE(binary(4), latent=3, kl=KLTerm(groups=2)), "3 units do not split into kl.groups = 2"),
        (VAE(image(6, 6), encoder=ConvEncoder(), decoder=ConvDecoder()), "sides 4 divides"),
        (VAE(image(4, 4), decoder=ConvDecoder(), data_bias=True), "data_bias is for a dense"),
        (VAE(image(4, 4), mixtures=2, data_bias=True), "data_bias is for a dense"),
        (VAE(binary(8), decoder=ConvDecoder()), "sides 4 divides"),
        (PixelVAE(binary(4)), "model of images"),
    ],
)
def test_impossible_sizes_are_refused(model, sentence):
    x = jnp.zeros((1, *model.event.shape), jnp.int32)
    with pytest.raises(InputError, match=sentence):
        jax.eval_shape(functional(model).init, jax.random.key(0), x)


def test_a_bound_needs_a_key():
    pure, variables = build(BOUNDS["iwae"])
    x = all_events(BOUNDS["iwae"])
    with pytest.raises(InputError, match="needs a key"):
        pure.log_prob(variables, x)
