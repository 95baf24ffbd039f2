"""Media: texts and arrays from a trained run to a file, the terminal and the report."""

import io
import json
import os
import re

import numpy as np
import pytest
from test_cli import call, own_cache, succeed  # noqa: F401  its compilation cache

from gen_jax import Independent, Markov, binary, image, points, tokens
from gen_jax.cli import main
from gen_jax.data.importing.importer import Options, import_files
from gen_jax.data.prepared import Data, load
from gen_jax.evaluate import draw
from gen_jax.experiment import Evaluate, Experiment
from gen_jax.media import MEDIA, medium_of
from gen_jax.media.arrays import Arrays
from gen_jax.media.images import Images
from gen_jax.media.points import Points
from gen_jax.media.text import BETWEEN, Text
from gen_jax.optimizer import Adam
from gen_jax.runs.run import load_run
from gen_jax.runs.workdir import WorkDir
from gen_jax.train import loop

CONTENT = "In the beginning was the Word, & the Wörd was with <us>.\n".encode() * 20
LEVELS = len(set(CONTENT))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    (root / "words.txt").write_bytes(CONTENT)
    import_files("words", [root / "words.txt"], Options(length=8), root)
    bits = np.random.default_rng(0).integers(0, 2, (20, 6))
    np.savez(root / "bits.npz", train=bits, validation=bits, test=bits)
    import_files("bits", [root / "bits.npz"], data_dir=root)
    return root


def trained(path, data, model, name):
    judge = Evaluate(every=2, batch_size=8)
    experiment = Experiment(
        model=model, data=Data(name), optimizer=Adam(1e-2), steps=2, batch_size=8, evaluate=judge
    )
    loop.train(experiment, WorkDir(path), data)
    return path


@pytest.fixture(scope="module")
def words(data, tmp_path_factory):
    return trained(
        tmp_path_factory.mktemp("runs") / "run", data, Markov(tokens(8, LEVELS)), "words"
    )


@pytest.fixture(scope="module")
def bits(data, tmp_path_factory):
    return trained(tmp_path_factory.mktemp("runs") / "run", data, Independent(binary(6)), "bits")


@pytest.mark.parametrize(
    ("event", "presentation", "expected"),
    [
        (image(8, 8), {}, Images),
        (binary(6), {}, Arrays),
        (tokens(8, 65), {}, Arrays),
        (points(), {}, Points),
        (points(3), {}, Arrays),
        (tokens(8, 65), {"alphabet": [10, 32]}, Text),
    ],
)
def test_the_first_medium_that_fits(event, presentation, expected):
    """Only the data set tells a text from plain tokens."""
    assert next(medium for medium in MEDIA if medium.fits(event, presentation)) is expected


def test_symbols_are_bytes(data):
    """Any bytes survive the round trip; only the terminal and the page decode them."""
    split = load("words", "train", data)
    text = Text(split.event, split.presentation)
    assert text.text(split.x[:3]).encode() == BETWEEN.join(
        CONTENT[i : i + 8] for i in range(0, 24, 8)
    )
    np.testing.assert_array_equal(text.prompt("In the beginning was"), split.x.reshape(-1)[:20])
    cut = np.array([text.prompt("ö")[:1]])  # the first of two bytes
    assert text.encoded(cut) == b"\xc3"
    assert text.text(cut) == "\N{REPLACEMENT CHARACTER}"
    assert text.figure(np.array([text.prompt("<us>")])).endswith(">&lt;us&gt;</pre>")


def test_a_text_is_printed_or_written(words, tmp_path):
    """Samples are shown without the data set, also where only the weights went along."""
    command = ("sample", words, "--prompt", "In", "--seed", 3)
    printed = succeed(*command)
    assert (printed[:2], len(printed.encode())) == ("In", 8 + 1)
    assert json.loads(succeed(*command, "--json"))["text"] + "\n" == printed
    succeed("export", words, "--out", tmp_path / "model")
    assert succeed("sample", tmp_path / "model", *command[2:]) == printed
    out = tmp_path / "a.txt"
    assert succeed(*command, "--num", 2, "--out", out) == f"2 samples in {out}\n"
    one, other = out.read_bytes().split(BETWEEN)
    assert one[:2] == other[:2] == b"In"
    assert one != other
    succeed("sample", words, "--num", 3, "--length", 8, "--out", tmp_path / "a.npz")
    with np.load(tmp_path / "a.npz") as arrays:
        assert arrays["samples"].shape == (3, 8)
        assert arrays["samples"].dtype == np.uint8
        np.testing.assert_array_equal(arrays["samples"], draw.sample(load_run(words), 3))


def test_a_prompt_is_bytes(words, monkeypatch):
    """A prompt in another encoding counts as its bytes: refused if the text has no such byte."""
    assert Text(tokens(8, 2), {"alphabet": [0xF1, 10]}).prompt(os.fsdecode(b"\xf1\n")) == [0, 1]
    status, out, err = call("sample", words, "--prompt", os.fsdecode(b"In\xf1"))
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert "which is not in the model's alphabet" in err
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr("sys.stdout", stream)
    assert main(["sample", str(words), "--num", "40"]) == 0
    stream.flush()
    assert b"?" in stream.buffer.getvalue()


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("--prompt Zebra", "--prompt contains 'Z', which is not in the model's alphabet"),
        ("--out x.png", "--out needs a name that ends in .txt or .npz, not x.png"),
        ("--label 1", "is not class-conditional"),
        ("--length 9", "the weights of markov are for 8 values, not for 9"),
        ("--prompt beginning", "the prompt is longer than the model's sequences of 8"),
    ],
)
def test_what_a_text_refuses(line, sentence, words):
    status, out, err = call("sample", words, *line.split())
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert sentence in err


def test_arrays_are_numbers(bits, tmp_path):
    succeed("sample", bits, "--num", 5, "--out", tmp_path / "a.npz")
    with np.load(tmp_path / "a.npz") as arrays:
        assert arrays["samples"].shape == (5, 6)
    status, _, err = call("sample", bits, "--out", tmp_path / "a.png")
    assert (status, err.count("\n")) == (2, 1)
    assert f"--out needs a name that ends in .npz, not {tmp_path}/a.png" in err


def test_the_report_shows_them_and_their_unit(words, bits, data, tmp_path):
    out = tmp_path / "x.html"
    assert "bits/dim (" in succeed("evaluate", bits, "--data-dir", data)
    printed = succeed("evaluate", words, "--data-dir", data, "--compress", 3)
    assert "bits/dim" not in printed
    record = json.loads((words / "result.json").read_text())
    number = f"{record['bits_per_dim']:.4f} ± {record['stderr']:.4f} bits/character ("
    assert number in printed
    succeed("report", words, bits, "--out", out, "--data-dir", data)
    page = out.read_text()
    assert number in page
    of_words, of_bits = re.split("<h1[^>]*>independent on bits</h1>", page)
    shown = re.findall(
        r"1 sample, seed 0, temperature ([\d.]+)\.</p><pre[^>]*>(.*?)</pre>", of_words, re.DOTALL
    )
    assert [temperature for temperature, _ in shown] == ["1", "0.7"]
    assert "bits/dim (" in of_bits
    assert "bits/dim" not in of_words.partition("<h1")[2]
    run = load_run(words)
    medium = medium_of(run.experiment.model.event, run.presentation)
    assert medium.text(draw.sample(run, 1)) == shown[0][1].replace("&lt;", "<").replace(
        "&amp;", "&"
    )
    assert len(re.findall(r"\[[01]( [01]){5}\]", of_bits)) == 16
