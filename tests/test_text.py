"""A model of text from import to report: resumed bit for bit, evaluated in one pass, prompted, printed."""

import html
import json
import math
import re

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_array_equal
from test_cli import own_cache, succeed  # noqa: F401  its compilation cache
from test_media import CONTENT, LEVELS

from gen_jax import LSTM, InputError, tokens
from gen_jax.data import prepared
from gen_jax.data.batches import Batches
from gen_jax.data.importing.importer import Options, import_files
from gen_jax.data.prepared import Data
from gen_jax.evaluate import draw
from gen_jax.experiment import Evaluate, Experiment
from gen_jax.media import medium_of
from gen_jax.media.text import Text
from gen_jax.optimizer import Adam
from gen_jax.runs.run import load_run
from gen_jax.runs.workdir import WorkDir
from gen_jax.train import loop


def experiment(**changes):
    model = LSTM(tokens(8, LEVELS), features=8, depth=1, carry=True)
    settings = {
        "optimizer": Adam(1e-2), "steps": 24, "batch_size": 8,
        "evaluate": Evaluate(every=12, batch_size=1),
    }  # fmt: skip
    return Experiment(model=model, data=Data("words"), **{**settings, **changes})


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    root = tmp_path_factory.mktemp("texts")
    (root / "words.txt").write_bytes(CONTENT)
    import_files("words", [root / "words.txt"], Options(length=8), root)
    return root


@pytest.fixture(scope="module")
def run(texts, tmp_path_factory):
    """Training crosses the end of an epoch, which has 16 batches."""
    path = tmp_path_factory.mktemp("run") / "run"
    loop.train(experiment(), WorkDir(path), texts)
    return path


def test_resumes_bit_for_bit(run, texts, tmp_path, monkeypatch):
    """Stopped after step 20 with a checkpoint of step 12: the state of every row goes on from there."""
    workdir, batch = WorkDir(tmp_path / "run"), Batches.batch

    def stop(self, at, mine=slice(None)):
        if at == 20:
            raise KeyboardInterrupt
        return batch(self, at, mine)

    with monkeypatch.context() as patch:
        patch.setattr(Batches, "batch", stop)
        with pytest.raises(KeyboardInterrupt):
            loop.train(experiment(), workdir, texts)
    resumed = jax.device_get(loop.train(experiment(), workdir, texts))
    undisturbed = jax.device_get(loop.train(experiment(), WorkDir(run), texts))
    chex.assert_trees_all_equal(resumed, undisturbed)
    carry = resumed.collections["carry"]["kept"]["state"]
    assert carry.previous.min() > 0
    assert len(np.unique(carry.states[0][0], axis=0)) == 8


def test_evaluates_the_whole_text(run, texts):
    """As many bits a character as the model needs for the split's bytes as one sequence."""
    out = json.loads(succeed("evaluate", run, "--data-dir", texts, "--json"))
    loaded, split = load_run(run), prepared.load("words", "test", texts)
    text = np.append(split.x, split.rest).astype(np.int32)
    assert len(text) == len(CONTENT) - int(len(CONTENT) * 0.95)
    long = loaded.lengthened(len(text))
    nats = -float(long.model.log_prob(long.variables, text[None])[0])
    assert math.isclose(out["bits_per_dim"], nats / len(text) / math.log(2), rel_tol=1e-4)
    assert out["unit"] == "bits/character"
    lags = math.isqrt(len(split) + bool(split.rest))
    assert out["stderr_method"] == f"Newey-West, {lags} lags"
    assert "every value once, in 1 contiguous stream(s)" in out["protocol"]
    sizes = jax.tree.map(lambda x: x.size, loaded.variables["params"])
    assert out["weights_bytes"] == 4 * sum(jax.tree.leaves(sizes))  # no row of a batch


def test_a_prompt_is_read_first(run):
    """What follows is drawn from the distribution after the prompt, teacher-forced; at low temperature its mode."""
    loaded = load_run(run)
    prompt = medium_of(loaded.experiment.model.event, loaded.presentation).prompt("In the beg")
    drawn = draw.sample(loaded, 3, temperature=1e-6, length=1, prompt=prompt)
    long = loaded.lengthened(11)
    logits = long.experiment.model.apply(long.variables, jnp.array([[*prompt, 0]]))[0, -1]
    assert_array_equal(drawn, [[*prompt, int(np.argmax(logits))]] * 3)
    other, again = (draw.sample(loaded, 2, seed, length=40, prompt=prompt) for seed in (1, 1))
    assert_array_equal(other, again)
    assert_array_equal(other[:, :10], [prompt] * 2)
    assert other.shape == (2, 50)
    both = np.concatenate([other, draw.sample(loaded, 2, 2, length=40, prompt=prompt)])
    assert len(np.unique(both, axis=0)) == 4


def test_texts_have_any_length(run, texts, tmp_path):
    """Also from exported weights, which do not include the carry of training."""
    printed = succeed("sample", run, "--length", 30, "--prompt", "was the <")
    assert printed.startswith("was the <")
    assert succeed("sample", run, "--length", 30, "--prompt", "was the <", "--json")
    succeed("export", run, "--out", tmp_path / "model")
    command = ("sample", tmp_path / "model", "--out", tmp_path / "x.txt")
    succeed(*command, "--length", 30, "--prompt", "was the <")
    written = (tmp_path / "x.txt").read_bytes()
    assert len(written) == len("was the <") + 30
    assert written.decode(errors="replace") + "\n" == printed
    succeed(*command)
    assert len((tmp_path / "x.txt").read_bytes()) == Text.length
    succeed("report", run, "--out", tmp_path / "x.html", "--data-dir", texts)
    shown = re.findall(r"<pre style[^>]*>(.*?)</pre>", (tmp_path / "x.html").read_text(), re.DOTALL)
    assert [len(html.unescape(text)) > 400 for text in shown] == [True, True]


def test_a_carry_takes_whole_batches(texts, tmp_path):
    with pytest.raises(InputError, match=r"optimizer\.accumulate must be 1"):
        loop.train(
            experiment(optimizer=Adam(accumulate=2), batch_size=16),
            WorkDir(tmp_path / "run"),
            texts,
        )
    assert not (tmp_path / "run").exists()
