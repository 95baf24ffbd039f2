"""Row LSTM and Diagonal BiLSTM: their cells one by one, what they see, and a bug that the laws must see."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import build, random_events

from gen_jax import DiagonalBiLSTM, InputError, RowLSTM, functional, image
from gen_jax.experiment import load_config
from gen_jax.included import CONFIGS
from gen_jax.laws import autoregressive as laws
from gen_jax.laws.subject import Subject
from gen_jax.models.autoregressive import pixel_rnn
from gen_jax.models.autoregressive.pixel_rnn import (
    DiagonalLayer,
    FromRight,
    RowLayer,
    diagonal_lstm,
    row_lstm,
    skew,
    unskew,
)

pytestmark = pytest.mark.usefixtures("x64")
H, W, F = 4, 5, 3


def normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def cells(a, kernel, read, memory):
    """h of all pixels, one after the other: `read` lists the places of the states, `memory` is that of c."""
    states = {}
    zeros = np.zeros((len(a), F))
    for r, c in np.ndindex(H, W):
        sum_of = a[:, r, c]
        for one, (up, right) in zip(kernel, read, strict=True):
            sum_of = sum_of + states.get((r - up, c + right), (zeros, zeros))[0] @ one
        i, f, g, o = np.split(sum_of, 4, axis=-1)
        before = states.get((r - memory[0], c + memory[1]), (zeros, zeros))[1]
        cell = sigmoid(f) * before + sigmoid(i) * np.tanh(g)
        states[r, c] = sigmoid(o) * np.tanh(cell), cell
    return np.stack([states[place][0] for place in np.ndindex(H, W)], 1).reshape(len(a), H, W, F)


@pytest.mark.parametrize("shape", [(4, 5), (5, 4), (1, 3), (3, 1)])
def test_skewing_and_back(shape):
    """Pixel (r, c) lies in column r + c, zeros around the image; unskew(skew(x)) = x."""
    x = normal(0, 2, *shape, 3)
    skewed = np.array(skew(jnp.asarray(x)))
    np.testing.assert_array_equal(unskew(jnp.asarray(skewed)), x)
    assert skewed.shape == (2, shape[0], sum(shape) - 1, 3)
    for r, c in np.ndindex(*shape):
        np.testing.assert_array_equal(skewed[:, r, r + c], x[:, r, c])
        skewed[:, r, r + c] = 0
    assert not skewed.any()


def test_the_cells_of_both_kinds_one_by_one():
    """Equation 3 pixel by pixel: states of three columns above, or of the pixels above and beside."""
    a, row, diagonal = normal(1, 2, H, W, 4 * F), normal(2, 3, F, 4 * F), normal(3, 2, F, 4 * F)
    found = row_lstm(jnp.asarray(a), jnp.asarray(row))
    np.testing.assert_allclose(found, cells(a, row, ((1, -1), (1, 0), (1, 1)), (1, 0)), rtol=1e-9)
    found = diagonal_lstm(jnp.asarray(a), jnp.asarray(diagonal))
    expected = cells(a, diagonal, ((1, 0), (0, -1)), (0, -1))
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    mirrored = cells(a[:, :, ::-1], diagonal, ((1, 0), (0, -1)), (0, -1))[:, :, ::-1]
    found = FromRight(F).apply({"params": {"kernel": jnp.asarray(diagonal)}}, jnp.asarray(a))
    assert not np.any(found[:, 0])
    np.testing.assert_allclose(found[:, 1:], mirrored[:, :-1], rtol=1e-9)


class NotShifted(FromRight):
    """The planted bug."""

    @nn.compact
    def __call__(self, a, at=None):
        kernel, a = self.weights(a)
        return jnp.flip(diagonal_lstm(jnp.flip(a, 2), kernel), 2)


def seen(layer, side=6):
    """[i, j]: the outputs at pixel i of an image depend on the inputs at pixel j."""
    x = jnp.asarray(normal(4, 1, side, side, 2 * F))
    shapes = jax.eval_shape(layer.init, jax.random.key(0), x)
    variables = jax.tree.map(lambda leaf: jnp.asarray(normal(5, *leaf.shape)), shapes)
    jacobian = jax.jit(jax.jacrev(lambda x: layer.apply(variables, x).sum(axis=-1)))(x)
    return np.any(np.asarray(jacobian).reshape(side**2, side**2, -1) != 0, axis=-1)


def test_what_one_layer_sees(monkeypatch):
    """The diagonal one all 666 pairs of a pixel and an earlier one or itself on 6x6; the row one the triangle.

    Without the shift 90 of the 630 pairs with a later pixel leak: the 15 pairs within a row, in 6 rows.
    """
    earlier = np.tri(36, dtype=bool)
    np.testing.assert_array_equal(seen(DiagonalLayer(F, 1)), earlier)
    row, column = np.divmod(np.arange(36), 6)
    up, left = np.subtract.outer(row, row), np.subtract.outer(column, column)
    triangle = (up >= 0) & (-left <= up) & (left <= up + 1) & earlier
    np.testing.assert_array_equal(seen(RowLayer(F, 3, 1)), triangle)
    monkeypatch.setattr(pixel_rnn, "FromRight", NotShifted)
    leaking = seen(DiagonalLayer(F, 1)) & ~earlier
    assert leaking.sum() == 90
    assert np.array_equal(leaking, (up == 0) & (left < 0))


def test_the_laws_catch_a_missing_shift(monkeypatch):
    """Changing a pixel changes the distributions to its left: the causal law says so, and without the bug does not."""
    model = DiagonalBiLSTM(image(3, 3, 1, 2), depth=1, features=3, first_kernel=3, head_features=3)
    pure, variables = build(model)
    x = np.asarray(random_events(model, 8), np.int32)

    def rows():
        s = Subject(pure, variables, x, None, seed=0, random_sites=9)
        return {row.law: row for row in laws.causal(s)}

    assert all(row.measured <= row.limit for row in rows().values())
    monkeypatch.setattr(pixel_rnn, "FromRight", NotShifted)
    jax.clear_caches()
    row = rows()["causal"]
    assert row.measured > 1e-3 > row.limit
    jax.clear_caches()


@pytest.mark.parametrize(
    ("config", "count"),
    [
        ("row_cifar10", 8_118_597),
        ("diagonal_cifar10", 8_923_557),
        ("diagonal_binarized_mnist", 64_993),
    ],
)
def test_parameter_count_of_the_papers_networks(config, count):
    """As the layers add up, weights between groups that are masked included; 3 x 7 + 4 taps of the first kernel."""
    model = load_config(CONFIGS / f"pixel_rnn_{config}.py").model
    x = jnp.zeros((1, *model.event.shape), jnp.int32)
    shapes = jax.eval_shape(functional(model).init, jax.random.key(0), x)
    h, head, channels = model.features, model.head_features, model.event.shape[-1]
    first = ((3 * 7 + 3 + (channels > 1)) * channels + 1) * 2 * h
    kernels = {
        RowLSTM: (2 * 2 * h + 1) * 4 * h + 3 * h * 4 * h,
        DiagonalBiLSTM: 2 * ((2 * h + 1) * 4 * h + 2 * h * 4 * h),
    }
    layer = kernels[type(model)] + (h + 1) * 2 * h
    outputs = channels * model.head.size
    ends = first + (2 * h + 1) * head + (head + 1) * head + (head + 1) * outputs
    assert ends + model.depth * layer == count
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == count


def test_dropout_acts_on_what_a_layer_adds():
    """What is kept is scaled by 1 / (1 - p); the same key drops the same, and evaluation drops nothing."""
    model = DiagonalBiLSTM(
        image(3, 3, 1, 2), depth=1, features=3, first_kernel=3, head_features=3, dropout=0.5
    )
    _, variables = build(model)
    x, key = random_events(model, 4), {"dropout": jax.random.key(0)}
    module = model.bind(variables)
    h = module.first(module.to_input(x))
    added = module.blocks[0](h)
    drawn = module.drop(added, deterministic=False, rng=key["dropout"])
    kept = drawn != 0
    assert 0.3 < kept.mean() < 0.7
    np.testing.assert_allclose(drawn, jnp.where(kept, 2 * added, 0))
    once, again = (model.apply(variables, x, train=True, rngs=key) for _ in range(2))
    np.testing.assert_array_equal(once, again)
    assert np.any(once != model.apply(variables, x))


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        (RowLSTM(image(4, 4), depth=0), "pixel_rnn_row needs depth >= 1"),
        (RowLSTM(image(4, 4), kernel=2), "odd kernel from 3"),
        (RowLSTM(image(4, 4), kernel=9), "to first_kernel"),
        (DiagonalBiLSTM(image(4, 4), depth=0), "pixel_rnn_diagonal needs depth >= 1"),
        (DiagonalBiLSTM(image(4, 4), dropout=1.0), "dropout in"),
        (DiagonalBiLSTM(image(4, 4, 3), features=4), "divisible by the 3 channels"),
    ],
)
def test_impossible_sizes_are_refused(model, sentence):
    x = jnp.zeros((1, *model.event.shape), jnp.int32)
    with pytest.raises(InputError, match=sentence):
        jax.eval_shape(functional(model).init, jax.random.key(0), x)
