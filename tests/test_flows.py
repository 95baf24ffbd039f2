"""Flows: bijections layer by layer, determinants by autodiff, a dequantised mass by quadrature."""

import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

from gen_jax import ImageRealNVP, InputError, RealNVP, binary, functional, image, points
from gen_jax.density import num_parameters
from gen_jax.laws import flow
from gen_jax.models.flow import real_nvp
from gen_jax.models.flow.real_nvp import EPSILON, MOMENTUM, BatchNorm, diagonal_first
from gen_jax.nn import bijections
from gen_jax.ops import dequantize, masks
from gen_jax.ops.coupling import affine_coupling, inverse_affine_coupling
from gen_jax.ops.squeeze import squeeze, unsqueeze

PLANE = RealNVP(depth=3, hidden=(8,))
FLOWS = {
    "plane": PLANE,
    "space": RealNVP(points(3), depth=2, hidden=(5,)),
    "image": ImageRealNVP(image(4, 2, 2, 3), features=3, blocks=0),
}
PAIR = ImageRealNVP(image(1, 2, 1, 3), features=3, blocks=1, scales=1, alpha=0.1)
every_flow = pytest.mark.parametrize("model", FLOWS.values(), ids=FLOWS)
in_float64 = pytest.mark.usefixtures("x64")


def build(model, scale=0.3):
    """Pure functions and variables of seeded noise; scales and variances lie around 1."""
    pure, rng = functional(model), np.random.default_rng(0)
    x = jnp.zeros((2, *model.event.shape), jnp.int32 if model.event.levels else float)

    def moved(path, leaf):
        noise = scale * rng.normal(size=leaf.shape)
        if path[-1].key in ("scale", "variance"):
            noise = np.exp(noise)
        return jnp.asarray(noise, jnp.result_type(float))

    shapes = jax.eval_shape(pure.init, jax.random.key(0), x)
    return pure, jax.tree_util.tree_map_with_path(moved, dict(shapes))


def reals(model, n=3):
    """Reals in the support, float64 under x64."""
    x = np.random.default_rng(1).uniform(0, model.event.levels or 2, (n, *model.event.shape))
    return jnp.asarray(x, jnp.result_type(float))


@in_float64
@pytest.mark.parametrize("shape", [(5,), (2, 3, 2)])
def test_affine_coupling(shape):
    """The formula, its inverse, and the determinant where shift and scale depend on the kept part."""
    rng = np.random.default_rng(0)
    mask, x = rng.integers(0, 2, shape).astype(bool), jnp.asarray(rng.normal(size=(3, *shape)))
    weights = jnp.asarray(rng.normal(size=(2, x[0].size, x[0].size)))

    def parameters(x):
        kept = jnp.where(mask, x, 0.0).reshape(len(x), -1)
        return [jnp.sin(kept @ weight).reshape(x.shape) for weight in weights]

    def forward(x):
        return affine_coupling(x, mask, *parameters(x))

    y, log_det = forward(x)
    shift, log_scale = parameters(x)
    np.testing.assert_allclose(y, np.where(mask, x, np.exp(log_scale) * x + shift))
    np.testing.assert_allclose(inverse_affine_coupling(y, mask, *parameters(y)), x)
    jacobian = jax.vmap(jax.jacfwd(lambda one: forward(one[None])[0][0].ravel()))(x)
    expected = jnp.linalg.slogdet(jacobian.reshape(3, x[0].size, -1))[1]
    np.testing.assert_allclose(log_det, expected, atol=1e-12)
    assert np.abs(expected).min() > 0.01


def test_squeeze_by_hand():
    x = jnp.arange(16.0).reshape(1, 2, 4, 2)  # value: 8 row + 2 column + channel
    expected = [[[0, 2, 8, 10, 1, 3, 9, 11], [4, 6, 12, 14, 5, 7, 13, 15]]]
    np.testing.assert_array_equal(squeeze(x)[0], expected)
    np.testing.assert_array_equal(unsqueeze(squeeze(x)), x)
    diagonal = squeeze(x)[0, 0, 0][diagonal_first(2)][:4]
    assert sorted(diagonal.tolist()) == [0, 1, 10, 11]  # pixels (0, 0) and (1, 1), both channels
    assert sorted(diagonal_first(3)) == list(range(12))
    with pytest.raises(ValueError, match="not even"):
        squeeze(jnp.zeros((1, 3, 2, 1)))


def test_masks_of_events():
    np.testing.assert_array_equal(masks.alternating((5,), 1), [0, 1, 0, 1, 0])
    board = masks.checkerboard((2, 3, 2), 0)
    np.testing.assert_array_equal(board[..., 0], [[1, 0, 1], [0, 1, 0]])
    np.testing.assert_array_equal(board[..., 0], board[..., 1])
    np.testing.assert_array_equal(masks.channel_half((1, 1, 4), 1)[0, 0], [0, 0, 1, 1])
    for mask, shape in ((masks.alternating, (5,)), (masks.checkerboard, (2, 3, 2))):
        np.testing.assert_array_equal(mask(shape, 0), ~mask(shape, 1))


@in_float64
def test_logit_of_dequantised_levels():
    """Slope by autodiff, inverse, and the cells of reals within and beyond the levels."""
    y = jnp.linspace(0.0, 17.0, 50)
    h, log_slope = dequantize.to_logit(y, 17, 0.05)
    slopes = jax.vmap(jax.grad(lambda y: dequantize.to_logit(y, 17, 0.05)[0]))(y)
    np.testing.assert_allclose(jnp.exp(log_slope), slopes, rtol=1e-10)
    np.testing.assert_allclose(dequantize.from_logit(h, 17, 0.05), y, atol=1e-12)
    np.testing.assert_allclose(h[jnp.array([0, -1])], np.array([-1, 1]) * math.log(19.0))
    found = dequantize.cell(jnp.array([-0.5, 0.0, 0.9, 1.0, 16.9, 17.0, 18.0]), 17)
    np.testing.assert_array_equal(found, [0, 0, 0, 1, 16, 16, 16])


def jacobians(forward, x):
    flat = jax.vmap(jax.jacfwd(lambda one: forward(one[None])[0][0].ravel()))(x)
    return flat.reshape(len(x), x[0].size, x[0].size)


@in_float64
@every_flow
def test_bijective_layer_by_layer_and_whole(model, monkeypatch):
    """Round trip and log-determinant against autodiff of every layer on what reaches it, and of f itself."""
    pure, variables = build(model)
    chain = bijections.chain

    def found(x):
        seen = []

        def recorded(layers, x, train, y):
            for layer in layers:
                seen.append((*layer.unbind(), x))
                x = layer(x, train, y)[0]
            return chain(layers, seen[-len(layers)][2], train, y)

        monkeypatch.setattr(real_nvp, "chain", recorded)
        z, log_det = pure.model.apply(variables, x, method="forward")
        monkeypatch.undo()
        again = pure.model.apply(variables, z, method="inverse")
        whole = jacobians(lambda x: pure.model.apply(variables, x, method="forward"), x)
        rows = [(x, again, log_det, jnp.linalg.slogdet(whole)[1])]
        for layer, own, given in seen:
            y, log_det = layer.apply(own, given)
            again = layer.apply(own, y, method="inverse")
            jacobian = jacobians(functools.partial(layer.apply, own), given)
            rows.append((given, again, log_det, jnp.linalg.slogdet(jacobian)[1]))
        return rows, z, pure.model.apply(variables, x, method="log_density")

    rows, z, density = jax.jit(found)(reals(model))
    assert len(rows) > 4
    for given, again, log_det, expected in rows:
        assert log_det.dtype == jnp.float64
        np.testing.assert_allclose(again, given, atol=1e-11)
        np.testing.assert_allclose(log_det, expected, atol=1e-10)
    assert z.shape == (3, model.event.size)
    np.testing.assert_allclose(density, stats.norm.logpdf(z).sum(axis=1) + rows[0][2])


@in_float64
def test_three_scales_invert():
    """The inverse puts the parts of z back in their places."""
    model = ImageRealNVP(image(4, 8, 1, 3), features=2, blocks=0, scales=3)
    _, variables = build(model)

    def both_ways(x):
        z, _ = model.apply(variables, x, method="forward")
        return z, model.apply(variables, z, method="inverse")

    x = reals(model)
    z, again = jax.jit(both_ways)(x)
    assert z.shape == (3, 32)
    np.testing.assert_allclose(again, x, atol=1e-11)


@in_float64
def test_batch_norm_counts_in_the_determinant():
    """Training uses batch statistics; evaluation uses running ones, which start as those of the first batch."""
    rng = np.random.default_rng(0)
    first, x = (jnp.asarray(2 * rng.normal(size=(5, 2, 3, 4)) + 1) for _ in range(2))
    layer = BatchNorm()
    variables = layer.init({}, first, True)
    assert "params" not in variables
    (y, log_det), updated = layer.apply(variables, x, True, mutable=["batch_stats"])
    axes, var = (0, 1, 2), np.var(x, axis=(0, 1, 2))
    np.testing.assert_allclose(np.mean(y, axis=axes), 0, atol=1e-12)
    np.testing.assert_allclose(np.var(y, axis=axes), var / (var + EPSILON))
    np.testing.assert_allclose(log_det, np.full(5, -3 * np.log(var + EPSILON).sum()))
    running = updated["batch_stats"]["variance"]
    np.testing.assert_allclose(
        running, MOMENTUM * np.var(first, axis=axes) + (1 - MOMENTUM) * var, rtol=1e-12
    )
    y, log_det = layer.apply(updated, x)
    np.testing.assert_allclose(log_det, np.full(5, -3 * np.log(running + EPSILON).sum()))
    np.testing.assert_allclose(layer.apply(updated, y, method="inverse"), x, atol=1e-12)


@in_float64
def test_a_flow_begins_as_a_normalisation():
    """Networks end in zeros: z of the first batch has mean 0 and variance 1, and training moves every parameter."""
    pure, x = functional(PLANE), 3 + 2 * jax.random.normal(jax.random.key(0), (200, 2))
    variables = pure.init(jax.random.key(1), x)
    z, log_det = PLANE.apply(variables, x, method="forward")
    np.testing.assert_allclose(np.cov(z.T, bias=True).diagonal(), [1, 1], atol=1e-4)
    np.testing.assert_allclose(log_det, -0.5 * np.log(np.var(x, axis=0)).sum(), atol=1e-4)
    loss, (metrics, updated) = pure.loss(variables, x, jax.random.key(2))
    assert loss == metrics["nats"]
    assert updated.keys() == {"batch_stats"}


@pytest.fixture(scope="module")
def pair():
    """A dequantised flow over two pixels of three levels; cell masses by quadrature, without and with the mass outside.

    The quadrature is over the logits, which have no edges.
    """
    with jax.enable_x64(True):
        pure, variables = build(PAIR, scale=0.4)
        ends = [-20.0, *special.logit(0.1 + 0.8 * np.arange(4) / 3), 20.0]
        edges = np.concatenate([np.linspace(*pair, 101)[:-1] for pair in itertools.pairwise(ends)])
        edges = np.append(edges, ends[-1])
        middle, width = (edges[1:] + edges[:-1]) / 2, np.diff(edges)
        y = (special.expit(middle) - 0.1) * 3 / 0.8
        width = width * special.expit(middle) * special.expit(-middle) * 3 / 0.8
        grid = np.stack(np.meshgrid(y, y, indexing="ij"), axis=-1).reshape(-1, 1, 2, 1)
        density = jax.jit(functools.partial(PAIR.apply, method="log_density"))
        mass = np.exp(density(variables, jnp.asarray(grid))).reshape(len(y), -1)
        blocks = (mass * np.outer(width, width)).reshape(5, 100, 5, 100).sum(axis=(1, 3))
        edge = np.array([[1, 1, 0, 0, 0], [0, 0, 1, 0, 0], [0, 0, 0, 1, 1]])
        inside, whole = blocks[1:4, 1:4].ravel(), (edge @ blocks @ edge.T).ravel()
    return pure, variables, inside, whole


NINE = np.indices((3, 3)).reshape(2, 9).T.reshape(9, 1, 2, 1)


@in_float64
def test_the_dequantised_density_normalises(pair):
    """The cells together with the mass outside them sum to 1; `laws.flow.outside` is the share outside."""
    _, variables, inside, whole = pair
    np.testing.assert_allclose(whole.sum(), 1.0, atol=1e-3)
    share, n = flow.outside(PAIR, variables, jax.random.key(0)), flow.OUTSIDE
    lost = 1 - inside.sum()
    assert 0.02 < lost < 0.9
    assert abs(share - lost) < 4 * math.sqrt(lost * (1 - lost) / n)


@in_float64
def test_more_draws_are_tighter(pair):
    """exp of the bound has the mean of the cell's mass for any K, and bound_1 <= bound_20 <= log of that mass."""
    pure, variables, inside, _ = pair
    x, rows = jnp.asarray(NINE), 600
    bound = jax.jit(pure.log_prob, static_argnames="draws")
    many = jnp.repeat(x, rows, axis=0)
    means = []
    for draws in (1, 20):
        values = np.asarray(bound(variables, many, jax.random.key(draws), draws=draws))
        values = values.reshape(9, rows)
        errors = np.exp(values).std(axis=1, ddof=1) / math.sqrt(rows)
        assert np.all(np.abs(np.exp(values).mean(axis=1) - inside) < 4.5 * errors + 1e-12)
        means.append((values.mean(axis=1), values.std(axis=1, ddof=1) / math.sqrt(rows)))
    (one, error), (twenty, closer) = means
    assert np.all(one - 4 * error < twenty)
    assert np.all(twenty < np.log(inside) + 4 * closer)
    assert np.mean(twenty - one) > 0.05


@in_float64
def test_samples_follow_the_mass(pair):
    """Chi-square of 20,000 samples; the lowest and the highest level have what lies beyond them."""
    pure, variables, _, whole = pair
    x = jax.jit(pure.sample, static_argnums=2)(variables, jax.random.key(1), 20_000)
    assert x.dtype == jnp.int32
    counts = np.bincount(np.asarray(x).reshape(-1, 2) @ [3, 1], minlength=9)
    assert stats.chisquare(counts, 20_000 * whole / whole.sum()).pvalue > 1e-4


@in_float64
def test_chunks_do_not_change_the_bound(pair, monkeypatch):
    pure, variables, *_ = pair
    x, key, found = jnp.asarray(NINE), jax.random.key(3), []
    for values in (10 * x.size, 3 * x.size):
        monkeypatch.setattr("gen_jax.models.flow.base.VALUES_AT_ONCE", values)
        found.append(jax.jit(functools.partial(pure.log_prob, draws=10))(variables, x, key))
    np.testing.assert_allclose(found[0], found[1], rtol=1e-12)
    with pytest.raises(InputError, match="needs a key"):
        pure.log_prob(variables, x)


def test_parameters_of_the_published_network():
    """The paper states no count; this one counts layer by layer."""
    model = ImageRealNVP(image(32, 32, channels=3))
    x = jnp.zeros((2, 32, 32, 3), jnp.int32)
    shapes = jax.eval_shape(functional(model).init, jax.random.key(0), x)

    def coupling(inputs, features, outputs):
        """Direction, scale and bias of each layer, and the scale of the coupling."""
        layers = [(9 * 2 * inputs, features), (features, features), (features, outputs)]
        layers += 8 * [(9 * features, features), (9 * features, features), (features, features)]
        return 1 + sum(fan_in * fan_out + 2 * fan_out for fan_in, fan_out in layers)

    expected = 3 * coupling(3 + 1, 64, 6) + 3 * coupling(6, 128, 12) + 4 * coupling(6 + 1, 128, 12)
    assert num_parameters(model, shapes) == expected == 19_615_830


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        (RealNVP(binary(4)), "density of points"),
        (RealNVP(points(1)), "at least 2 dimensions"),
        (ImageRealNVP(points()), "the event has real values"),
        (ImageRealNVP(binary(4)), "images whose sides"),
        (ImageRealNVP(image(6, 8), scales=3), "images whose sides 4 divides"),
        (ImageRealNVP(image(4, 4), scales=3), "leave a single pixel"),
        (ImageRealNVP(image(4, 4), alpha=0.5), "alpha must lie"),
    ],
)
def test_impossible_models_are_refused(model, sentence):
    x = jnp.zeros((2, *model.event.shape), jnp.int32)
    with pytest.raises(InputError, match=sentence):
        jax.eval_shape(functional(model).init, jax.random.key(0), x)
