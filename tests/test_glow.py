"""Glow: its layers against autodiff, closed forms of its priors, and planted faults."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import build, conditions, random_events
from families import FAMILIES
from jax import lax
from scipy import stats

from gen_jax import Glow, InputError, PointGlow, binary, functional, image, points
from gen_jax.laws import bound, flow
from gen_jax.laws.subject import Subject
from gen_jax.models.flow import glow
from gen_jax.models.flow.base import Flow
from gen_jax.models.flow.glow import EdgeConv, HalfCoupling, SplitPrior, Step, Steps, TopPrior
from gen_jax.nn import bijections
from gen_jax.nn.bijections import MLP, Actnorm, Invertible1x1
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


def random(layer, x, *args, seed=2):
    """Variables of a layer near zero, none of them at its initial value; the constants stay."""
    variables = layer.init(jax.random.key(0), x, *args)
    moved = lambda leaf: leaf + 0.3 * noise(*leaf.shape, seed=seed)  # noqa: E731
    return {**variables, "params": jax.tree.map(moved, variables["params"])}


@in_float64
@pytest.mark.parametrize("kind", ["affine", "bounded", "additive"])
def test_a_coupling_of_halves(kind):
    """z_2 = (x_2 + t) s with t, r of the first two of five dimensions; s = sigmoid(r + 2), (1 + that) / 2 or 1."""
    layer, x = HalfCoupling(functools.partial(MLP, (4,)), kind), noise(3, 5)
    variables = random(layer, x)
    z, log_det = layer.apply(variables, x)
    np.testing.assert_array_equal(z[:, :2], x[:, :2])
    net = {"params": variables["params"]["net"]}
    out = MLP((4,)).apply(net, x[:, :2], 3 if kind == "additive" else 6)
    gate = jax.nn.sigmoid(out[:, 3:] + 2)
    scale = {"affine": gate, "bounded": (1 + gate) / 2, "additive": 1.0}[kind]
    np.testing.assert_allclose(z[:, 2:], (x[:, 2:] + out[:, :3]) * scale, atol=1e-12)
    assert kind != "additive" or not np.any(log_det)
    checked(layer, variables, x)


@in_float64
@pytest.mark.parametrize(("kind", "finite"), [("affine", False), ("bounded", True)])
def test_the_inverse_explodes_unless_the_scale_is_bounded(kind, finite):
    """At r = -800 the scale sigmoid(r + 2) is 0 in float64, and what it multiplied is lost."""
    layer, x = HalfCoupling(functools.partial(MLP, (4,)), kind), noise(3, 4)
    variables = layer.init(jax.random.key(0), x)
    last = variables["params"]["net"]["Dense_1"]
    last["bias"] = last["bias"].at[2:].set(-800.0)
    back = layer.apply(variables, layer.apply(variables, x)[0], method="inverse")
    assert bool(np.isfinite(back).all()) == finite
    if finite:
        np.testing.assert_allclose(back, x, atol=1e-12)


@in_float64
def test_a_convolution_that_sees_the_edges():
    """The same as a convolution without padding of the padded image beside the indicator of its padding."""
    layer, x = EdgeConv(3), noise(2, 4, 5, 2)
    variables = layer.init(jax.random.key(0), x)
    inside = np.zeros((2, 6, 7, 3))
    inside[..., 2] = 1
    inside[:, 1:-1, 1:-1, :2], inside[:, 1:-1, 1:-1, 2] = x, 0
    kernel, layout = variables["params"]["kernel"], ("NHWC", "HWIO", "NHWC")
    assert kernel.shape == (3, 3, 3, 3)
    expected = lax.conv_general_dilated(
        jnp.asarray(inside), kernel, (1, 1), "VALID", dimension_numbers=layout
    )
    np.testing.assert_allclose(layer.apply(variables, x), expected, atol=1e-12)


@in_float64
def test_a_split_prior_is_a_gaussian_given_the_other_half():
    """log N(e; 0, 1) plus the log-determinant is log N(x_2; m, s^2); a temperature scales x_2 - m."""
    layer, x = SplitPrior(), noise(3, 4, 4, 4)
    variables = random(layer, x)
    z = checked(layer, variables, x)
    np.testing.assert_array_equal(z[..., :2], x[..., :2])
    params = variables["params"]["ZeroConv_0"]
    out = EdgeConv(4).apply({"params": params["EdgeConv_0"]}, x[..., :2])
    out = (out + params["Gain_0"]["shift"]) * jnp.exp(3 * params["Gain_0"]["log_scale"])
    mean, scale = out[..., :2], np.exp(out[..., 2:])
    expected = stats.norm.logpdf(x[..., 2:], mean, scale).sum(axis=(1, 2, 3))
    log_det = layer.apply(variables, x)[1]
    found = stats.norm.logpdf(z[..., 2:]).sum(axis=(1, 2, 3)) + log_det
    np.testing.assert_allclose(found, expected, atol=1e-10)
    cold = layer.apply(variables, z.at[..., 2:].multiply(0.5), method="inverse")
    np.testing.assert_allclose(cold[..., 2:] - mean, (x[..., 2:] - mean) / 2, atol=1e-12)


@in_float64
def test_the_top_prior_depends_on_the_class_and_on_the_edges():
    layer, x, y = TopPrior(), noise(2, 5, 5, 2), jnp.eye(3)[:2]
    variables = random(layer, x, False, y)
    means = layer.apply(variables, jnp.zeros_like(x), y, method="inverse")
    inner = means[:, 1:-1, 1:-1]
    np.testing.assert_allclose(inner, np.broadcast_to(means[:, 2:3, 2:3], inner.shape), atol=1e-12)
    assert np.all(np.abs(means[:, 0, 0] - means[:, 2, 2]) > 1e-3)
    assert np.all(np.abs(means[0] - means[1]) > 1e-3)
    one = lambda x, y: layer.apply(variables, x[None], False, y[None])[0].ravel()  # noqa: E731
    jacobian = jax.vmap(jax.jacrev(one))(x, y).reshape(2, 50, 50)
    z, log_det = layer.apply(variables, x, False, y)
    np.testing.assert_allclose(log_det, jnp.linalg.slogdet(jacobian)[1], atol=1e-10)
    np.testing.assert_allclose(layer.apply(variables, z, y, method="inverse"), x, atol=1e-12)


@in_float64
def test_every_step_starts_from_the_first_batch():
    """In a scan too: what each actnorm gives of that batch has mean 0 and deviation 1; each rotation is another."""
    x = 3 + 2 * noise(50, 3) @ noise(3, 3, seed=1)
    network = functools.partial(MLP, (4,))
    layer = Steps(3, network, "affine", "lu")
    variables = jax.jit(layer.init)(jax.random.key(0), x)
    stacked = {name: tree["scanned"] for name, tree in variables.items()}
    h, kernels = x, stacked["params"]["layers_1"]["kernel"]
    assert len({float(kernel[0, 0]) for kernel in kernels}) == 3
    states = [x]
    for k in range(3):
        own = jax.tree.map(lambda leaf, k=k: leaf[k], stacked)
        y, _ = Actnorm().apply({"params": own["params"]["layers_0"]}, h)
        np.testing.assert_allclose(jnp.mean(y, axis=0), 0, atol=1e-9)
        np.testing.assert_allclose(jnp.std(y, axis=0), 1, atol=1e-5)
        (h, _), _ = Step(network, "affine", "lu").apply(own, (h, jnp.zeros(50)))
        states.append(h)
    np.testing.assert_allclose(layer.apply(variables, x)[0], h, atol=1e-10)
    way = layer.apply(variables, h, method="way")
    for state, expected in zip(way, reversed(states), strict=True):
        np.testing.assert_allclose(state, expected, atol=1e-9)


MODEL = FAMILIES["glow"]


@functools.cache
def built():
    return build(MODEL, scale=0.1)


def subject(n=4):
    pure, variables = built()
    cond = np.asarray(conditions(MODEL, n))
    return Subject(pure, variables, np.asarray(random_events(MODEL, n)), cond, 0)


def latents_over_temperature(temperature, n=3):
    """What f maps samples to, over the temperature, and the noise that they were drawn from."""
    _, variables = built()
    key, cond = jax.random.key(1), conditions(MODEL, n)
    method = functools.partial(MODEL.apply, variables)
    x = jax.jit(lambda: method(key, n, cond, temperature, method=Flow.sample))()
    z = jax.jit(lambda x: method(x, cond=cond, method="forward")[0])(x)
    return z / temperature, jax.random.normal(key, (n, MODEL.event.size))


@in_float64
def test_a_temperature_scales_what_leaves_at_every_scale(monkeypatch):
    """f of samples at 0.7 is 0.7 times the noise; a sampler that scales x_2 itself is caught."""
    np.testing.assert_allclose(*latents_over_temperature(0.7), atol=1e-9)
    right, wrong = SplitPrior.inverse, 0.7

    def inverse(self, z, y=None):
        kept, noise = glow.halves(z)
        kept, moved = glow.halves(right(self, jnp.concatenate([kept, noise / wrong], axis=-1)))
        return jnp.concatenate([kept, wrong * moved], axis=-1)

    monkeypatch.setattr(SplitPrior, "inverse", inverse)
    with pytest.raises(AssertionError):
        np.testing.assert_allclose(*latents_over_temperature(0.7), atol=1e-9)


@in_float64
def test_the_laws_see_a_1x1_that_counts_one_place(monkeypatch):
    right = bijections.lu.log_abs_det
    monkeypatch.setattr(bijections.lu, "log_abs_det", lambda packed: right(packed) / 4)
    assert [row.passed for row in flow.determinant(subject())] == [False]


@in_float64
def test_the_class_changes_the_bound():
    assert [row.passed for row in bound.depends(subject())] == [True]


@in_float64
def test_the_smallest_scale_is_a_finding():
    """Over all couplings of both scales; a tiny one is reported."""
    _, variables = built()
    x, cond = random_events(MODEL, 4), conditions(MODEL, 4)
    measure = lambda v: MODEL.apply(v, x, jax.random.key(0), cond, method="measure")  # noqa: E731
    measured = jax.device_get(jax.jit(measure)(variables))
    assert measured["log_scale"].shape == (4,)
    scalars, findings = MODEL.diagnosis(measured)
    assert 0 < scalars["smallest_scale"] < 1
    assert findings == {}
    params = jax.tree.map(jnp.asarray, variables["params"])
    gain = params["parts_1_0"]["scanned"]["layers_2"]["net"]["ZeroConv_0"]["Gain_0"]
    gain["shift"] = gain["shift"].at[1].set(-40.0)
    moved = jax.device_get(jax.jit(measure)({**variables, "params": params}))
    scalars, findings = MODEL.diagnosis(moved)
    assert scalars["smallest_scale"] < 1e-8
    assert findings["scale"].startswith("a coupling scales a value by")


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        (PointGlow(binary(4)), "density of points"),
        (PointGlow(points(1)), "at least 2 dimensions"),
        (PointGlow(depth=0), "depth must be at least 1"),
        (Glow(points()), "the event has real values"),
        (Glow(image(4, 8, levels=2)), "images whose sides 8 divides"),
        (Glow(image(4, 4), scales=2, alpha=0.5), "alpha must lie"),
        (Glow(image(4, 4), scales=2, width=0), "width must be at least 1"),
    ],
)
def test_impossible_models_are_refused(model, sentence):
    x = jnp.zeros((2, *model.event.shape), jnp.int32)
    with pytest.raises(InputError, match=sentence):
        jax.eval_shape(functional(model).init, jax.random.key(0), x)


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
