"""TarFlow: a map by its equations, patch after patch as all at once, its Jacobian, faults that are caught."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import build, random_events
from families import FAMILIES

from gen_jax import InputError, TarFlow, functional, image
from gen_jax.density import num_parameters
from gen_jax.laws import flow as laws
from gen_jax.laws.small import corner
from gen_jax.laws.subject import Subject
from gen_jax.models.flow import tar_flow
from gen_jax.models.flow.tar_flow import CausalAffine
from gen_jax.nn.at import stepped, zeros_of
from gen_jax.ops.squeeze import pixel_blocks, pixels

PAIR = FAMILIES["patch_flow"]
L, P, CLASSES = 5, 3, 2
TINY = {"patches": L, "layers": 2, "features": 4, "heads": 2}
both_orders = pytest.mark.parametrize("reverse", [False, True])
in_float64 = pytest.mark.usefixtures("x64")


def map_of(reverse=False, classes=0):
    """A map of patches, variables of seeded noise, patches and classes."""
    layer, rng = (
        CausalAffine(**TINY, reverse=reverse, num_classes=classes),
        np.random.default_rng(0),
    )
    x = jnp.asarray(rng.normal(size=(4, L, P)))
    y = jax.nn.one_hot(np.arange(4) % classes, classes) if classes else None
    shapes = jax.eval_shape(functools.partial(layer.init, y=y), jax.random.key(0), x)
    noise = lambda leaf: jnp.asarray(0.5 * rng.normal(size=leaf.shape))  # noqa: E731
    return layer, jax.tree.map(noise, shapes), x, y


def test_patches_by_hand():
    x = jnp.arange(16.0).reshape(1, 2, 4, 2)  # value: 8 row + 2 column + channel
    expected = [[0, 1, 2, 3, 8, 9, 10, 11], [4, 5, 6, 7, 12, 13, 14, 15]]
    np.testing.assert_array_equal(pixel_blocks(x, 2)[0, 0], expected)
    np.testing.assert_array_equal(pixels(pixel_blocks(x, 2), 2), x)


@in_float64
@both_orders
def test_a_map_by_its_equations(reverse):
    """z_t = (x_t - b) exp(-a) with b and a of the earlier patches alone: all others hold noise."""
    layer, variables, x, y = map_of(reverse, CLASSES)
    z, log_det = layer.apply(variables, x, False, y)
    parameters = jax.jit(functools.partial(layer.apply, method="parameters"))
    ordered = np.asarray(x)[:, ::-1] if reverse else np.asarray(x)
    expected, total = [ordered[:, 0]], 0.0
    for t in range(1, L):
        hidden = np.random.default_rng(t).normal(size=x.shape)
        shift, log_scale = parameters(
            variables, np.where(np.arange(L)[:, None] < t, ordered, hidden), y
        )
        expected.append((ordered[:, t] - shift[:, t - 1]) * np.exp(-log_scale[:, t - 1]))
        total = total - log_scale[:, t - 1].sum(axis=-1)
    expected = np.stack(expected[::-1] if reverse else expected, axis=1)
    np.testing.assert_allclose(z, expected, rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(log_det, total, rtol=1e-11)
    assert np.abs(total).min() > 0.1


@in_float64
@both_orders
def test_the_jacobian_is_triangular_in_the_order_of_the_patches(reverse):
    """No patch depends on a later one; its own block is diagonal; the first is unchanged; log-det by autodiff."""
    layer, variables, x, _ = map_of(reverse)
    one = lambda x: layer.apply(variables, x[None])[0][0]  # noqa: E731
    jacobian = jax.jacrev(one)(x[0])
    found = np.abs(jacobian).max(axis=(1, 3)) > 0
    expected = np.tri(L, dtype=bool)
    np.testing.assert_array_equal(found, expected[::-1, ::-1] if reverse else expected)
    own = np.asarray(jacobian)[np.arange(L), :, np.arange(L)]
    np.testing.assert_allclose(own, own * np.eye(P), atol=1e-14)
    np.testing.assert_array_equal(own[-1 if reverse else 0], np.eye(P))
    determinant = np.linalg.slogdet(jacobian.reshape(L * P, L * P))[1]
    np.testing.assert_allclose(layer.apply(variables, x)[1][0], determinant, rtol=1e-11)


@pytest.mark.parametrize("wide", [False, True], ids=["float32", "float64"])
def test_steps_agree_with_the_parallel_pass(wide):
    """b and a of one patch at a time, with keys and values kept, and then the inverse."""
    with jax.enable_x64(wide):
        layer, variables, x, y = map_of(classes=CLASSES)

        @jax.jit
        def both(x):
            memory = zeros_of(
                lambda x: stepped(layer, variables, {}, "parameters", x, y, at=jnp.int32(0))[1],
                x[:, 0],
            )
            rows = []
            for t in range(L):
                row, memory = stepped(
                    layer, variables, memory, "parameters", x[:, t], y, at=jnp.int32(t)
                )
                rows.append(jnp.stack(row))
            parallel = layer.apply(variables, x, y, method="parameters")
            z, _ = layer.apply(variables, x, False, y)
            return (
                jnp.stack(rows, axis=2),
                jnp.stack(parallel),
                layer.apply(variables, z, y, method="inverse"),
            )

        steps, parallel, again = both(x)
        tolerance = 1e-12 if wide else 2e-5
        np.testing.assert_allclose(steps, parallel, rtol=tolerance, atol=tolerance)
        np.testing.assert_allclose(again, x, rtol=tolerance, atol=tolerance)


@in_float64
def test_the_density_integrates_to_one():
    """Two pixels, each a patch, on a wide grid."""
    model = TarFlow(image(1, 2, 1, 4), patch=1, blocks=3, layers=1, features=4, heads=1)
    _, variables = build(model, scale=0.2)
    line = jnp.linspace(-18.0, 22.0, 301)
    grid = jnp.stack(jnp.meshgrid(line, line, indexing="ij"), axis=-1).reshape(-1, 1, 2, 1)
    density = jax.jit(functools.partial(model.apply, method="log_density"))
    total = jnp.exp(density(variables, grid)).sum() * (line[1] - line[0]) ** 2
    assert abs(total - 1) < 1e-3


@in_float64
def test_a_flow_begins_as_a_scaling():
    """z is 2 x / levels - 1 at first, in the order of the patches."""
    pure, x = functional(PAIR), random_events(PAIR, 3)
    variables = pure.init(jax.random.key(0), x)
    z, log_det = PAIR.apply(variables, x.astype(float), method="forward")
    np.testing.assert_allclose(z, pixel_blocks(2 * x / 3 - 1, 2).reshape(3, -1))
    np.testing.assert_allclose(log_det, 8 * np.log(2 / 3))


def test_dropout_only_in_training():
    model = PAIR.clone(dropout=0.5)
    pure, variables = build(model)
    x, key = random_events(model, 3), jax.random.key(0)
    loss, log_prob = jax.jit(pure.loss), jax.jit(pure.log_prob)
    assert loss(variables, x, key)[0] != jax.jit(functional(PAIR).loss)(variables, x, key)[0]
    expected = jax.jit(functional(PAIR).log_prob)(variables, x, key)
    np.testing.assert_array_equal(log_prob(variables, x, key), expected)


def subject(model, scale=0.4):
    pure, variables = build(model, scale=scale)
    return Subject(pure, variables, np.asarray(random_events(model, 4)), None, 0)


def failing(model, *chosen, scale=0.4):
    s = subject(model, scale)
    return {row.law for law in chosen for row in law(s) if not row.passed}


LAWS = (laws.round_trip, laws.determinant)


def test_the_laws_hold_for_logits():
    """Logits are up to three times as large as the scaled values, hence smaller weights."""
    assert failing(PAIR.clone(alpha=0.05), *LAWS, scale=0.2) == set()


def test_an_order_that_is_not_reversed_back_is_caught(monkeypatch):
    """The inverse leaves the patches of every other map in the order of its steps."""
    right = CausalAffine.inverse
    wrong = lambda self, z, y=None: self.ordered(right(self, z, y))  # noqa: E731
    monkeypatch.setattr(CausalAffine, "inverse", wrong)
    assert failing(PAIR, *LAWS) == {"round trip"}


def test_a_missing_shift_is_caught(monkeypatch):
    """With b and a of the patch itself the Jacobian's blocks are not diagonal, and there is no inverse by steps."""
    monkeypatch.setattr(tar_flow, "_after_nothing", lambda x: x)
    assert failing(PAIR, *LAWS) == {"round trip", "log-determinant"}


def test_a_wrong_sign_of_the_determinant_is_caught(monkeypatch):
    right = CausalAffine.__call__
    wrong = lambda *of: (lambda z, log_det: (z, -log_det))(*right(*of))  # noqa: E731
    monkeypatch.setattr(CausalAffine, "__call__", wrong)
    assert failing(PAIR, *LAWS) == {"log-determinant"}


def test_the_corner_of_a_large_image_has_the_weights_of_the_first_places():
    model = PAIR.clone(event=image(16, 20, 1, 3))
    s = subject(model)
    [row] = laws.determinant(s)
    assert row.passed
    assert "(4, 4, 1)" in row.note
    _, variables = corner(model, s.variables)
    found, whole = (tree["params"]["maps_1"]["places"] for tree in (variables, s.variables))
    np.testing.assert_array_equal(found, whole[:4])
    assert whole.shape == (80, 4)


def test_parameters_of_the_published_network():
    """ImageNet at 64x64: 460,142,784 parameters, layer by layer."""
    model = TarFlow(image(64, 64, channels=3))
    x = jax.ShapeDtypeStruct((2, 64, 64, 3), jnp.int32)
    shapes = jax.eval_shape(functional(model).init, jax.random.key(0), x)
    linear = lambda inputs, outputs: inputs * outputs + outputs  # noqa: E731
    F, P, L = 768, 12, 32 * 32
    layer = 4 * F + 4 * linear(F, F) + linear(F, 4 * F) + linear(4 * F, F)
    expected = 8 * (linear(P, F) + L * F + 8 * layer + linear(F, 2 * P))
    assert num_parameters(model, shapes) == expected == 460_142_784


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"event": image(4, 6), "patch": 4}, "the side 4 of its patches divides"),
        ({"patch": 0}, "the side 0 of its patches divides"),
        ({"event": image(2, 2)}, "a single patch"),
        ({"blocks": 0}, "at least 1"),
        ({"dropout": 1.0}, "dropout in"),
        ({"heads": 3}, "3 heads share equally"),
        ({"alpha": 0.5}, "alpha must lie"),
    ],
)
def test_impossible_models_are_refused(changes, sentence):
    model = PAIR.clone(**changes)
    x = jnp.zeros((2, *model.event.shape), jnp.int32)
    with pytest.raises(InputError, match=sentence):
        jax.eval_shape(functional(model).init, jax.random.key(0), x)
