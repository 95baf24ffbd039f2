"""Parameter counts, closed-form fits and refusals of single systems."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import all_events, build, random_events

from gen_jax import (
    FVSBN,
    FullTable,
    GatedPixelCNN,
    Independent,
    InputError,
    Markov,
    binary,
    functional,
    image,
    points,
)
from gen_jax.density import num_parameters
from gen_jax.nn.causal_conv import HorizontalConv


@pytest.mark.parametrize("n", [1, 2, 5, 10])
def test_parameter_counts_of_the_lecture(n):
    """Independent n, Markov 2n - 1, full table 2^n - 1, sigmoid belief net n (n + 1) / 2, for binary data."""
    expected = {Independent: n, Markov: 2 * n - 1, FullTable: 2**n - 1, FVSBN: n * (n + 1) // 2}
    for system, count in expected.items():
        model = system(binary(n))
        variables = functional(model).init(jax.random.key(0), jnp.zeros((1, n), jnp.int32))
        assert num_parameters(model, variables) == count


def test_parameter_count_of_the_gated_pixel_cnn():
    """Counted by hand: 3x7 and 2x3 vertical kernels, 1x3 and 1x2 horizontal ones, links, outputs, head."""
    F, hidden, levels = 8, 12, 17
    first = 3 * 7 * 1 * 2 * F + 2 * F + 3 * 1 * 2 * F + 2 * F
    deep = 2 * 3 * F * 2 * F + 2 * F + 2 * F * 2 * F + 2 * F
    shared = 2 * F * 2 * F + 2 * F + F * 2 * F + 2 * F
    head = F * hidden + hidden + hidden * levels + levels
    model = GatedPixelCNN(image(8, 8, levels=levels), depth=3, features=F, head_features=hidden)
    variables = jax.eval_shape(
        functional(model).init, jax.random.key(0), jnp.zeros((1, 8, 8, 1), jnp.int32)
    )
    assert num_parameters(model, variables) == first + 2 * deep + 3 * shared + head


def fitted(model, x, batch):
    pure = functional(model)
    variables = pure.init(jax.random.key(0), x[:batch])
    for start in range(0, len(x), batch):
        _, (_, collections) = pure.loss(variables, x[start : start + batch], jax.random.key(1))
        variables = {**variables, **collections}
    return pure, variables


def test_independent_is_the_smoothed_histogram():
    x = np.asarray(random_events(Independent(image(2, 2, 1, 3)), 40))
    pure, variables = fitted(Independent(image(2, 2, 1, 3), alpha=0.5), x, 8)
    counts = np.stack([(x == k).sum(axis=0).ravel() for k in range(3)], axis=1)
    p = (counts + 0.5) / (40 + 1.5)
    expected = np.log(p[np.arange(4), x.reshape(40, 4)]).sum(axis=1)
    np.testing.assert_allclose(pure.log_prob(variables, x), expected, rtol=1e-5)


def test_markov_is_the_smoothed_transition_table():
    x = np.asarray(random_events(Markov(binary(3)), 40))
    pure, variables = fitted(Markov(binary(3)), x, 8)
    expected = np.log((np.array([(x[:, 0] == k).sum() for k in (0, 1)]) + 1) / 42)[x[:, 0]]
    for i in (1, 2):
        pairs = (
            np.array(
                [[np.sum((x[:, i - 1] == a) & (x[:, i] == b)) for b in (0, 1)] for a in (0, 1)]
            )
            + 1
        )
        expected = expected + np.log(pairs / pairs.sum(axis=1, keepdims=True))[x[:, i - 1], x[:, i]]
    np.testing.assert_allclose(pure.log_prob(variables, x), expected, rtol=1e-5)


def test_full_table_is_the_smoothed_joint_histogram():
    x = np.asarray(random_events(FullTable(binary(3)), 40))
    pure, variables = fitted(FullTable(binary(3)), x, 8)
    cell = x @ [4, 2, 1]
    expected = np.log((np.bincount(cell, minlength=8) + 1) / 48)[cell]
    np.testing.assert_allclose(pure.log_prob(variables, x), expected, rtol=1e-5)


def test_counting_charges_before_it_counts():
    """The loss of the first batch is that of the uniform prior: the code length is prequential."""
    x = random_events(Independent(binary(6)), 10)
    pure = functional(Independent(binary(6)))
    variables = pure.init(jax.random.key(0), x)
    loss, (metrics, _) = pure.loss(variables, x, jax.random.key(0))
    np.testing.assert_allclose(loss, np.log(2), rtol=1e-6)
    np.testing.assert_allclose(metrics["bits_per_dim"], 1.0, rtol=1e-6)


def test_class_changes_the_distribution():
    model = GatedPixelCNN(
        image(2, 2, 1, 3), num_classes=3, depth=2, features=4, first_kernel=3, head_features=8
    )
    pure, variables = build(model)
    x = jnp.asarray(all_events(model)[:5])
    log_prob = jax.jit(pure.log_prob)
    first, second = (log_prob(variables, x, cond=jnp.full(5, label)) for label in (0, 1))
    assert np.all(np.asarray(first) != np.asarray(second))


def test_dropout_acts_in_training_only():
    model = GatedPixelCNN(
        image(3, 3, 1, 3), depth=2, features=8, first_kernel=3, head_features=8, dropout=0.5
    )
    pure, variables = build(model)
    x = random_events(model, 4)
    loss = jax.jit(pure.loss)
    losses = {float(loss(variables, x, jax.random.key(k))[0]) for k in range(3)}
    assert len(losses) == 3
    still = functional(dataclasses.replace(model, dropout=0.0))
    expected = jax.jit(still.log_prob)(variables, x)
    np.testing.assert_allclose(jax.jit(pure.log_prob)(variables, x), expected, rtol=1e-5)


def test_bfloat16_computes_a_float32_likelihood():
    """Logits from bfloat16 features differ by rounding only; the likelihood is reduced in float32."""
    sizes = {"depth": 2, "features": 8, "first_kernel": 3, "head_features": 8}
    model = GatedPixelCNN(image(3, 3, 1, 3), **sizes)
    pure, variables = build(model)
    half = functional(GatedPixelCNN(image(3, 3, 1, 3), dtype="bfloat16", **sizes))
    x = random_events(model, 4)
    exact, rounded = (jax.jit(p.log_prob)(variables, x) for p in (pure, half))
    assert rounded.dtype == jnp.float32
    np.testing.assert_allclose(rounded, exact, rtol=0.05)
    assert np.any(np.asarray(exact) != np.asarray(rounded))


def test_a_leak_is_caught(monkeypatch):
    """Mask A replaced by B: the influence matrix of the causality law shows every site reading itself."""
    from test_laws import influence

    model = GatedPixelCNN(image(3, 3, 1, 3), depth=2, features=4, first_kernel=3, head_features=8)
    monkeypatch.setattr(HorizontalConv, "cropped", property(lambda self: False))
    _, variables = build(model)
    assert np.diag(influence(model, variables)).all()


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        (GatedPixelCNN(binary(8)), "model of images"),
        (GatedPixelCNN(image(4, 4, 3), features=64), "divisible by the 3 channels"),
        (GatedPixelCNN(image(4, 4), kernel=4), "odd kernels"),
        (GatedPixelCNN(image(4, 4), depth=0), "depth >= 1"),
        (GatedPixelCNN(points()), "real values|model of images"),
        (FVSBN(image(4, 4, 1, 3)), "binary events"),
        (FullTable(binary(30)), "does not fit"),
    ],
)
def test_impossible_sizes_are_refused(model, sentence):
    x = jnp.zeros((1, *model.event.shape), jnp.int32)
    with pytest.raises(InputError, match=sentence):
        jax.eval_shape(functional(model).init, jax.random.key(0), x)
