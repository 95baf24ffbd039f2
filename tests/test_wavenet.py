"""WaveNet's parts against loops and closed forms: mu-law, dilated convolutions, queues, local conditioning."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import all_events, build, conditions, random_events
from test_laws import influence

from gen_jax import InputError, WaveNet, functional, image, sound, tokens
from gen_jax.conditions import Condition
from gen_jax.density import num_parameters
from gen_jax.models.autoregressive import base, wavenet
from gen_jax.models.autoregressive.wavenet import DilatedConv
from gen_jax.ops import mu_law

pytestmark = pytest.mark.usefixtures("x64")
TINY = {"features": 4, "skip_features": 6}
SHAPES = [(2, 1), (2, 4), (3, 2), (2, 8), (3, 16)]  # taps and dilation, over 11 times


def normal(seed, *shape):
    return jax.random.normal(jax.random.key(seed), shape, jnp.float64)


def test_mu_law_is_the_published_law():
    """f(s) = sign(s) ln(1 + 255 |s|) / ln 256, floor((f + 1) / 2 255 + 1/2), by scalar arithmetic."""
    for s in (-1.0, -0.3, -1 / 32768, 0.0, 1e-4, 0.02, 0.5, 1.0):
        f = math.copysign(math.log(1 + 255 * abs(s)) / math.log(256), s)
        code = math.floor((f + 1) / 2 * 255 + 0.5)
        assert mu_law.compress(np.array([s])) == pytest.approx(f, abs=1e-15)
        assert mu_law.encode(np.array([s])) == code
    assert list(mu_law.encode(np.array([-1.0, 0.0, 1.0]))) == [0, 128, 255]


@pytest.mark.parametrize("levels", [2, 17, 256])
def test_mu_law_and_its_inverse(levels):
    """The law and its inverse undo each other, and every code is the nearest to its own amplitude."""
    s = np.linspace(-1, 1, 1001)
    np.testing.assert_allclose(mu_law.expand(mu_law.compress(s)), s, atol=1e-15)
    codes = np.arange(levels)
    amplitudes = mu_law.decode(codes, levels)
    np.testing.assert_array_equal(mu_law.encode(amplitudes, levels), codes)
    assert np.all(np.diff(amplitudes) > 0)
    assert (amplitudes[0], amplitudes[-1]) == pytest.approx((-1, 1))
    error = np.abs(
        mu_law.compress(mu_law.decode(mu_law.encode(s, levels), levels), levels - 1)
        - mu_law.compress(s, levels - 1)
    )
    assert error.max() <= 1 / (levels - 1) + 1e-12


@pytest.mark.parametrize(("taps", "dilation"), SHAPES)
def test_dilated_convolution_and_its_queue(taps, dilation):
    """y_t = sum_j K_j x_{t - (k-1-j) d} by loops, at once and step by step; a queue that is one too short differs."""
    x, kernel = normal(0, 2, 11, 3), normal(1, taps, 3, 5)
    expected = np.zeros((2, 11, 5))
    for t in range(11):
        for j in range(taps):
            if (s := t - (taps - 1 - j) * dilation) >= 0:
                expected[:, t] += np.asarray(x[:, s]) @ np.asarray(kernel[j])
    module = DilatedConv(5, taps, dilation)
    variables = {"params": {"kernel": kernel, "bias": jnp.zeros(5)}}
    np.testing.assert_allclose(module.apply(variables, x, None), expected, atol=1e-12)

    def stepped(queue):
        def body(cache, inputs):
            time, x = inputs
            y, new = module.apply({**variables, "cache": cache}, x, time, mutable=["cache"])
            return new["cache"], y

        inputs = (jnp.arange(11), jnp.swapaxes(x, 0, 1))
        return jnp.swapaxes(jax.lax.scan(body, {"queue": queue}, inputs)[1], 0, 1)

    queue = jnp.zeros(((taps - 1) * dilation + 1, 2, 3))
    np.testing.assert_allclose(stepped(queue), expected, atol=1e-12)
    if 1 < len(queue) < 11:
        assert np.abs(stepped(queue[1:]) - expected).max() > 0.1


@pytest.mark.parametrize(("kernel", "depth", "cycles", "R"), [(2, 10, 3, 3071), (3, 2, 2, 15)])
def test_the_receptive_field(kernel, depth, cycles, R):
    """k for the first layer, (k - 1) d for each other: three cycles to 512 reach 3,071 samples back."""
    model = WaveNet(sound(8000), kernel=kernel, depth=depth, cycles=cycles)
    assert model.receptive_field == R
    assert np.array_equal(np.flatnonzero(model.context(7000)), np.arange(7000 - R, 7000))


def test_a_sample_that_sees_itself_is_caught(monkeypatch):
    """Without the shift of the first layer the influence reaches the diagonal, which the law forbids."""
    model = WaveNet(sound(6, 3), cycles=1, depth=1, **TINY)
    _, variables = build(model)
    assert not np.triu(influence(model, variables)).any()
    monkeypatch.setattr(wavenet, "shifted", lambda x, time: x)
    assert np.diagonal(influence(model, variables)).all()


def local_case(seed=0, n=3):
    """A model of 11 samples under three frames of four samples, the last one cut short."""
    model = WaveNet(sound(11, 3), local=2, hop=4, cycles=1, depth=2, **TINY)
    cond = normal(seed, n, 3, 2)
    shapes = jax.eval_shape(
        functional(model).init, jax.random.key(0), jnp.zeros((n, 11), int), cond
    )
    rng = np.random.default_rng(seed)
    variables = jax.tree.map(
        lambda leaf: jnp.asarray(0.4 * rng.normal(size=leaf.shape)), dict(shapes)
    )
    return model, variables, cond


def test_local_conditioning_steps_and_samples_like_the_parallel_pass():
    model, variables, cond = local_case()
    x = random_events(model, 3)
    parallel = model.apply(variables, x, cond)
    stepped = jax.jit(functools.partial(base.stepped_params, model))(variables, x, cond)
    np.testing.assert_allclose(stepped, parallel, rtol=1e-12, atol=1e-12)
    draws = [
        jax.jit(functools.partial(draw, model), static_argnums=2)(
            variables, jax.random.key(1), 3, cond
        )
        for draw in (base.ancestral, base.naive)
    ]
    np.testing.assert_array_equal(*draws)


def test_local_conditioning_normalises_and_moves_what_follows():
    """A frame moves its own samples and those that the layers after the first gate carry it to, none before it."""
    model, variables, cond = local_case(n=1)
    x = random_events(model, 1)
    apply = jax.jit(model.apply)
    before = apply(variables, x, cond)
    reach = model.receptive_field - model.kernel - 1  # less the first layer and the first dilation
    for frame in range(3):
        moved = np.any(apply(variables, x, cond.at[:, frame].add(1.0)) != before, axis=(0, 2))
        times = np.arange(11)
        np.testing.assert_array_equal(
            moved, (times >= 4 * frame) & (times < 4 * (frame + 1) + reach)
        )
    small = WaveNet(sound(4, 3), local=2, hop=4, cycles=1, depth=2, **TINY)
    events = all_events(small)
    given = jnp.broadcast_to(cond[:, :1], (len(events), 1, 2))
    log_prob = functional(small).log_prob(variables, events, cond=given)
    np.testing.assert_allclose(np.exp(log_prob).sum(), 1.0, atol=1e-10)


def count(model):
    x = jnp.zeros((2, *model.event.shape), jnp.int32)
    init = functional(model).init
    return num_parameters(model, jax.eval_shape(init, jax.random.key(0), x, conditions(model, 2)))


def test_parameter_count():
    """By hand: two taps, each layer's gates and outputs, one residual fewer than layers, the head."""
    F, S, k, layers = 32, 512, 2, 50
    first = k * 256 * F + F
    layer = k * F * 2 * F + 2 * F + F * S + S + F * F + F
    head = S * S + S + S * 256 + 256
    model = WaveNet(sound(16_000), cycles=5, depth=10, features=F, skip_features=S)
    assert count(model) == first + layers * layer - (F * F + F) + head == 1_514_944


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        (WaveNet(image(2, 2, 1, 3)), "wavenet is a model of sequences (L,), not of (2, 2, 1)"),
        (WaveNet(sound(4), kernel=1), "wavenet needs a kernel of at least 2"),
        (
            WaveNet(sound(4), codes=(tokens(3, 2),)),
            "where T divides 4, not Event(shape=(3,), levels=2)",
        ),
        (WaveNet(sound(4), depth=0), "depth"),
    ],
)
def test_refusals(model, sentence):
    with pytest.raises(InputError) as refusal:
        count(model)
    assert sentence in str(refusal.value)


def test_all_that_it_is_given_is_asked_for():
    model = WaveNet(sound(5, 3), num_classes=2, local=2, hop=4, codes=(tokens(5, 4),), **TINY)
    x, label = jnp.zeros((2, 5), jnp.int32), jnp.zeros(2, jnp.int32)
    frames, codes = jnp.zeros((2, 2, 2)), jnp.zeros((2, 5), jnp.int32)
    for cond, sentence in (
        (None, "has 2 classes and needs one for each example, not nothing"),
        (label, "takes a class and 2 other conditions: give them as a Condition"),
        (Condition(label), "needs a condition of shape (2, 2) and (5,) for each example"),
        (Condition(label, (frames,)), "takes 2 conditions besides a class, not 1"),
        (Condition(label, (frames, codes + 4)), "levels from 0 to 3"),
        (Condition(label, (codes, frames)), "conditions have shape (5,)"),
        (Condition(None, (frames, codes)), "has 2 classes and needs one"),
    ):
        with pytest.raises(InputError) as refusal:
            functional(model).init(jax.random.key(0), x, cond)
        assert sentence in str(refusal.value)
    plain = WaveNet(sound(5, 3), codes=(tokens(5, 4),), **TINY)
    with pytest.raises(InputError, match="has no classes: it takes no label"):
        functional(plain).init(jax.random.key(0), x, Condition(label, (codes,)))
