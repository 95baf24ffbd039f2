"""Checks of inputs: values outside a model's event are refused, or give NaN inside `jit`."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import CASES, build, conditions, random_events
from test_bounds import BOUNDS, DENSE
from test_ddpm import MODELS as DIFFUSIONS
from test_flows import PAIR, PLANE
from test_flows import build as build_flow
from test_gan import IMAGES
from test_vq_vae import COLOUR, MODELS, random_variables

from gen_jax import (
    Autoencoder,
    GatedPixelCNN,
    InputError,
    PixelCNNPP,
    WaveNet,
    binary,
    functional,
    image,
    sound,
)
from gen_jax.inputs import GREATEST_TEMPERATURE, LEAST_TEMPERATURE

KEY = jax.random.key(0)
GATED = CASES["gated_pixel_cnn"].model
CONDITIONAL = CASES["gated_pixel_cnn_conditional"].model
VECTOR = GatedPixelCNN(
    image(2, 2, 1, 3), vector=2, depth=1, features=4, first_kernel=3, head_features=4
)
FRAMES = WaveNet(sound(5, 3), local=2, hop=4, cycles=1, depth=1, features=4, skip_features=4)
INTEGERS = {name: case.model for name, case in CASES.items() if not case.option} | {
    "vae": BOUNDS["vae"],
    "pixel_vae": BOUNDS["pixel_vae"],
    "image_flow": PAIR,
    "diffusion": DIFFUSIONS["beta"],
    "vq_vae": COLOUR,
    "vq_vae_prior": MODELS["classes"],
}
REALS = {"flow": PLANE}
SOME = ("independent", "made", "vae", "image_flow", "flow", "vq_vae_prior")  # the door is one
every_model = pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[] if name in SOME else pytest.mark.slow)
        for name in (*INTEGERS, *REALS)
    ],
)


@functools.cache
def built(name):
    model = INTEGERS.get(name) or REALS[name]
    if name in ("image_flow", "flow"):
        return build_flow(model)
    return random_variables(model) if name.startswith("vq") else build(model)


def events(model, n=3):
    if model.event.levels is None:
        return np.random.default_rng(0).normal(size=(n, *model.event.shape)).astype(np.float32)
    return np.array(random_events(model, n))


def asked(pure, variables, x, cond):
    """log_prob and loss as one function of the arguments that are traced inside `jit`."""
    both = jax.jit(
        lambda x, cond: (
            pure.log_prob(variables, x, KEY, cond=cond),
            pure.loss(variables, x, KEY, cond=cond),
        )
    )
    log_prob, (loss, (metrics, _)) = both(x, cond)
    return np.asarray(log_prob), float(loss), metrics


@every_model
def test_values_of_no_event(name):
    """Known values raise; inside `jit` their rows and the loss are NaN, and other rows are unchanged."""
    pure, variables = built(name)
    model = pure.model
    x, cond = events(model), conditions(model, 3)
    if model.event.levels is None:
        wrong, words = [np.nan, np.inf], "not finite"
    else:
        wrong, words = [-1, model.event.levels], "levels from 0 to"
    sound, loss, metrics = asked(pure, variables, x, cond)
    assert np.all(np.isfinite(sound))
    assert np.isfinite(loss)
    for value in wrong:
        bad = x.copy()
        bad.reshape(3, -1)[1, -1] = value
        with pytest.raises(InputError, match=words):
            pure.log_prob(variables, bad, KEY, cond=cond)
        with pytest.raises(InputError, match=words):
            pure.loss(variables, bad, KEY, cond=cond)
        with pytest.raises(InputError, match=words):
            pure.init(KEY, bad, cond=cond)
        found, loss, metrics = asked(pure, variables, bad, cond)
        assert np.isnan([found[1], loss]).all()
        assert all(np.isnan(metric) for metric in metrics.values() if metric.dtype != int)
        np.testing.assert_array_equal(found[[0, 2]], sound[[0, 2]])


@every_model
def test_no_examples_have_no_numbers(name):
    pure, variables = built(name)
    none = events(pure.model, 0)
    log_prob = pure.log_prob(variables, none, KEY, cond=conditions(pure.model, 0))
    assert (log_prob.shape, log_prob.dtype) == ((0,), jnp.float32)
    drawn = pure.sample(variables, KEY, 0, cond=conditions(pure.model, 0))
    assert drawn.shape == none.shape
    assert np.issubdtype(drawn.dtype, none.dtype.type)
    with pytest.raises(InputError, match="examples of a loss is a whole number of at least 1"):
        pure.loss(variables, none, KEY, cond=conditions(pure.model, 0))


@pytest.mark.parametrize(
    "model", [GATED, PLANE, BOUNDS["vae"], IMAGES, Autoencoder(binary(4), **DENSE)]
)
def test_other_shapes_and_types(model):
    """Tracing fails with one sentence, whatever the model does with x."""
    pure, x = functional(model), events(model, 2)
    shapes = jax.eval_shape(pure.init, KEY, x)

    def refused(x, words):
        for given in (x, jnp.asarray(x)):
            with pytest.raises(InputError, match=words):
                jax.eval_shape(lambda v, x: pure.loss(v, x, KEY), shapes, given)
            with pytest.raises(InputError, match=words):
                jax.eval_shape(pure.init, KEY, given)

    refused(x[0], "no axis for the batch")
    refused(x[:, :1].repeat(5, axis=1), "the model is of shape")
    refused(x.astype(complex), "complex.*, the model is of")
    if model.event.levels is not None:
        refused(x.astype(np.float32), "examples are float32, the model is of integers 0..")


def test_booleans_and_whole_numbers_count():
    for model, like in ((BOUNDS["vae"], bool), (PLANE, np.int8)):
        pure, variables = build_flow(model) if model is PLANE else build(model)
        x = events(model).round()
        found = pure.log_prob(variables, x.astype(like), KEY)
        np.testing.assert_allclose(found, pure.log_prob(variables, x, KEY), rtol=1e-6)


def test_values_that_a_narrow_type_would_wrap():
    """2^32 would become 0 as an int32: values are checked before the cast."""
    pure, variables = build(GATED)
    with pytest.raises(InputError, match="values run from 4294967296"):
        pure.log_prob(variables, np.full((1, *GATED.event.shape), 2**32))


@pytest.mark.parametrize(
    ("cond", "words"),
    [
        (None, "GatedPixelCNN has 3 classes and needs one for each example"),
        ([0, 1, 3], "classes run from 0 to 3, the model's from 0 to 2"),
        ([0, -1, 99], "classes run from -1 to 99"),
        ([1.7, 0.2, 1.0], "classes are float64, the model's are integers"),
        ([0, 1], r"cond has shape \(2,\): there is to be one class for each of 3 examples"),
        ([[0], [1], [2]], r"cond has shape \(3, 1\)"),
        (1, r"cond has shape \(\)"),
        ([0, 1, 2, 0], r"cond has shape \(4,\)"),
    ],
)
def test_classes_that_the_model_has_not(cond, words):
    """Every verb refuses them."""
    pure, variables = build(CONDITIONAL)
    x, cond = events(CONDITIONAL), None if cond is None else np.array(cond)
    for verb in (
        lambda: pure.log_prob(variables, x, cond=cond),
        lambda: pure.loss(variables, x, KEY, cond=cond),
        lambda: pure.init(KEY, x, cond=cond),
        lambda: pure.sample(variables, KEY, 3, cond=cond),
    ):
        with pytest.raises(InputError, match=words):
            verb()


@pytest.mark.parametrize(
    "name",
    [
        "gated_pixel_cnn_conditional",
        pytest.param("wavenet_mixture_conditional", marks=pytest.mark.slow),
        pytest.param("vq_vae_prior", marks=pytest.mark.slow),
    ],
)
def test_unknown_classes_out_of_range(name):
    """Inside `jit` they give NaN, and samples of -1; rows with valid classes are unchanged."""
    pure, variables = built(name)
    model, x = pure.model, events(pure.model)
    draw = jax.jit(pure.sample, static_argnums=2)
    good, bad = np.array([0, 1, 2]), np.array([0, model.num_classes, 2])
    expected, (found, loss, _) = asked(pure, variables, x, good)[0], asked(pure, variables, x, bad)
    assert np.isnan([found[1], loss]).all()
    np.testing.assert_array_equal(found[[0, 2]], expected[[0, 2]])
    drawn, other = (np.asarray(draw(variables, KEY, 3, cond)) for cond in (bad, good))
    assert np.all(drawn[1] == -1)
    np.testing.assert_array_equal(drawn[[0, 2]], other[[0, 2]])
    one_hot = np.array([False, True, True])
    np.testing.assert_array_equal(
        pure.log_prob(variables, x, cond=one_hot),
        pure.log_prob(variables, x, cond=np.array([0, 1, 1])),
    )


def test_conditions_that_are_no_classes():
    """A vector, frames of features, codes: events that the model names; one that takes none refuses any."""
    given = COLOUR.stages(random_variables(COLOUR)[1])[1].model
    cases = {
        VECTOR: (np.zeros((2, 3)), np.full((2, 2), np.nan), np.zeros(2)),
        FRAMES: (np.zeros((2, 5, 2)), np.full((2, 2, 2), np.inf), None),
        given: (np.zeros((2, 2, 2, 3), int), np.full((2, *COLOUR.code_event.shape), 5), None),
        GATED: (np.zeros(2, int),),
        BOUNDS["vae"]: (np.zeros(2, int),),
    }
    for model, wrong in cases.items():
        pure = functional(model)
        for cond in wrong:
            with pytest.raises(InputError, match=r"condition|cond has|levels from 0 to 4"):
                pure.sample({}, KEY, 2, cond=cond)


def test_temperatures():
    """A temperature is 0 (the mode) or a positive normal float32; others raise, or inside `jit` give samples of -1."""
    pure, variables = build(CASES["pixel_cnn"].model)
    draw = jax.jit(pure.sample, static_argnums=2)
    for wrong in (-1.0, 1e-39, 1e-300, 1e300, np.nan, np.inf, np.ones(2)):
        with pytest.raises(InputError, match="a temperature is"):
            pure.sample(variables, KEY, 2, temperature=wrong)
        if np.ndim(wrong) == 0 and wrong not in (1e-39, 1e-300):  # 0 in float32
            assert np.all(np.asarray(draw(variables, KEY, 2, None, wrong)) == -1)
    modes = [
        np.asarray(sample(variables, KEY, 2, None, temperature))
        for sample in (pure.sample, draw)
        for temperature in (0.0, LEAST_TEMPERATURE, 1e-6)
    ]
    for mode in modes:
        np.testing.assert_array_equal(mode, np.repeat(modes[0][:1], 2, axis=0))
    assert modes[0].max() > 0
    hot = np.asarray(draw(variables, KEY, 200, None, GREATEST_TEMPERATURE))
    assert abs(hot.mean() - 0.5) < 0.05


def test_numbers_of_draws():
    pure, variables = built("vae")
    with pytest.raises(InputError, match="the number of samples is a whole number of at least 0"):
        pure.sample(variables, KEY, -1)
    with pytest.raises(InputError, match="the number of draws is a whole number of at least 1"):
        pure.log_prob(variables, events(pure.model), KEY, draws=0)


def test_levels_that_a_type_cannot_leave_cost_nothing():
    """Bytes of 256 levels: the program has no check."""
    model = PixelCNNPP(image(2, 2), features=4, resnets=1, resolutions=1, mixtures=2)
    pure = functional(model)
    x = jnp.zeros((2, 2, 2, 1), jnp.uint8)
    shapes = jax.eval_shape(pure.init, KEY, x)
    text = str(jax.make_jaxpr(pure.log_prob)(shapes, x))
    assert "nan" not in text
    assert "nan" in str(jax.make_jaxpr(pure.log_prob)(shapes, x.astype(jnp.int32)))
