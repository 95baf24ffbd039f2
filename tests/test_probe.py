"""Linear probes: features of each block, accuracy on unseen examples, the command, its file, its page."""

import json

import numpy as np
import pytest
from cases import SMALL, build, random_events
from flax.traverse_util import flatten_dict, unflatten_dict
from test_cli import call, own_cache, succeed  # noqa: F401  a fixture that applies by itself

from gen_jax import (
    LSTM,
    GatedPixelCNN,
    Independent,
    PixelCNNPP,
    WaveNet,
    image,
    sound,
    tokens,
)
from gen_jax.data import prepared
from gen_jax.evaluate import probe
from gen_jax.experiment import Data, Evaluate, Experiment
from gen_jax.nn.blocks import Featured
from gen_jax.optimizer import Adam
from gen_jax.runs.workdir import WorkDir
from gen_jax.train import loop

DEEP = GatedPixelCNN(image(3, 4, 1, 3), features=4, **{**SMALL, "depth": 3})


def features(model, variables, x):
    assert isinstance(model, Featured)
    return model.apply(variables, x, method="block_features")


def test_a_block_is_the_last_of_the_network_that_ends_with_it():
    """And the mean over all places: of an image that is turned around, the last block's features differ."""
    _, variables = build(DEEP)
    x = random_events(DEEP, 5)
    found = features(DEEP, variables, x)
    assert [h.shape for h in found] == [(5, 4)] * 3
    for depth in (1, 2):
        shorter = features(DEEP.clone(depth=depth), variables, x)
        assert len(shorter) == depth
        np.testing.assert_array_equal(shorter[-1], found[depth - 1])
    assert np.abs(found[2] - features(DEEP, variables, x[:, ::-1])[2]).max() > 1e-3


def test_blocks_of_several_resolutions_are_in_the_order_in_which_they_run():
    """A change of a block's bias changes this block's features and all later ones, none before."""
    model = PixelCNNPP(image(4, 4, 1, 3), features=4, resnets=1, resolutions=2, mixtures=None)
    _, variables = build(model)
    x = random_events(model, 3)
    before = features(model, variables, x)
    blocks = ("down_0", "coarser/down_0", "coarser/up_0", "up_0", "up_1")
    assert len(before) == len(blocks)
    for number, block in enumerate(blocks):
        params = flatten_dict(variables["params"], sep="/")
        params[f"finest/{block}/v/second/bias"] += 0.1
        after = features(model, {"params": unflatten_dict(params, sep="/")}, x)
        changed = [bool(np.any(a != b)) for a, b in zip(after, before, strict=True)]
        assert changed == [i >= number for i in range(len(blocks))]


@pytest.mark.parametrize(
    "model",
    [
        LSTM(tokens(6, 4), features=5, depth=2, carry=True),
        WaveNet(sound(6, 4), cycles=1, depth=2, features=5, skip_features=3),
    ],
    ids=["lstm", "wavenet"],
)
def test_features_are_an_examples_own(model):
    """Other examples of the batch change nothing, and a changed first value does."""
    _, variables = build(model)
    x = random_events(model, 4)
    found = features(model, variables, x)
    assert [h.shape for h in found] == [(4, 5)] * 2
    for h, alone in zip(found, features(model, variables, x[1:2]), strict=True):
        np.testing.assert_allclose(alone[0], h[1], rtol=1e-5, atol=1e-6)
    changed = features(model, variables, x.at[1, 0].set((x[1, 0] + 1) % 4))
    for h, other in zip(found, changed, strict=True):
        assert np.abs(h[1] - other[1]).max() > 1e-4
        np.testing.assert_array_equal(h[0], other[0])


def split(rng, count, size, signal):
    labels = rng.integers(0, 2, count)
    x = rng.normal(size=(count, size))
    x[:, 0] += signal * (2 * labels - 1)
    return 5 + 1e-3 * x, labels


def test_the_accuracy_is_of_unseen_examples():
    """Of Gaussians 2 s apart that of the best rule, Phi(s), within its error; of noise a half, whatever fits train."""
    rng = np.random.default_rng(0)
    known = probe.Examples(*(split(rng, count, 3, 1.5) for count in (2000, 1000, 2000)))
    found = probe.probe(known)
    best = 0.9332  # Phi(1.5)
    assert abs(found["accuracy"] - best) < 3 * found["stderr"]
    np.testing.assert_allclose(found["stderr"], (best * (1 - best) / 2000) ** 0.5, rtol=0.1)
    noise = probe.Examples(*(split(rng, count, 60, 0.0) for count in (40, 200, 400)))
    found = probe.probe(noise)
    assert abs(found["accuracy"] - 0.5) < 3.5 * found["stderr"]


def test_the_penalty_is_chosen_on_validation():
    """One feature tells little or all, the others nothing; of few examples a mild penalty fits the others too."""
    rng = np.random.default_rng(1)
    both = []
    for signal in (0.8, 6.0):
        splits = (split(rng, count, 50, signal) for count in (60, 4000, 4000))
        both.append(probe.probe(probe.Examples(*splits)))
    assert both[0]["C"] < both[1]["C"]
    assert both[1]["accuracy"] > 0.9


@pytest.fixture(scope="module")
def run(data_dir, tmp_path_factory):
    return trained(
        tmp_path_factory, data_dir, GatedPixelCNN(image(8, 8, 1, 17), features=4, **SMALL)
    )


def trained(tmp_path_factory, data_dir, model, name="digits"):
    path = tmp_path_factory.mktemp("runs") / "run"
    experiment = Experiment(
        model=model, data=Data(name), optimizer=Adam(1e-2), steps=2, batch_size=8,
        evaluate=Evaluate(every=2, batch_size=360),
    )  # fmt: skip
    loop.train(experiment, WorkDir(path), data_dir)
    return path


def test_the_command_its_file_and_its_page(run, data_dir, tmp_path):
    where = ("--data-dir", data_dir)
    found = json.loads(succeed("probe", run, *where, "--json"))
    assert found == json.loads((run / "probe.json").read_text())
    assert [row["block"] for row in found["blocks"]] == [1, 2]
    assert (found["num_examples"], found["training_examples"], found["classes"]) == (359, 1079, 10)
    assert (found["values"]["features"], found["blocks"][0]["features"]) == (64, 4)
    assert 0.93 < found["values"]["accuracy"] < 1
    assert all(0.15 < row["accuracy"] < found["values"]["accuracy"] for row in found["blocks"])
    alone = json.loads(succeed("probe", run, *where, "--block", 2, "--json"))
    assert alone["blocks"] == found["blocks"][1:]
    said = succeed("probe", run, *where, "--block", 1, "--limit", 100).splitlines()
    assert "100 training examples" in said[0]
    assert said[2].startswith("block 1 ")
    succeed("report", run, "--out", tmp_path / "a.html", *where)
    page = (tmp_path / "a.html").read_text()
    assert "Linear probe" in page
    assert "digits test, 359 examples" in page
    best, share = max((row["accuracy"], -row["block"]) for row in found["blocks"]), "with {:.2f} ±"
    assert f"The best is block {-best[1]} {share.format(100 * best[0])}" in page
    assert f"the values themselves give {100 * found['values']['accuracy']:.2f} ±" in page
    (run / "probe.json").write_text(json.dumps({**found, "weights": "others"}))
    succeed("report", run, "--out", tmp_path / "a.html", *where)
    assert "The probe belongs to other weights" in (tmp_path / "a.html").read_text()
    del found["blocks"][0]["stderr"]
    (run / "probe.json").write_text(json.dumps(found))
    status, _, error = call("report", run, "--out", tmp_path / "a.html", *where)
    (run / "probe.json").unlink()
    assert (status, error.count("\n")) == (2, 1)
    assert "probe.json is damaged" in error


def test_without_test_images_a_tenth_of_train_is_for_validation(run, data_dir, monkeypatch):
    load = prepared.load

    def no_test(name, wanted, data_dir=None):
        if wanted == "test":
            raise prepared.SplitError("none")
        return load(name, wanted, data_dir)

    monkeypatch.setattr(prepared, "load", no_test)
    found = json.loads(succeed("probe", run, "--data-dir", data_dir, "--block", 1, "--json"))
    assert (found["split"], found["training_examples"]) == ("validation", 1079 - 107)
    assert found["solver"].endswith("C by a tenth of train")


def test_what_cannot_be_probed(run, data_dir, tmp_path_factory, tmp_path):
    where = ("--data-dir", data_dir)

    def refused(path, *argv):
        status, out, error = call("probe", path, *where, *argv)
        assert (status, out, error.count("\n")) == (2, "", 1), error
        return error

    assert "gated_pixel_cnn has blocks 1 to 2, not 3" in refused(run, "--block", 3)
    plain = trained(tmp_path_factory, data_dir, Independent(image(8, 8, 1, 17)))
    assert "independent shows no blocks whose features could be read" in refused(plain)
    given = GatedPixelCNN(image(8, 8, 1, 17), num_classes=10, features=4, **SMALL)
    assert "is given the class" in refused(trained(tmp_path_factory, data_dir, given))
    x = np.random.default_rng(0).integers(0, 17, (40, 8, 8))
    np.savez(tmp_path / "unlabelled.npz", train=x, validation=x[:8], test=x[:8])
    succeed("data", "import", "unlabelled", tmp_path / "unlabelled.npz", "--levels", 17, *where)
    assert "data set unlabelled has no classes" in refused(run, "--data", "unlabelled")
