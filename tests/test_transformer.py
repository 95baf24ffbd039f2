"""Transformers: a block is its equations, a stack one body for all layers; sizes and start of Sparse Transformers."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_models import count
from test_patterns import masked

from gen_jax import (
    Dense,
    Fixed,
    InputError,
    Local,
    SparseTransformer,
    Strided,
    functional,
    image,
    tokens,
)
from gen_jax.coding.codec import Codec
from gen_jax.models.autoregressive import base
from gen_jax.nn.transformer import Block, Period, Stack, quick_gelu

KEY = jax.random.key(0)
L, F = 6, 8
PERIOD = (Strided(2), Local(3))


@pytest.fixture
def h(x64):
    return jnp.asarray(np.random.default_rng(0).normal(size=(2, L, F)))


def noise(module, *inputs, **options):
    rng = np.random.default_rng(1)
    shapes = jax.eval_shape(functools.partial(module.init, KEY, **options), *inputs)
    return jax.tree.map(lambda leaf: jnp.asarray(0.5 * rng.normal(size=leaf.shape)), shapes)


def block(pattern=PERIOD[1], name=None, **options):
    return Block(pattern, L, heads=2, inner=5, name=name, **options)


def stack(**options):
    return Stack(functools.partial(block, **options), PERIOD, 6)


def by_hand(params, h, norm, post, activation):
    """The block's equations on its parameters, heads one after the other."""

    def linear(name, x, of=params):
        return x @ of[name]["kernel"] + of[name].get("bias", 0)

    def attend(x):
        query, key, value = (linear(n, x, params["attention"]) for n in ("query", "key", "value"))
        split = lambda x: x.reshape(2, L, 2, -1).swapaxes(1, 2)  # noqa: E731
        mean = masked(split(query), split(key), split(value), Local(3).allowed(L))
        return linear("out", mean.swapaxes(1, 2).reshape(2, L, F), params["attention"])

    def change(x):
        return linear("down", activation(linear("up", x)))

    for name, branch in (("attention_norm", attend), ("map_norm", change)):
        normal = functools.partial(norm, params[name])
        h = normal(h + branch(h)) if post else h + branch(normal(h))
    return h


def layer_norm(params, x):
    centred = x - x.mean(axis=-1, keepdims=True)
    root = np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-5)
    return centred / root * params["scale"] + params["bias"]


def rms_norm(params, x):
    return x / np.sqrt((x**2).mean(axis=-1, keepdims=True) + 1e-5) * params["scale"]


@pytest.mark.parametrize("where", ["pre", "post"])
@pytest.mark.parametrize(("norm", "equation"), [("layer", layer_norm), ("rms", rms_norm)])
def test_a_block_is_its_equations(h, norm, equation, where):
    bias = norm == "layer"
    module = block(norm=norm, where=where, use_bias=bias, activation=quick_gelu, key_features=4)
    variables = noise(module, h)
    activation = lambda x: x / (1 + np.exp(-1.702 * x))  # noqa: E731
    arrays = jax.tree.map(np.asarray, variables["params"])
    expected = by_hand(arrays, np.asarray(h), equation, where == "post", activation)
    found = jax.jit(module.apply)(variables, h)
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)
    kernels = variables["params"]["attention"]
    assert kernels["query"]["kernel"].shape == kernels["key"]["kernel"].shape == (F, 4)
    assert ("bias" in kernels["out"]) == bias


def test_a_stack_is_one_period_after_the_other(h):
    """With or without rematerialisation; the parameters of a period are a slice."""
    module = stack()
    variables = noise(module, h)

    def unrolled(variables, h):
        for i in range(3):
            params = jax.tree.map(lambda leaf, i=i: leaf[i], variables["params"]["periods"])
            h, _ = Period(block, PERIOD).apply({"params": params}, h)
        return h

    def slope(form):
        return jax.jit(jax.value_and_grad(lambda v: jnp.sum(jnp.sin(form(v, h)))))(variables)

    expected = slope(unrolled)
    found = slope(module.clone(remat=True).apply)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)
    plain = jax.jit(module.apply)(variables, h)
    np.testing.assert_allclose(jnp.sum(jnp.sin(plain)), expected[0], rtol=1e-12)


def test_the_output_of_every_block_can_be_captured(h):
    """By `capture_intermediates`, with an axis for the periods: what a probe reads."""
    module = stack()
    variables = noise(module, h)
    of_blocks = lambda layer, method: isinstance(layer, Block)  # noqa: E731
    out, captured = module.apply(
        variables, h, capture_intermediates=of_blocks, mutable=["intermediates"]
    )
    periods = captured["intermediates"]["periods"]
    [last] = periods["block_1"]["__call__"]
    assert last.shape == (3, 2, L, F)
    np.testing.assert_array_equal(last[-1], out)


def test_dropout_acts_on_the_branches_in_training_only(h):
    """All branches dropped leave the input; layers of equal weights draw different noise."""
    plain, module = stack(), stack(dropout=0.5)
    variables = noise(module, h)
    np.testing.assert_array_equal(module.apply(variables, h), plain.apply(variables, h))
    none = stack(dropout=1.0).apply(variables, h, train=True, rngs={"dropout": KEY})
    np.testing.assert_array_equal(none, h)
    of_dropout = lambda layer, method: isinstance(layer, nn.Dropout)  # noqa: E731
    train = {"train": True, "rngs": {"dropout": KEY}, "mutable": ["intermediates"]}
    _, captured = module.apply(variables, h, **train, capture_intermediates=of_dropout)
    [first] = captured["intermediates"]["periods"]["block_0"]["Dropout_0"]["__call__"]
    [second] = captured["intermediates"]["periods"]["block_0"]["Dropout_1"]["__call__"]
    noises = [*(first == 0), *(second == 0)]
    for i, one in enumerate(noises):
        assert 0.2 < one.mean() < 0.8
        assert not any(np.array_equal(one, other) for other in noises[:i])


@pytest.mark.parametrize(("layers", "parameters"), [(128, 59_196_928), (32, 14_910_976)])
def test_parameter_counts_of_the_published_networks(layers, parameters):
    assert count(SparseTransformer(image(32, 32, 3), layers=layers)) == parameters


@pytest.mark.parametrize(
    ("patterns", "slots", "batch"),
    [((Strided(96), *3 * [Local(96)]), 3072 + 3 * 96, 26), (4 * (Dense(),), 4 * 3072, 7)],
)
def test_the_cache_of_the_published_network_is_rings_and_columns(
    patterns, slots, batch, monkeypatch
):
    """Of 4 GiB by 32 periods; samples are drawn so many at a time, and the codec has a power of two of lanes."""
    monkeypatch.setattr(base, "CACHES", 2**32 // 32)
    model = SparseTransformer(image(32, 32, 3), patterns, layers=4)
    x = jnp.zeros((1, 32, 32, 3), jnp.int32)
    variables = jax.eval_shape(functional(model).init, KEY, x)
    rest = base.cache_bytes(model, variables) - slots * (128 + 256) * 4
    assert rest == 4  # the value before
    assert base.batch_of(model, variables) == batch
    assert Codec(model, variables).lanes[-1] == 2 ** int(np.log2(batch))
    monkeypatch.setattr(base, "CACHES", 2**32)
    assert base.batch_of(model, variables) == 64
    monkeypatch.setattr(base, "CACHES", 1)
    assert base.batch_of(model, variables) == 1


def test_what_training_begins_with():
    """Deviations of the authors' code: .125 / F in branches, less by 2 x layers at their ends; logits are zero."""
    layers, F, inner = 2, 64, 96
    model = SparseTransformer(
        image(40, 40, 1, 200), PERIOD, layers, F, heads=2, key_features=32, inner=inner
    )
    x = jnp.zeros((1, 40, 40, 1), jnp.int32)
    params = jax.jit(functional(model).init)(KEY, x)["params"]
    maps = params["stack"]["periods"]["block_1"]
    attention = maps["attention"]
    branch = np.sqrt(0.125 / F)
    expected = {
        branch: (attention["query"], attention["key"], attention["value"], maps["up"]),
        branch / np.sqrt(2 * layers): (attention["out"],),
        np.sqrt(0.125 / inner / (2 * layers)): (maps["down"],),
    }
    for deviation, kernels in expected.items():
        for kernel in kernels:
            np.testing.assert_allclose(np.std(kernel["kernel"]), deviation, rtol=0.06)
    np.testing.assert_allclose(np.std(params["symbols"]["embedding"]), 0.01, rtol=0.06)
    for axis in range(2):
        np.testing.assert_allclose(np.std(params[f"places_{axis}"]), 0.01 / 3**0.5, rtol=0.06)
    assert not np.any(params["logits"].pop("kernel"))
    assert not params["logits"]
    biases = [leaf for path, leaf in jax.tree.leaves_with_path(params) if path[-1].key == "bias"]
    assert not any(map(np.any, biases))


def test_the_place_of_a_value_moves_with_it():
    """Position t reads the code of the place of t - 1: the last place has no influence, the start is a vector."""
    model = SparseTransformer(tokens(4, 3), (Fixed(2, 1),), 2, 4, 2, 2, 6, dropout=0.0)
    x = jnp.array([[0, 1, 2, 0]])
    variables = noise(functional(model), x)
    params = model.apply(variables, x)
    for place in range(4):
        moved = jax.tree.map(jnp.asarray, variables)
        moved["params"]["places_0"] = variables["params"]["places_0"] + np.outer(
            np.eye(4)[place], np.arange(4)
        )
        changed = np.flatnonzero(np.abs(model.apply(moved, x) - params).max(axis=(0, 2)) > 1e-6)
        np.testing.assert_array_equal(changed, np.arange(place + 1, 4))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"layers": 3}, "a multiple of its 2 patterns"),
        ({"patterns": ()}, "a multiple of its 0 patterns"),
        ({"features": 7}, "that 2 heads share equally"),
        ({"inner": 0}, "of at least 1"),
        ({"dropout": 1.0}, r"dropout in \[0, 1\)"),
    ],
)
def test_refusals(changes, message):
    options = {"patterns": PERIOD, "layers": 4, "features": 8, "key_features": 4, **changes}
    model = SparseTransformer(image(2, 2, 1, 3), **options)
    with pytest.raises(InputError, match=message):
        functional(model).init(KEY, jnp.zeros((1, 2, 2, 1), jnp.int32))
