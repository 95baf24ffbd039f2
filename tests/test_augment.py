"""Random changes of training examples: what they do, in which key, and that evaluation never sees them."""

import dataclasses
import json

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gen_jax import NADE, Adam, Flip, GatedPixelCNN, InputError, RealNVP, Translation, fit, image
from gen_jax.config_tree import to_tree
from gen_jax.data.prepared import ARRAYS, Split
from gen_jax.density import fold_in, functional
from gen_jax.experiment import Experiment, read
from gen_jax.ops.augment import augmented, phrase
from gen_jax.runs.results import protocol
from gen_jax.runs.summary import trained
from gen_jax.train.program import Program
from gen_jax.train.step import train_step
from gen_jax.typing import tokens

KEY = jax.random.key(0)
BOTH = (Flip(), Translation(1))
MODEL = NADE(image(3, 4, levels=2), hidden=3)


def images(n, height=3, width=4, levels=9, seed=0):
    return np.random.default_rng(seed).integers(0, levels, (n, height, width, 2), np.uint8)


def experiment(**changes):
    options = {"model": MODEL, "data": ARRAYS, "steps": 4, "batch_size": 8}
    return Experiment(**{**options, "optimizer": Adam(1e-2), "augment": BOTH, **changes})


def test_flips_are_drawn_for_each_image():
    x = images(400)
    y = np.asarray(Flip()(jnp.asarray(x), KEY))
    assert y.dtype == x.dtype
    mirrored = np.all(y == x[:, :, ::-1], axis=(1, 2, 3))
    assert np.all(mirrored | np.all(y == x, axis=(1, 2, 3)))
    assert abs(mirrored.sum() - 200) < 4.5 * 10


@pytest.mark.parametrize(("padding", "mode"), [("edge", "edge"), ("zero", "constant")])
def test_translations_are_shifts_of_a_padded_image(padding, mode):
    """Each image is the window of its padded copy at one place of 5 x 5, and all places occur about alike."""
    x = 1 + images(1000, 5, 7)
    y = np.asarray(Translation(2, padding)(jnp.asarray(x), KEY))
    wide = np.pad(x, ((0, 0), (2, 2), (2, 2), (0, 0)), mode)
    windows = np.stack([wide[:, i : i + 5, j : j + 7] for i in range(5) for j in range(5)])
    same = np.all(windows == y, axis=(2, 3, 4))
    assert np.all(same.sum(axis=0) == 1)
    assert np.all(np.abs(same.sum(axis=1) - 40) < 4.5 * np.sqrt(40))


def test_a_step_trains_on_the_changed_batch():
    """Bit for bit the step on the batch that the key of the step and "augment" give."""
    program = Program(experiment(), split())
    state, step = program.create(), program.experiment
    x = program.batches.batch(0)["x"]
    options = {"model": program.model, "optimizer": step.transformation(), "ema": step.ema}

    def after(x, **augment):
        run = jax.jit(lambda s, b: train_step(s, b, key=program.key, **options, **augment))
        return run(state, {"x": jnp.asarray(x), "cond": None})[0].params

    key = fold_in(fold_in(fold_in(program.key, "loss"), 0), "augment")
    changed = augmented(jnp.asarray(x), key, BOTH)
    assert np.mean(np.any(changed != x, axis=(1, 2, 3))) > 0.5
    chex.assert_trees_all_equal(after(x, augment=BOTH), after(changed))
    plain, moved = jax.tree.leaves(after(x)), jax.tree.leaves(after(changed))
    assert any(np.any(a != b) for a, b in zip(plain, moved, strict=True))


def split():
    x = np.random.default_rng(0).integers(0, 2, (20, *MODEL.event.shape), np.uint8)
    return Split("arrays", "1", "train", x, None, MODEL.event, 0)


def test_a_resumed_training_draws_the_same():
    """Two and two steps are four steps, and each step draws anew."""
    program = Program(experiment(), split())
    whole, _ = program.steps(program.create(), 0, 4)
    parts, _ = program.steps(program.create(), 0, 2)
    parts, _ = program.steps(parts, 2, 2)
    chex.assert_trees_all_equal(whole, parts)
    x = jnp.asarray(split().x)
    first, second = (augmented(x, fold_in(KEY, step), BOTH) for step in (0, 1))
    assert np.any(first != second)


def test_initialisation_and_evaluation_see_the_examples_as_they_are():
    x = split().x
    options = {"steps": 1, "batch_size": 8, "optimizer": Adam(0.0)}
    plain, changed = (fit(MODEL, x, augment=augment, **options) for augment in ((), BOTH))
    np.testing.assert_array_equal(plain.log_prob(x), changed.log_prob(x))
    pure = functional(MODEL)
    expected = pure.log_prob(changed.variables, jnp.asarray(x))
    np.testing.assert_allclose(changed.log_prob(x), expected, rtol=1e-6)


def test_it_is_part_of_the_config_and_of_results():
    """A record from before there was the field has no augmentation."""
    changed, plain = experiment(), experiment(augment=())
    tree = to_tree(changed)
    assert read(json.loads(json.dumps(tree))) == changed
    del tree["fields"]["augment"]
    assert read(tree) == plain == dataclasses.replace(changed, augment=())
    words = "flips and translations of up to 1 pixel (edge padding)"
    assert phrase(BOTH) == words
    assert phrase(()) is None
    assert f"; trained with {words}" in protocol(changed, 1)
    assert "trained with" not in protocol(plain, 1)
    assert trained({"augment": "flips"}) == ", trained with flips"
    assert trained({"augment": None}) == trained({}) == ""


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"model": NADE(tokens(6, 3))}, r"not events \(6,\) of integers"),
        ({"model": RealNVP()}, r"not events \(2,\) of reals"),
        ({"augment": (Translation(3),)}, "moves by 1 to 2 pixels in 3x4, not by 3"),
        ({"augment": (Translation(0),)}, "not by 0"),
        (
            {"model": GatedPixelCNN(image(4, 4), maps=(image(2, 2),))},
            "not the values that the model is given",
        ),
    ],
)
def test_what_has_no_sides_is_refused(changes, sentence):
    with pytest.raises(InputError, match=sentence):
        experiment(**changes)
