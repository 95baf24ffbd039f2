"""Exported models: the same numbers as their work directory, refusals, no training on them."""

import json
import shutil

import chex
import jax
import numpy as np
import pytest
import safetensors.numpy
from test_cli import own_cache, succeed  # noqa: F401  a fixture that applies by itself

import gen_jax
from gen_jax import InputError, image
from gen_jax.evaluate import draw
from gen_jax.experiment import Data, Evaluate, Experiment
from gen_jax.models.autoregressive.gated_pixel_cnn import GatedPixelCNN
from gen_jax.runs import weights
from gen_jax.runs.run import load_run
from gen_jax.runs.workdir import WorkDir
from gen_jax.train.loop import train

MODEL = GatedPixelCNN(
    image(8, 8, 1, 17), depth=1, features=4, first_kernel=3, head_features=4, num_classes=10
)
EXPERIMENT = Experiment(
    model=MODEL, data=Data("digits"), steps=2, batch_size=8, evaluate=Evaluate(2, 360)
)


@pytest.fixture(scope="module")
def exported(data_dir, tmp_path_factory):
    root = tmp_path_factory.mktemp("exported")
    workdir = WorkDir(root / "run")
    train(EXPERIMENT, workdir, data_dir)
    run = load_run(workdir.path)
    size = weights.export(run.workdir, run.variables, run.step, root / "model")
    assert size == (root / "model" / "weights.npz").stat().st_size
    return run, root / "model"


def test_the_exported_model_draws_the_same(exported):
    run, folder = exported
    again = load_run(folder)
    assert again.step == run.step == 2
    assert again.experiment == run.experiment
    np.testing.assert_array_equal(draw.sample(again, 12, seed=3), draw.sample(run, 12, seed=3))


def test_arrays_lie_under_their_paths(exported):
    run, folder = exported
    with np.load(folder / "weights.npz") as archive:
        kernel = archive["params/logits/kernel"]
    np.testing.assert_array_equal(kernel, run.variables["params"]["logits"]["kernel"])


def test_training_on_it_is_refused(exported, data_dir):
    with pytest.raises(InputError, match="exported model, whose training cannot continue"):
        train(EXPERIMENT, WorkDir(exported[1]), data_dir)


def test_an_existing_folder_is_kept(exported):
    run, folder = exported
    with pytest.raises(InputError, match="exists; export to a new folder"):
        weights.export(run.workdir, run.variables, run.step, folder)


@pytest.mark.parametrize("form", ["npz", "safetensors"])
def test_damage_never_gives_other_weights(exported, tmp_path, form):
    """A flipped bit anywhere, or a cut: refused, or in a byte that nothing reads."""
    run, like = exported[0], {**exported[0].variables, "scale": np.float32(2)}  # has no axes
    weights.export(run.workdir, like, run.step, tmp_path / "model", form=form)
    path = tmp_path / "model" / f"weights.{form}"
    chex.assert_trees_all_equal(weights.load(path, like)[1], jax.device_get(like))
    whole, refused = path.read_bytes(), 0
    places = np.linspace(0, len(whole) - 1, 60).astype(int)
    flipped = [whole[:i] + bytes([whole[i] ^ 4]) + whole[i + 1 :] for i in places]
    for content in (*flipped, whole[: len(whole) // 2], b""):
        path.write_bytes(content)
        try:
            step, found = weights.load(path, like)
        except InputError as error:
            refused += path.name in str(error)
        else:
            assert step == run.step
            chex.assert_trees_all_equal(found, jax.device_get(like))
    assert refused > 30


def test_safetensors_are_read_by_others_and_by_us(exported, tmp_path, data_dir):
    """The same weights; arrays of other types or shapes are refused before they are read."""
    run, folder = exported[0], tmp_path / "model"
    succeed("export", run.workdir.path, "--out", folder, "--format", "safetensors")
    assert not (folder / "weights.npz").exists()
    arrays = safetensors.numpy.load_file(folder / "weights.safetensors")
    kernel = run.variables["params"]["logits"]["kernel"]
    np.testing.assert_array_equal(arrays["params/logits/kernel"], kernel)
    again = gen_jax.load(folder)
    assert again.step == run.step
    chex.assert_trees_all_equal(dict(again.variables), run.variables)
    with pytest.raises(InputError, match="exported model, whose training cannot continue"):
        train(EXPERIMENT, WorkDir(folder), data_dir)
    again.save(tmp_path / "npz")
    assert (tmp_path / "npz" / "weights.npz").exists()
    safetensors.numpy.save_file(
        arrays | {"more": np.asarray(kernel)}, folder / "weights.safetensors"
    )
    with pytest.raises(InputError, match="weights of another model"):
        gen_jax.load(folder)
    safetensors.numpy.save_file(arrays, folder / "weights.safetensors")
    with pytest.raises(InputError, match=r"weights\.safetensors cannot be read: 'step'"):
        gen_jax.load(folder)


def test_weights_of_another_model_are_refused(exported, tmp_path):
    folder = shutil.copytree(exported[1], tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    config["experiment"]["fields"]["model"]["fields"]["features"] = 8
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="weights of another model"):
        load_run(folder)


@pytest.mark.parametrize("change", ["name", "shape", "type"])
def test_weights_are_compared_before_they_are_read(exported, tmp_path, monkeypatch, change):
    """By their headers: what is of another model could be of any size."""
    with np.load(exported[1] / "weights.npz") as archive:
        arrays = dict(archive)
    name = next(key for key in arrays if key.endswith("kernel"))
    zeros = arrays.pop(name)
    if change == "name":
        arrays["another"] = zeros
    elif change == "shape":
        arrays[name] = np.zeros((1000, *zeros.shape), zeros.dtype)
    else:
        arrays[name] = zeros.astype("timedelta64[s]")
    np.savez_compressed(tmp_path / "weights.npz", **arrays)
    monkeypatch.setattr(np.lib.format, "read_array", None)  # nothing may call it
    with pytest.raises(InputError, match="the weights of another model than the config"):
        weights.load(tmp_path / "weights.npz", exported[0].variables)
