"""Latent models given a class: the law of each class by quadrature or enumeration, its influence, the estimators."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import all_events, random_events
from cases import build as built
from scipy import special, stats
from test_bounds import PIXEL, build, grid

from gen_jax import (
    IWAE,
    VAE,
    VDVAE,
    VIMCO,
    DiscreteVAE,
    DReG,
    PixelVAE,
    Reparameterised,
    binary,
    functional,
    image,
)
from gen_jax.laws import autoregressive as exact
from gen_jax.laws import bound
from gen_jax.laws.certify import laws_of
from gen_jax.laws.row import pooled_chi_square
from gen_jax.laws.subject import Subject
from gen_jax.models.latent.base import visit
from gen_jax.nn.encoders import ConvDecoder, ConvEncoder, DenseDecoder, DenseEncoder
from gen_jax.nn.grids import GridDecoder, GridEncoder

pytestmark = pytest.mark.usefixtures("x64")
K = 3
DENSE = {"encoder": DenseEncoder((5,)), "decoder": DenseDecoder((5,)), "num_classes": K}
GAUSSIAN = {
    "vae": VAE(binary(4), latent=1, **DENSE),
    "conv": VAE(
        image(2, 2, 1, 2),
        latent=1,
        encoder=ConvEncoder((3,)),
        decoder=ConvDecoder((3,)),
        num_classes=K,
    ),
    "pixel_vae": PixelVAE(
        image(2, 2, 1, 2), latent=1, encoder=DenseEncoder((4,)), num_classes=K, **PIXEL
    ),
}
DISCRETE = {
    "vimco": DiscreteVAE(binary(3), latent=2, draws=3, **DENSE),
    "codes": DiscreteVAE(
        image(2, 4, 1, 2),
        latent=1,
        levels=3,
        size=2,
        grid=(1, 2),
        encoder=GridEncoder((3,), 1, 2),
        decoder=GridDecoder((3,), 1, 2),
        num_classes=K,
    ),
}
DEEP = VDVAE(
    image(2, 2, 1, 2),
    encoder="2x1,2d2,1x1",
    decoder="1x1,2m1,2x1",
    width=4,
    bottleneck=0.5,
    latent=1,
    mixtures=None,
    num_classes=K,
)
MODELS = {**GAUSSIAN, **DISCRETE, "vd_vae": DEEP}
KEY = jax.random.key(0)


@functools.cache
def weights(name):
    """The model, its variables, all events, and for each class log p(x | y) of these."""
    model = MODELS[name]
    pure, variables = build(model) if name in GAUSSIAN else built(model)
    return pure, variables, jnp.asarray(all_events(model))


def sums(name, label):
    """sum over (or integral over) z of p(x | z, y) p(z), and of w q(z | x, y), logs for all events of a class."""
    pure, variables, x = weights(name)
    model, cond = pure.model, jnp.full(len(x), label)
    if name in GAUSSIAN:
        nodes, log_weight = grid(1)
    else:
        [group] = model.groups
        values = itertools.product(range(model.levels), repeat=int(np.prod(group.shape)))
        nodes = jnp.array(list(values)).reshape(-1, *group.shape)
        log_weight = np.zeros(len(nodes))

    def at(module, z):
        """log p(z), log q(z | x, y), log w of all events at one z."""
        z = jnp.broadcast_to(z, (len(x), *z.shape))
        _, p, q = module.group(module.begin(len(x), x, cond), 0)
        [group] = module.groups
        total = lambda terms: jnp.sum(terms.reshape(len(terms), -1), axis=-1)  # noqa: E731
        log_w = module.log_weights_at(x, [z], cond)
        return total(group.log_prob(p, z)), total(group.log_prob(q, z)), log_w

    each = jax.jit(lambda v: jax.lax.map(lambda z: model.apply(v, z, method=at), nodes))
    log_p, log_q, log_w = jax.device_get(each(variables))
    if name in GAUSSIAN:  # grid gives p(z) too
        log_weight = log_weight - stats.norm.logpdf(np.asarray(nodes)).sum(axis=1)
    log_weight = log_weight[:, None]
    assert np.allclose(special.logsumexp(log_q + log_weight, axis=0), 0, atol=1e-6)
    given_z = special.logsumexp(log_w + log_q + log_weight, axis=0)
    return given_z, log_p


@pytest.mark.parametrize("name", [*GAUSSIAN, *DISCRETE])
def test_weights_average_to_a_mass_of_each_class(name):
    """sum_x E_q [p(x, z | y) / q(z | x, y)] = 1 for every y; p(x | y) differs, p(z) does not; samples follow it."""
    found = [sums(name, label) for label in range(K)]
    for log_p_x, log_p_z in found:
        np.testing.assert_allclose(np.exp(log_p_x).sum(), 1.0, atol=1e-6)
        np.testing.assert_array_equal(log_p_z[:, 0], found[0][1][:, 0])
    for one, two in itertools.combinations([log_p_x for log_p_x, _ in found], 2):
        assert np.max(np.abs(np.exp(one) - np.exp(two))) > 1e-4

    pure, variables, x = weights(name)
    n, label = 20_000, 1
    drawn = jax.jit(pure.sample, static_argnums=2)(variables, KEY, n, jnp.full(n, label))
    powers = pure.model.event.levels ** np.arange(pure.model.event.size)[::-1]
    counts = np.bincount(np.asarray(drawn).reshape(n, -1) @ powers, minlength=len(x))
    assert pooled_chi_square(counts, n * np.exp(found[label][0])) > 1e-4
    if name in ("vae", "vimco"):  # classes that differ by more than the samples' noise
        assert pooled_chi_square(counts, n * np.exp(found[0][0])) < 1e-4


def test_unit_sum_of_three_groups_under_a_class():
    """VDVAE: the mean of exp(bound) over draws, summed over all images, for the first and the last class."""
    pure, variables = built(DEEP, scale=0.3)
    params = dict(variables["params"])
    for name in params:
        if name.startswith("down"):
            last = jax.tree.map(lambda leaf: 0.3 * leaf, params[name]["posterior"]["Conv_3"])
            last["bias"] = last["bias"].at[..., DEEP.latent :].add(0.7)
            params[name]["posterior"]["Conv_3"] = last
    x = jnp.asarray(all_events(DEEP))

    @jax.jit
    def total(key, label):
        cond = jnp.full(len(x), label)
        return jnp.exp(pure.log_prob({"params": params}, x, key, cond, draws=100)).sum()

    for label in (0, K - 1):
        each = np.array([total(jax.random.key(k), label) for k in range(40)])
        error = each.std(ddof=1) / np.sqrt(len(each))
        assert error < 0.05
        assert abs(each.mean() - 1) < 4 * error


@pytest.mark.parametrize("name", MODELS)
def test_what_depends_on_the_class(name):
    """q(z | x, y) and p(x | z, y) do; the prior does where the same network gives it, as in VDVAE."""
    pure, variables, _ = weights(name)
    model, x = pure.model, random_events(pure.model, 2)

    def parts(module, cond):
        given = lambda k, group, p, q: (group.mode(q), (p, q))  # noqa: E731
        _, params = visit(module, module.begin(2, x, cond), given)
        fixed = lambda k, group, p, q: (jnp.ones((2, *group.shape), group_type(group)), None)  # noqa: E731
        state, _ = visit(module, module.begin(2, None, cond), fixed)
        return params, module.log_likelihood(x, state)

    def group_type(group):
        return float if group.continuous else int

    program = jax.jit(lambda cond: model.apply(variables, cond, method=parts))
    (one, likelihood), (two, other) = (program(jnp.full(2, label)) for label in (0, 2))
    assert np.all(likelihood != other)

    def moved(a, b):
        return any(np.any(x != y) for x, y in zip(*map(jax.tree.leaves, (a, b)), strict=True))

    for (p, q), (p_other, q_other) in zip(one, two, strict=True):
        assert moved(q, q_other)
        assert moved(p, p_other) == (name == "vd_vae")


ESTIMATED = [
    (IWAE(binary(3), latent=2, draws=3, **DENSE), Reparameterised()),
    (IWAE(binary(3), latent=2, draws=3, **DENSE), DReG()),
    (DISCRETE["vimco"], VIMCO()),
]


@pytest.mark.parametrize(("model", "estimator"), ESTIMATED)
def test_every_estimator_bounds_log_p_of_the_class(model, estimator):
    """Its value is that of `log_prob` at the same noise, and its gradient moves the weights that read the class."""
    pure, variables = built(model.clone(estimator=estimator))
    x, cond = random_events(model, 5), jnp.arange(5) % K
    loss = lambda v, cond: pure.loss(v, x, KEY, cond)[0]  # noqa: E731
    value, gradient = jax.jit(jax.value_and_grad(loss))(variables, cond)
    log_prob = jax.jit(functools.partial(pure.log_prob, draws=model.draws))
    np.testing.assert_allclose(value, -jnp.mean(log_prob(variables, x, KEY, cond)), rtol=1e-12)
    assert value != loss(variables, (cond + 1) % K)
    kernels = (gradient["params"][part]["Dense_0"]["kernel"] for part in ("encoder", "decoder"))
    for kernel in kernels:
        assert np.all(np.any(kernel[-K:] != 0, axis=1))


def subject(name):
    pure, variables, _ = weights(name)
    x = np.asarray(random_events(pure.model, 8))
    return Subject(pure, variables, x, np.arange(8, dtype=np.int32) % K, 0)


@pytest.mark.parametrize("law", [bound.both_sides, bound.depends, bound.finite])
def test_the_laws_hold_under_a_class(law):
    s = subject("vae")
    assert law in laws_of(s.model)
    assert [row for row in law(s) if not row.passed] == []


def test_unit_sum_goes_through_the_classes(monkeypatch):
    """The small model has the classes, in turn; a class that scales its bound is caught."""
    s, seen = subject("vae"), []
    right = VAE.log_prob

    def seeing(self, x, key=None, cond=None, draws=1):
        jax.debug.callback(lambda label: seen.append(int(label)), cond[0])
        return right(self, x, key, cond, draws) + (cond == 2) * np.log(2.0)

    monkeypatch.setattr(VAE, "log_prob", seeing)
    [row] = bound.unit_sum(s)
    assert set(seen) == {0, 1, 2}
    assert not row.passed


def test_a_class_that_reaches_nothing_is_caught(monkeypatch):
    """The law that a model depends on its conditions; for exact models it is another function of the same name."""
    right = VAE.begin
    monkeypatch.setattr(
        VAE, "begin", lambda self, n, x=None, cond=None: right(self, n, x, 0 * cond)
    )
    [row] = bound.depends(subject("vae"))
    assert not row.passed
    assert exact.depends not in laws_of(VAE(binary(4), **DENSE))
    assert bound.depends not in laws_of(VAE(binary(4)))


@pytest.mark.parametrize("name", ["vae", "vd_vae"])
def test_reconstructions_and_measures_are_of_the_class(name):
    """Reconstructions also from latents that `latents_of` and `event_at` give under the class."""
    pure, variables, _ = weights(name)
    model, x = pure.model, random_events(pure.model, 50)

    @jax.jit
    def results(cond):
        call = functools.partial(model.apply, variables)
        drawn, measured = (call(x, KEY, cond, method=m) for m in ("reconstruct", "measure"))
        latents = call(x, cond, method="latents_of")
        return drawn, measured, call(latents, KEY, cond, method="event_at")

    one, two = results(jnp.zeros(50, int)), results(jnp.ones(50, int))
    for a, b in zip(one, two, strict=True):
        pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
        assert all(np.any(left != right) for left, right in pairs)
    np.testing.assert_array_equal(one[0], one[2])


def test_the_field_is_the_last_and_its_default_changes_nothing():
    """Positions of other fields, parameters and initial values are those of a model without the field."""
    for model in MODELS.values():
        names = [
            name for name in type(model).__dataclass_fields__ if name not in ("parent", "name")
        ]
        assert names[-1] == "num_classes"
    plain = functional(VAE(binary(4), latent=1, encoder=DenseEncoder((5,))))
    x = random_events(plain.model, 2)
    shapes = jax.tree.map(jnp.shape, plain.init(KEY, x))
    assert shapes["params"]["encoder"]["Dense_0"]["kernel"] == (4, 5)
    assert shapes["params"]["decoder"]["Dense_0"]["kernel"] == (1, 200)
