"""A second stage on a frozen first one: named by work directory, held in the checkpoint, refused where it cannot be."""

import json
import shutil
from pathlib import Path

import chex
import jax
import numpy as np
import pytest
from test_cli import call, own_cache, succeed  # noqa: F401  a fixture of the module

from gen_jax import VQVAE, GatedPixelCNN, InputError, VQVAEPrior, fingerprint, image
from gen_jax.experiment import Data, Evaluate, Experiment
from gen_jax.optimizer import Adam
from gen_jax.runs.run import load_run
from gen_jax.runs.workdir import WorkDir
from gen_jax.train import loop

FIRST = VQVAE(
    image(8, 8, levels=17), strided=(3, 4), blocks=1, residual=2, codes=8, size=3, decay=0.9
)
PRIOR = GatedPixelCNN(
    FIRST.code_event, depth=1, features=4, first_kernel=3, head_features=4, embedding=2
)
SECOND = VQVAEPrior(first=FIRST, prior=PRIOR)


def experiment(model, steps=4, **changes):
    return Experiment(
        model=model, data=Data("digits"), optimizer=Adam(1e-2), steps=steps, batch_size=16,
        evaluate=Evaluate(every=2, batch_size=128, examples=128), **changes,
    )  # fmt: skip


@pytest.fixture(scope="module")
def first(tmp_path_factory, data_dir):
    path = tmp_path_factory.mktemp("runs") / "first"
    loop.train(experiment(FIRST), WorkDir(path), data_dir)
    return path


@pytest.fixture(scope="module")
def second(first, tmp_path_factory, data_dir):
    """Trained, with its first stage gone afterwards."""
    root = tmp_path_factory.mktemp("second")
    shutil.copytree(first, root / "first")
    loop.train(experiment(SECOND, first_stage=str(root / "first")), WorkDir(root / "run"), data_dir)
    shutil.rmtree(root / "first")
    return root / "run"


def test_the_first_stage_is_held_as_it_was(first, second):
    """Its evaluated weights, to the bit, through all steps; their fingerprint is in config.json."""
    own, held = load_run(first).variables, load_run(second).variables["frozen"]["first_stage"]
    chex.assert_trees_all_equal(jax.device_get(held), jax.device_get(own))
    recorded = WorkDir(second).read()["machine"]["first_stage"]
    assert recorded == fingerprint.of_variables(own) == fingerprint.of_variables(held)


def test_the_first_stage_logs_its_codes(first):
    rows = [row for row in WorkDir(first).metrics_rows() if row["split"] == "validation"]
    assert {"perplexity", "codes_in_use", "reconstruction", "bits_per_dim"} <= set(rows[-1])
    assert {"commitment", "perplexity"} <= set(WorkDir(first).metrics_rows()[0])


def test_the_run_alone_evaluates_samples_and_compresses(second, data_dir, tmp_path):
    """Codes and image add up to the bound; no draws, as there is no noise; a file of the bound's size."""
    where = ("--data-dir", data_dir)
    found = json.loads(succeed("evaluate", second, *where, "--compress", 200, "--json"))
    assert (found["value"], found["draws"]) == ("bound", None)
    assert "draws" not in found["protocol"]
    [row] = [row for row in WorkDir(second).metrics_rows() if row["split"] == "validation"][-1:]
    np.testing.assert_allclose(row["nats"], row["codes"] + row["reconstruction"], rtol=1e-5)
    assert abs(found["file"]["overhead"]) < 0.03
    succeed("sample", second, "--num", 3, "--out", tmp_path / "x.png")
    status, _, err = call("evaluate", second, "--draws", 3, *where)
    assert status == 2
    assert "log_prob of vq_vae_prior is deterministic: it takes no --draws" in err


@pytest.mark.parametrize(
    ("model", "change", "words"),
    [
        (SECOND, lambda path: None, "vq_vae_prior needs a trained VQVAE: name its work directory"),
        (SECOND, lambda path: "nowhere", "first_stage: nowhere is not a work directory"),
        (FIRST, str, "vq_vae has no first stage, but first_stage names"),
        (SECOND.clone(first=FIRST.clone(decay=0.5)), str, "differences|decay: 0.9 -> 0.5"),
    ],
)
def test_a_first_stage_that_cannot_be_is_refused(model, change, words, first, data_dir, tmp_path):
    asked = experiment(model, first_stage=change(first))
    with pytest.raises(InputError, match=words):
        loop.train(asked, WorkDir(tmp_path / "run"), data_dir)
    assert not (tmp_path / "run").exists()


def test_an_unfinished_first_stage_is_refused_by_the_command(first, data_dir, tmp_path):
    """One sentence and status 2."""
    path = tmp_path / "first"
    shutil.copytree(first, path)
    WorkDir(path).keep_metrics_until(2)
    config = tmp_path / "config.py"
    config.write_text(
        f"from test_first_stage import SECOND, experiment as of\n"
        f"def experiment():\n    return of(SECOND, first_stage={str(path)!r})\n"
    )
    status, out, err = call("train", config, "--workdir", tmp_path / "run", "--data-dir", data_dir)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert "is not trained to the end (step 2 of 4)" in err


def test_other_weights_of_the_first_stage_are_refused(first, second, data_dir, tmp_path):
    """A run that was started continues with the weights it holds."""
    record = WorkDir(second).read()
    path = Path(WorkDir(second).experiment().first_stage)
    shutil.copytree(first, path)
    shutil.copytree(second, tmp_path / "run")
    loop.train(experiment(SECOND, first_stage=str(path)), WorkDir(tmp_path / "run"), data_dir)
    record["machine"]["first_stage"] = "0" * 64
    (tmp_path / "run" / "config.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match="started with other weights of the first stage"):
        loop.train(experiment(SECOND, first_stage=str(path)), WorkDir(tmp_path / "run"), data_dir)
    shutil.rmtree(path)
