"""Receptive fields: what the parameters depend on is what `context` declares; the picture and its command."""

import base64
import json

import jax.numpy as jnp
import numpy as np
import pytest
from cases import build, random_events
from test_cli import call, own_cache, succeed  # noqa: F401

from gen_jax import GatedPixelCNN, PixelCNN, PixelCNNPP, image
from gen_jax.evaluate.receptive_field import by_changes, by_gradient, field, outline, picture
from gen_jax.experiment import Data, Evaluate, Experiment
from gen_jax.runs.workdir import WorkDir
from gen_jax.train.loop import train

SMALL = {"depth": 1, "features": 6, "first_kernel": 3, "head_features": 6}
FIELDS = {
    "pixel_cnn": PixelCNN(image(6, 8, 1, 3), **{**SMALL, "depth": 2}),
    "gated_pixel_cnn": GatedPixelCNN(image(6, 8, 3, 3), **{**SMALL, "depth": 3}),
    "pixel_cnn_pp": PixelCNNPP(
        image(6, 8, 1, 3), features=4, resnets=1, resolutions=2, mixtures=2, num_classes=2
    ),
}


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("name", FIELDS)
def test_the_receptive_field_is_the_declared_context(name):
    """By gradients and by changes, in pixels: all of it and nothing else, so PixelCNN's blind spot too."""
    model, place = FIELDS[name], (4, 2)
    _, variables = build(model)
    x = np.asarray(random_events(model, 6))
    classes = np.arange(6) % 2 if model.num_classes else None
    found = field(model, variables, place, x, classes, name)
    np.testing.assert_array_equal(found.strength > 0, found.declared)
    assert found.counts()["undeclared"] == 0
    changes = by_changes(model, variables, model.num_sites * 34 // 48, x, classes)
    np.testing.assert_array_equal(changes > 0, found.declared)
    blind = not found.declared[3, 5]
    assert blind == (name == "pixel_cnn")
    assert found.declared[3, 1]
    assert len(picture([found, found]).axes) == 3


def test_gradients_are_changes_where_the_model_is_linear():
    """A logistic regression's logit: |w_ij| a level, both ways, zero for what comes later."""

    class Linear(GatedPixelCNN):
        def __call__(self, x, cond=None, train=False):
            flat = x.reshape(x.shape[0], -1).astype(jnp.result_type(float))
            return (flat @ jnp.asarray(weights))[..., None]

    rng = np.random.default_rng(0)
    weights = np.triu(rng.normal(size=(6, 6)), 1).astype(np.float32)
    model = Linear(image(2, 3, 1, 2), **SMALL)
    x = rng.integers(0, 2, (4, 2, 3, 1))
    for measure in (by_gradient, by_changes):
        strength = measure(model, {}, 4, x, None)
        np.testing.assert_allclose(strength.ravel(), np.abs(weights[:, 4]), rtol=1e-5)


def test_the_outline_goes_round_a_pixel():
    mask = np.zeros((3, 4), bool)
    mask[1, 2] = True
    edges = {tuple(map(tuple, edge)) for edge in outline(mask)}
    corners = (1.5, 0.5), (2.5, 0.5), (1.5, 1.5), (2.5, 1.5)
    pairs = ((0, 1), (2, 3), (0, 2), (1, 3))
    assert edges == {(corners[i], corners[j]) for i, j in pairs}


def test_the_picture_of_two_models(run, data_dir, tmp_path):
    out, options = tmp_path / "field.png", ("--data-dir", data_dir, "--examples", 2)
    line = ("receptive-field", run, run, "--site", "4,4", "--out", out, *options)
    found = json.loads(succeed(*line, "--json"))
    assert [row["undeclared"] for row in found["models"]] == [0, 0]
    assert found["models"][0]["depends_on"] <= found["models"][0]["declared"] == 4
    assert out.read_bytes().startswith(base64.b64decode("iVBORw0KGgo="))
    assert "declares 4, 0 undeclared" in succeed(*line, "--noise")


@pytest.fixture(scope="module")
def run(data_dir, tmp_path_factory):
    """A model of digits trained for one step."""
    workdir = WorkDir(tmp_path_factory.mktemp("runs") / "run")
    model, few = GatedPixelCNN(image(8, 8, 1, 17), **SMALL), Evaluate(1, 360, 8)
    train(
        Experiment(model=model, data=Data("digits"), steps=1, batch_size=8, evaluate=few),
        workdir,
        data_dir,
    )
    return workdir.path


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{run} --site 4 --out {new}/x.png", "'4' is not ROW,COLUMN"),
        ("{run} --site=-1,2 --out {new}/x.png", "'-1,2' is not ROW,COLUMN"),
        ("{run} --site 8,0 --out {new}/x.png", "8,0 lies outside the 8x8 images"),
        ("{run} --site 1,1 --out {new}/x.npz", "ends in .png, not"),
        ("--site 1,1 --out {new}/x.png", "required: workdir"),
    ],
)
def test_a_bad_input_is_refused_in_one_line(run, data_dir, tmp_path, line, words):
    places = line.format(run=run, new=tmp_path)
    status, out, err = call("receptive-field", *places.split(), "--data-dir", data_dir)
    assert (status, out, len(err.splitlines())) == (2, "", 1), err
    assert words in err
    assert list(tmp_path.iterdir()) == []
