"""Flow++: its network, its step and its stages by their definitions, its laws, the faults that these catch."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import build, random_events
from families import FAMILIES

from gen_jax import FlowPP, InputError, functional, image
from gen_jax.density import num_parameters
from gen_jax.experiment import load_config
from gen_jax.included import CONFIGS
from gen_jax.laws import dequantizer, flow
from gen_jax.laws.certify import laws_of
from gen_jax.laws.subject import Subject
from gen_jax.models.flow.base import DequantizedFlow
from gen_jax.nn.gated_attention import GatedAttention, GatedAttentionNet, GatedConv, Linear
from gen_jax.nn.mixture_coupling import EachHalf, MixtureCoupling
from gen_jax.ops.squeeze import column_pairs, columns, pixel_blocks, pixels

FLOW = FAMILIES["attention_flow"]
KEY = jax.random.key(0)
NET = GatedAttentionNet(features=4, blocks=1, heads=2)
in_float64 = pytest.mark.usefixtures("x64")


def normal(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.result_type(float))


def noisy(module, *inputs, scale=0.4, **options):
    """Variables of seeded noise."""
    rng = np.random.default_rng(1)
    init = functools.partial(module.init, **options)
    shapes = jax.eval_shape(init, KEY, *inputs)
    return jax.tree.map(lambda leaf: jnp.asarray(scale * rng.normal(size=leaf.shape)), shapes)


def test_rearrangements_by_hand():
    x = jnp.arange(16.0).reshape(1, 2, 4, 2)  # value: 8 row + 2 column + channel
    np.testing.assert_array_equal(
        column_pairs(x)[0], [[[0, 1, 2, 3], [4, 5, 6, 7]], [[8, 9, 10, 11], [12, 13, 14, 15]]]
    )
    np.testing.assert_array_equal(
        pixel_blocks(x)[0], [[[0, 1, 2, 3, 8, 9, 10, 11], [4, 5, 6, 7, 12, 13, 14, 15]]]
    )
    np.testing.assert_array_equal(columns(column_pairs(x)), x)
    np.testing.assert_array_equal(pixels(pixel_blocks(x)), x)


@pytest.mark.parametrize("window", [(), (3, 3)])
def test_the_first_batch_sets_the_scale(window):
    x = 3 + 2 * normal(8, 4, 4, 3)
    layer = Linear(5, window, 0.1)
    y = np.asarray(layer.apply(jax.jit(layer.init)(KEY, x), x))
    np.testing.assert_allclose(y.mean(axis=(0, 1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(y.std(axis=(0, 1, 2)), 0.1, rtol=1e-4)
    constant = jax.jit(layer.init)(KEY, 0 * x)  # has no scale
    np.testing.assert_allclose(constant["params"]["kernel"].std(), 0.1 * 0.05, rtol=0.3)


@in_float64
def test_attention_by_its_equations():
    """Each head over all places, with the map of places added to what queries, keys and values read."""
    layer: Any = GatedAttention(heads=2)
    x, position = normal(2, 2, 3, 4), normal(2, 3, 4, seed=2)
    variables = noisy(layer, x, position)
    maps = variables["params"]
    h = (x + position).reshape(2, 6, 4) @ maps["Linear_0"]["kernel"] + maps["Linear_0"]["bias"]
    heads = []
    for head in (slice(0, 2), slice(2, 4)):
        query, key, value = (h[..., 4 * i : 4 * i + 4][..., head] for i in range(3))
        weights = jax.nn.softmax(query @ key.swapaxes(1, 2) / np.sqrt(2), axis=-1)
        heads.append(weights @ value)
    out = jnp.concatenate(heads, -1) @ maps["Linear_1"]["kernel"] + maps["Linear_1"]["bias"]
    expected = x + (out[..., :4] * jax.nn.sigmoid(out[..., 4:])).reshape(x.shape)
    np.testing.assert_allclose(layer.apply(variables, x, position), expected, atol=1e-12)


@in_float64
def test_a_convolution_reads_a_map_or_a_vector():
    """A vector is the map of that vector at every place."""
    layer, x, y = GatedConv(), normal(2, 3, 4, 6), normal(2, 5, seed=3)
    variables = noisy(layer, x, y=y)
    apply = jax.jit(layer.apply, static_argnums=2)
    as_map = jnp.broadcast_to(y[:, None, None], (2, 3, 4, 5))
    out = apply(variables, x, False, y)
    np.testing.assert_allclose(out, apply(variables, x, False, as_map), atol=1e-12)
    assert np.abs(out - apply(variables, x, False, -y)).max() > 1e-3


@in_float64
@pytest.mark.parametrize("parity", [0, 1])
def test_a_coupling_by_autodiff(parity):
    """One half stays, the other's Jacobian in itself is diagonal and positive, and the inverse gives x."""
    layer, x = MixtureCoupling(NET, parity, 3), normal(2, 2, 2, 4)
    variables = noisy(layer, x)
    z, log_det = jax.jit(layer.apply)(variables, x)
    kept, moved = (slice(2), slice(2, 4)) if parity == 0 else (slice(2, 4), slice(2))
    np.testing.assert_array_equal(z[..., kept], x[..., kept])

    def half(b):
        whole = x[:1].at[..., moved].set(b.reshape(1, 2, 2, 2))
        return layer.apply(variables, whole)[0][..., moved].ravel()

    jacobian = jax.jit(jax.jacrev(half))(x[0, ..., moved].ravel())
    np.testing.assert_array_equal(jacobian - np.diag(np.diag(jacobian)), 0)
    np.testing.assert_allclose(np.log(np.diag(jacobian)).sum(), log_det[0], atol=1e-10)
    again = jax.jit(functools.partial(layer.apply, method="inverse"))(variables, z)
    np.testing.assert_allclose(again, x, atol=1e-10)


@in_float64
def test_each_half_has_a_map_near_the_identity():
    layer: Any = EachHalf()
    x = normal(2, 2, 3, 4)
    variables: Any = layer.init(KEY, x)
    first, second = (variables["params"][f"maps_{i}"]["kernel"] for i in range(2))
    for kernel in (first, second):
        assert 1e-4 < np.abs(kernel - np.eye(2)).max() < 1e-2
    z, log_det = layer.apply(variables, x)
    expected = jnp.concatenate([x[..., :2] @ first, x[..., 2:] @ second], axis=-1)
    np.testing.assert_allclose(z, expected, atol=1e-12)
    both = np.linalg.slogdet(first)[1] + np.linalg.slogdet(second)[1]
    np.testing.assert_allclose(log_det, np.full(2, 6 * both), atol=1e-12)
    np.testing.assert_allclose(layer.apply(variables, z, method="inverse"), x, atol=1e-12)


@functools.cache
def subject(model=FLOW):
    with jax.enable_x64(False):
        pure, variables = build(model, scale=0.2)
        return Subject(pure, variables, np.asarray(random_events(model, 4), np.int32), None, 0)


def failing(*laws, s=None):
    return {row.law for law in laws for row in law(s or subject()) if not row.passed}


@pytest.mark.slow
def test_the_laws_hold(monkeypatch):
    """Those of the inverse, by bisection, and of the noise; the determinant is in `test_laws.py`."""
    monkeypatch.setattr(dequantizer, "ATTEMPTS", 4)
    laws = (flow.round_trip, dequantizer.density, dequantizer.weight, dequantizer.both_sides)
    assert set(laws) <= set(laws_of(FLOW))
    assert not failing(*laws)


def test_a_wrong_density_of_the_noise_is_caught(monkeypatch):
    """The slope of the sigmoid left out; the noise is the same."""
    right = type(FLOW.dequantizer).forward

    def wrong(self, eps, context, train=False):
        u, log_det = right(self, eps, context, train)
        return u, log_det - jnp.sum(jnp.log(u * (1 - u)).reshape(len(u), -1), axis=-1)

    monkeypatch.setattr(type(FLOW.dequantizer), "forward", wrong)
    assert failing(dequantizer.density) == {"noise density"}


def test_a_bound_without_the_density_of_its_noise_is_caught(monkeypatch):
    right = DequantizedFlow.dequantized

    def wrong(*of, **o):
        y, log_q = right(*of, **o)
        return y, 0 * log_q

    monkeypatch.setattr(DequantizedFlow, "dequantized", wrong)
    assert failing(dequantizer.weight) == {"bound of one draw"}


@pytest.mark.slow
def test_a_corner_has_the_weights_of_its_places(monkeypatch):
    """The determinant of a large image is checked on 2x4 pixels, whose maps and gains are cut from the whole."""
    for module in (flow, dequantizer):
        monkeypatch.setattr(module, "LARGEST", 8)
    model = FLOW.clone(event=image(4, 4, 1, 3), couplings=(1, 0, 0))
    s = subject(model)
    rows = [*flow.determinant(s), *dequantizer.density(s)]
    assert all(row.passed for row in rows)
    assert "(2, 4, 1)" in rows[0].note


def test_parameters_of_the_published_network():
    """31,443,440, as the authors' run_cifar.py says; counted here layer by layer."""
    model = load_config(CONFIGS / "flow_pp_cifar10.py").model
    x = jax.ShapeDtypeStruct((2, 32, 32, 3), jnp.int32)
    shapes = jax.eval_shape(functional(model).init, KEY, x)

    def step(height, width, half, blocks, context=0):
        """Normalisation, two linear maps, and a network from one half to the parameters of the other."""
        block = 9 * 192 * 96 + 96 + 192 * 192 + 192  # convolution and its gate
        block += 96 * 288 + 288 + 96 * 192 + 192 + 4 * 96  # attention and its gate, two layer norms
        block += bool(context) * (2 * context * 96 + 96)
        ends = 9 * half * 96 + 96 + (9 * 96 + 1) * half * (2 + 3 * 32)
        places = height * width
        return places * 4 * half + 2 * half**2 + places * 96 + blocks * block + ends

    reader = 9 * 6 * 32 + 32 + 3 * (9 * 64 * 32 + 32 + 9 * 64 * 64 + 64)
    noise = reader + 4 * step(32, 16, 3, 2, context=32)
    expected = 4 * step(32, 16, 3, 10) + 2 * step(16, 16, 6, 10) + 3 * step(16, 8, 12, 10) + noise
    assert num_parameters(model, shapes) == expected == 31_443_440


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        (FlowPP(image(4, 6)), "whose width 4 divides, not"),
        (FlowPP(image(3, 4)), "whose height 2 divides"),
        (FlowPP(image(4, 4), heads=5), "heads 5 must divide features 96"),
        (FlowPP(image(4, 4), alpha=0.6), "alpha must lie between 0 and 0.5"),
    ],
)
def test_impossible_models_are_refused(model, sentence):
    x = jnp.zeros((2, *model.event.shape), jnp.int32)
    with pytest.raises(InputError, match=sentence):
        jax.eval_shape(functional(model).init, KEY, x)
