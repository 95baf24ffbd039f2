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
    PixelCNN,
    PixelCNNPP,
    PixelSNAIL,
    binary,
    functional,
    image,
    points,
)
from gen_jax.density import num_parameters
from gen_jax.models.autoregressive import pixelwise
from gen_jax.nn import causal_conv, masked_conv
from gen_jax.ops.convolution import convolve


@pytest.mark.parametrize("n", [1, 2, 5, 10])
def test_parameter_counts_of_the_lecture(n):
    """Independent n, Markov 2n - 1, full table 2^n - 1, sigmoid belief net n (n + 1) / 2, for binary data."""
    expected = {Independent: n, Markov: 2 * n - 1, FullTable: 2**n - 1, FVSBN: n * (n + 1) // 2}
    for system, count in expected.items():
        model = system(binary(n))
        init, x = functional(model).init, jnp.zeros((1, n), jnp.int32)
        assert num_parameters(model, jax.eval_shape(init, jax.random.key(0), x)) == count


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


def count(model):
    x = jnp.zeros((2, *model.event.shape), jnp.int32)
    return num_parameters(model, jax.eval_shape(functional(model).init, jax.random.key(0), x))


def test_parameter_count_of_pixel_cnn_pp():
    """The published network has 53,659,080; and a small one by hand, convolutions with gain and bias."""
    assert count(PixelCNNPP(image(32, 32, 3))) == 53_659_080
    F, K = 8, 3
    conv = lambda taps, inputs, outputs: (taps * inputs + 2) * outputs  # noqa: E731
    first = conv(6, 2, F) + conv(3, 2, F) + conv(2, 2, F)
    u = conv(6, 2 * F, F) + conv(6, 2 * F, 2 * F)
    v = conv(4, 2 * F, F) + conv(4, 2 * F, 2 * F)
    skip = conv(1, 2 * F, F)
    down, up = u + v + skip, u + skip + v + conv(1, 4 * F, F)
    bridge = 2 * (conv(6, F, F) + conv(4, F, F))
    total = first + down + 2 * up + bridge + down + up + conv(1, F, 3 * K)
    small = PixelCNNPP(image(4, 4, levels=17), features=F, resnets=1, resolutions=2, mixtures=K)
    assert count(small) == total


def test_parameter_count_of_pixel_snail():
    """The published network has 46.0M; and a small one by hand, all maps with gain and bias."""
    assert count(PixelSNAIL(image(32, 32, 3))) == 46_021_908
    F, K, key = 8, 3, 5
    linear = lambda inputs, outputs: (inputs + 2) * outputs  # noqa: E731
    resnet = lambda x, taps=1: linear(taps * x, x) + linear(taps * x, 2 * x)  # noqa: E731
    first = linear(3 * 2, F) + linear(2 * 2, F)
    content = resnet(1 + F + 2) + linear(1 + F + 2, key + F // 2)
    question = resnet(F + 2) + linear(F + 2, key)
    merge = resnet(F) + linear(F // 2, F)
    block = 2 * resnet(F, taps=4) + content + question + merge
    small = PixelSNAIL(
        image(4, 5, levels=17), features=F, blocks=3, resnets=2, key_size=key, mixtures=K
    )
    assert count(small) == first + 3 * block + linear(F, 3 * K)


def test_parameter_count_of_pixel_cnn():
    """7x7 mask A, blocks of 1x1, 3x3 mask B and 1x1, three 1x1 of the head; weights only where a mask is open."""
    F, hidden = 8, 12
    first = (3 * 7 + 3) * 2 * F + 2 * F
    block = 2 * F * F + F + 5 * F * F + F + F * 2 * F + 2 * F
    head = 2 * F * hidden + hidden + hidden * hidden + hidden + hidden * 17 + 17
    model = PixelCNN(image(8, 8, levels=17), depth=3, features=F, head_features=hidden)
    assert count(model) == first + 3 * block + head


def test_the_blind_spot():
    """PixelCNN never sees the cone to the upper right that Gated PixelCNN and PixelCNN++ see."""
    event = image(8, 12, levels=3)
    site, corner = 5 * 12 + 2, 4 * 12 + 8  # (5, 2), and one row above it six columns to the right
    small = {"depth": 6, "features": 4, "first_kernel": 3, "head_features": 8}
    assert not PixelCNN(event, **small).context(site)[corner]
    assert GatedPixelCNN(event, **small).context(site)[corner]
    plus = PixelCNNPP(event, features=4, resnets=2, resolutions=2, mixtures=2)
    assert plus.context(site)[corner]
    assert not dataclasses.replace(plus, two_streams=False).context(site)[corner]
    seen = PixelCNN(event, **small).context(site).reshape(8, 12)
    assert [int(np.flatnonzero(row)[-1]) for row in seen[:5]] == [7, 6, 5, 4, 3]


def test_the_published_size_sees_all_from_even_rows_only():
    """Coarser layers begin at even rows: odd rows see 22 columns to the left in their row, and to the right above."""
    model, W = PixelCNNPP(image(28, 28)), 28

    def unseen(row, column):
        site = row * W + column
        return np.flatnonzero(~model.context(site)[:site]).tolist()

    assert all(unseen(row, column) == [] for row in (0, 2, 14, 26) for column in (0, 13, 27))
    assert unseen(1, 2) == [25, 26, 27]
    assert unseen(27, 27) == [27 * W + column for column in range(5)]


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
    """The code length is prequential: the loss of the first batch is the loss under the uniform prior."""
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
    """Mask A shifted to read the pixel itself: the causality law's influence matrix shows it at every site."""
    from test_laws import influence

    def leaking(x, kernel, padding):
        rows, (left, right) = padding
        return convolve(x, kernel, (rows, (left + right, 0)))

    model = GatedPixelCNN(image(3, 3, 1, 3), depth=2, features=4, first_kernel=3, head_features=8)
    monkeypatch.setattr(causal_conv, "convolve", leaking)
    _, variables = build(model)
    assert np.diag(influence(model, variables)).all()


@pytest.mark.usefixtures("x64")
def test_an_unshifted_first_layer_is_caught(monkeypatch):
    """PixelCNN++ without the shift right reads its own pixel."""
    from test_laws import influence

    model = PixelCNNPP(image(2, 4, 1, 3), features=4, resnets=1, resolutions=2, mixtures=2)
    monkeypatch.setattr(pixelwise, "shifted", lambda x, way, at: x)
    _, variables = build(model)
    assert np.diag(influence(model, variables)).all()


@pytest.mark.usefixtures("x64")
def test_a_leak_between_channels_is_caught(monkeypatch):
    """Mask A of a colour PixelCNN replaced by mask B: every sub-pixel reads itself."""
    from test_laws import influence

    model = PixelCNN(image(2, 2, 3, 3), depth=1, features=12, first_kernel=3, head_features=12)
    both = masked_conv.group_mask
    monkeypatch.setattr(
        masked_conv,
        "group_mask",
        lambda inputs, outputs, groups, strict: both(inputs, outputs, groups, False),
    )
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
        (PixelCNN(binary(8)), "model of images"),
        (PixelCNN(image(4, 4, 3), features=64), "divisible by the 3 channels"),
        (PixelCNN(image(4, 4), first_kernel=4), "odd first kernel"),
        (PixelCNNPP(binary(8)), "model of images"),
        (PixelCNNPP(image(30, 32, 3)), "sides that 4 divides, not 30x32"),
        (PixelCNNPP(image(32, 30, 3)), "sides that 4 divides, not 32x30"),
        (PixelCNNPP(image(4, 4), resolutions=0), "resolutions >= 1"),
        (PixelCNNPP(image(4, 4, 3), mixtures=None), "for one channel"),
        (PixelCNNPP(image(4, 4), mixtures=0), "at least one mixture"),
        (PixelSNAIL(binary(8)), "pixel_snail is a model of images"),
        (PixelSNAIL(image(4, 4, 3), mixtures=None), "for one channel"),
        (PixelSNAIL(image(4, 4), blocks=0), "needs blocks"),
        (PixelSNAIL(image(4, 4), dropout=1.0), "dropout in"),
        (FullTable(binary(30)), "does not fit"),
    ],
)
def test_impossible_sizes_are_refused(model, sentence):
    x = jnp.zeros((1, *model.event.shape), jnp.int32)
    with pytest.raises(InputError, match=sentence):
        jax.eval_shape(functional(model).init, jax.random.key(0), x)
