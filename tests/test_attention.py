"""Strictly causal attention: a loop in float64, the first site, one site at a time, a mask that is not strict."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import build
from test_laws import influence

from gen_jax import PixelSNAIL, image
from gen_jax.ops import attention

pytestmark = pytest.mark.usefixtures("x64")
SITES, K, V = 11, 3, 4


def inputs(scale=1.0, seed=0):
    rng = np.random.default_rng(seed)
    return [scale * rng.normal(size=(2, SITES, size)) for size in (K, K, V)]


def by_loops(query, key, value):
    out = np.zeros_like(value)
    for b in range(len(query)):
        for i in range(1, SITES):
            scores = key[b, :i] @ query[b, i] / np.sqrt(K)
            weights = np.exp(scores - scores.max())
            out[b, i] = weights @ value[b, :i] / weights.sum()
    return out


@pytest.mark.parametrize("block", [4, 128])
def test_attention_is_the_loop(block):
    """Whatever the blocks; the first site reads nothing and is zero."""
    found = jax.jit(attention.causal_attention, static_argnums=3)(*inputs(), block)
    np.testing.assert_allclose(found, by_loops(*inputs()), atol=1e-14)
    np.testing.assert_array_equal(found[:, 0], 0)


def test_one_site_is_the_loop_and_reads_earlier_entries_only():
    query, key, value = inputs()
    expected = by_loops(query, key, value)
    step = jax.jit(attention.causal_attention_site)
    for site in range(SITES):
        found = step(query[:, site], key, value, site)
        np.testing.assert_allclose(found, expected[:, site], atol=1e-14)
        later = [np.concatenate([x[:, :site], 7 - 3 * x[:, site:]], axis=1) for x in (key, value)]
        np.testing.assert_array_equal(step(query[:, site], *later, site), found)


@pytest.mark.parametrize("scale", [1.0, 1e3])
def test_gradients_are_finite_and_those_of_the_loop(scale):
    """Also if one weight is nearly 1; the first site reads nothing, so the gradient of its query is zero."""
    arrays = list(map(jnp.asarray, inputs()))
    arrays[0] = scale * arrays[0]

    def loss(form):
        return lambda *arrays: jnp.sum(jnp.sin(form(*arrays)))

    def dense(query, key, value):
        scores = jnp.einsum("bik,bjk->bij", query, key)[:, 1:, :-1] / np.sqrt(K)
        open_ = np.tril(np.ones((SITES - 1, SITES - 1), bool))
        weights = jax.nn.softmax(scores, where=open_, axis=-1)
        return jnp.pad(weights @ value[:, :-1], ((0, 0), (1, 0), (0, 0)))

    blocks = lambda *arrays: attention.causal_attention(*arrays, 4)  # noqa: E731
    found = jax.jit(jax.grad(loss(blocks), (0, 1, 2)))(*arrays)
    expected = jax.jit(jax.grad(loss(dense), (0, 1, 2)))(*arrays)
    for one, other in zip(found, expected, strict=True):
        assert np.isfinite(one).all()
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(found[0][:, 0], 0)


def test_a_single_site_reads_nothing():
    """Such a query gives zero, with a gradient of zero."""
    alone = jnp.ones((1, 1, K))
    value, slope = jax.value_and_grad(lambda q: attention.causal_attention(q, q, q).sum())(alone)
    assert value == 0
    np.testing.assert_array_equal(slope, 0)


def test_half_precision_keeps_its_weights_wide():
    """bfloat16 in and out; 2,000 equal weights still sum to 1, which bfloat16 sums do not."""
    query, value = jnp.zeros((1, 2001, 1), jnp.bfloat16), jnp.ones((1, 2001, 1), jnp.bfloat16)
    found = attention.causal_attention_site(query[:, 0], query, value, jnp.array(2000))
    assert found.dtype == jnp.bfloat16
    assert float(found[0, 0]) == 1.0


def test_a_mask_that_is_not_strict_is_caught(monkeypatch):
    """j <= i instead of j < i: every pixel reads itself through its own key and value."""
    strict = attention.causal_attention
    before, after = ((0, 0), (1, 0), (0, 0)), ((0, 0), (0, 1), (0, 0))

    def not_strict(query, key, value):
        shifted = jnp.pad(query, before), jnp.pad(key, after), jnp.pad(value, after)
        return strict(*shifted)[:, 1:]

    model = PixelSNAIL(image(2, 3, 1, 3), features=4, blocks=1, resnets=1, mixtures=2)
    _, variables = build(model)
    declared = np.tril(np.ones((6, 6), bool), -1)
    np.testing.assert_array_equal(influence(model, variables), declared)
    monkeypatch.setattr(attention, "causal_attention", not_strict)
    assert np.diag(influence(model, variables)).all()


def test_memory_grows_with_the_block():
    """Compiled temporaries of 1,024 sites: blocks of 128 take less than half of the whole square."""
    rows = [jax.ShapeDtypeStruct((4, 1024, 16), jnp.float32)] * 3

    def temporaries(block):
        form = jax.jit(lambda *x: attention.causal_attention(*x, block))
        return form.lower(*rows).compile().memory_analysis().temp_size_in_bytes

    assert temporaries(128) < 0.5 * temporaries(1024)
