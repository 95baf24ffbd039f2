"""Pure functions against float64 oracles written another way."""

import ast
import functools
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

import gen_jax
from gen_jax.heads import Bernoulli, Categorical, LogisticMixture, head_for
from gen_jax.models.autoregressive.gated_pixel_cnn import VerticalConv
from gen_jax.nn.causal_conv import HorizontalConv
from gen_jax.ops import categorical, gates, masks, scaling

pytestmark = pytest.mark.usefixtures("x64")


def direct_conv(x, kernel, offsets):
    """out[r, c] = sum over taps of x[r + dr, c + dc] @ kernel[tap], zero outside."""
    B, H, W, _ = x.shape
    out = np.zeros((B, H, W, kernel.shape[-1]))
    for r in range(H):
        for c in range(W):
            for (dr, dc), tap in zip(offsets, kernel, strict=True):
                if 0 <= r + dr < H and 0 <= c + dc < W:
                    out[:, r, c] += x[:, r + dr, c + dc] @ tap
    return out


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize(("height", "width"), [(1, 3), (2, 3), (3, 5)])
def test_vertical_conv(height, width, strict):
    rng = np.random.default_rng(0)
    x, kernel = rng.normal(size=(2, 4, 5, 3)), rng.normal(size=(height, width, 3, 2))
    taps = [(i - height + 1 - strict, j - width // 2) for i in range(height) for j in range(width)]
    expected = direct_conv(x, kernel.reshape(-1, 3, 2), taps)
    params = {"kernel": jnp.asarray(kernel), "bias": jnp.zeros(2)}
    y = VerticalConv(2, height, width, strict).apply({"params": params}, jnp.asarray(x))
    np.testing.assert_allclose(y, expected, atol=1e-12)


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("width", [1, 2, 3])
def test_horizontal_conv(width, strict):
    rng = np.random.default_rng(1)
    x, kernel = rng.normal(size=(2, 3, 5, 3)), rng.normal(size=(width, 3, 2))
    expected = direct_conv(x, kernel, [(0, j - width + 1 - strict) for j in range(width)])
    params = {"kernel": jnp.asarray(kernel), "bias": jnp.zeros(2)}
    module = HorizontalConv(2, width + strict, strict=strict)
    np.testing.assert_allclose(
        module.apply({"params": params}, jnp.asarray(x)), expected, atol=1e-12
    )


def test_group_mask():
    """Mask A and B of two groups of two features, written out."""
    np.testing.assert_array_equal(
        masks.group_mask(2, 4, 2, strict=True), [[0, 0, 1, 1], [0, 0, 0, 0]]
    )
    np.testing.assert_array_equal(
        masks.group_mask(4, 2, 2, strict=False), [[1, 1], [1, 1], [0, 1], [0, 1]]
    )
    with pytest.raises(ValueError, match="do not split"):
        masks.group_mask(3, 4, 2, strict=True)


def test_groups_are_taken_and_put_in_mask_order():
    x = jnp.arange(12.0)
    np.testing.assert_array_equal(
        masks.take_group(x, jnp.array(1), groups=3, splits=2), [2, 3, 8, 9]
    )
    np.testing.assert_array_equal(
        masks.put_group(jnp.zeros(6), jnp.ones(2), jnp.array(1)), [0, 0, 1, 1, 0, 0]
    )
    assert [int(g) for g in masks.group_of(6, 3)] == [0, 0, 1, 1, 2, 2]


def test_gate():
    x = np.random.default_rng(2).normal(size=(3, 8))
    expected = np.tanh(x[:, :4]) * special.expit(x[:, 4:])
    np.testing.assert_allclose(gates.gated_tanh(jnp.asarray(x)), expected, rtol=1e-12)


@pytest.mark.parametrize("levels", [2, 17, 256])
def test_scaling_spreads_levels_over_the_symmetric_interval(levels):
    x = np.asarray(scaling.to_symmetric(jnp.arange(levels), levels))
    np.testing.assert_allclose(x, np.linspace(-1, 1, levels), atol=1e-12)


LOGITS = [-800.0, -30.0, -1.0, 0.0, 0.5, 40.0, 900.0]


def test_bernoulli_against_scipy():
    """At tiny and huge logits, with finite gradients everywhere."""
    logit = jnp.array(LOGITS)[:, None]
    for x in (0, 1):
        log_prob = functools.partial(Bernoulli().log_prob, x=jnp.full(logit.shape, x))
        expected = special.log_expit(np.where(x, LOGITS, -np.array(LOGITS)))
        np.testing.assert_allclose(log_prob(logit), expected, rtol=1e-12)
        slope = jax.grad(lambda z, log_prob=log_prob: log_prob(z).sum())(logit)
        np.testing.assert_allclose(slope[:, 0], x - special.expit(LOGITS), atol=1e-12)


def test_categorical_against_scipy():
    logits = jnp.stack([jnp.array(LOGITS), jnp.array(LOGITS[::-1]), jnp.zeros(7)])
    expected = special.log_softmax(np.asarray(logits), axis=-1)
    for x in (0, 3, 6):
        log_prob = functools.partial(Categorical(7).log_prob, x=jnp.full((3, 1), x))
        np.testing.assert_allclose(log_prob(logits), expected[:, x], rtol=1e-12)
        slope = jax.grad(lambda z, log_prob=log_prob: log_prob(z).sum())(logits)
        np.testing.assert_allclose(slope, np.eye(7)[x] - np.exp(expected), atol=1e-12)


@pytest.mark.parametrize("temperature", [1.0, 0.5])
@pytest.mark.parametrize("head", [Bernoulli(), Categorical(5)])
def test_heads_sample_their_conditional(head, temperature):
    """Frequencies of 100,000 draws against the tempered conditional, chi-square below its 1e-6 quantile."""
    levels, n = (2, 100_000) if head == Bernoulli() else (5, 100_000)
    params = jnp.linspace(-0.5, 1.5, head.size)
    pmf = np.asarray(head.conditional(params / temperature, 0, jnp.zeros(0, jnp.int32)))
    np.testing.assert_allclose(pmf.sum(), 1.0, rtol=1e-12)
    drawn = head.sample(jnp.tile(params, (n, 1)), jax.random.key(0), temperature)
    counts = np.bincount(np.asarray(drawn[:, 0]), minlength=levels)
    assert special.chdtrc(levels - 1, np.sum((counts - n * pmf) ** 2 / (n * pmf))) > 1e-6
    every = head.log_prob(jnp.tile(params, (levels, 1)), jnp.arange(levels)[:, None])
    expected = np.asarray(head.conditional(params, 0, jnp.zeros(0, jnp.int32)))
    np.testing.assert_allclose(np.exp(every), expected, rtol=1e-12)


@pytest.mark.parametrize("levels", [2, 5, 17, 256])
def test_a_categorical_draw_inverts_the_cumulative_sum(levels):
    logits = jnp.asarray(np.random.default_rng(0).normal(scale=3.0, size=(4000, levels)))
    key, rows = jax.random.key(levels), np.arange(4000)
    u, drawn = np.asarray(jax.random.uniform(key, (4000,))), categorical.sample(logits, key)
    ends = np.cumsum(special.softmax(np.asarray(logits), axis=1), axis=1)
    before = np.where(drawn == 0, 0, ends[rows, np.asarray(drawn) - 1])
    assert np.all(before <= u + 1e-12)
    assert np.all(u < ends[rows, np.asarray(drawn)] + 1e-12)


def test_categorical_never_draws_the_impossible():
    """Levels of probability zero at both ends and in the middle stay undrawn."""
    logits = jnp.array([-jnp.inf, 0.0, -jnp.inf, 1.0, -jnp.inf])
    drawn = categorical.sample(jnp.tile(logits, (50_000, 1)), jax.random.key(1))
    assert set(np.unique(drawn)) == {1, 3}


@pytest.mark.parametrize("temperature", [0.0, 1e-30])
def test_a_categorical_draw_without_temperature_is_the_most_likely(temperature):
    logits = jnp.asarray(np.random.default_rng(0).normal(scale=3.0, size=(200, 17)))
    drawn = categorical.sample(logits, jax.random.key(0), temperature)
    np.testing.assert_array_equal(drawn, np.argmax(logits, axis=1))
    level = categorical.sample(jnp.zeros((200, 3)), jax.random.key(0), temperature)
    assert set(np.unique(level)) == {0, 1, 2}


def test_head_choice():
    assert head_for(2) == Bernoulli()
    assert head_for(3) == Categorical(3)
    assert [head.size for head in (Bernoulli(), Categorical(3))] == [1, 3]
    assert [LogisticMixture(256, values, 10).size for values in (1, 3)] == [30, 100]


def test_ops_know_nothing_of_flax():
    """No file of ops/ imports flax, directly or through another part of the package."""
    folder = Path(gen_jax.__file__).parent / "ops"
    for path in folder.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            allowed = (
                "gen_jax.errors",
                "gen_jax.ops",
                "gen_jax.target",
                "gen_jax.typing",
                "jax",
                "numpy",
                "jaxtyping",
                "diffrax",
            )
            outside = {name for name in names if name.split(".")[0] not in sys.stdlib_module_names}
            assert all(name.startswith(allowed) for name in outside), (path, outside)
