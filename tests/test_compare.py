"""`gen-jax compare`: rows, differences that rebuild one config from the other, curves, refusals."""

import dataclasses
import json
import re

import pytest
from test_cli import call, own_cache, succeed  # noqa: F401  a fixture of the module

from gen_jax import Adam, Classifier, Independent, Markov, WarmupCosine, image
from gen_jax.experiment import Data, Experiment, replace
from gen_jax.report import comparison
from gen_jax.runs.workdir import WorkDir

EVENT = image(8, 8, 1, 17)
BASE = Experiment(model=Markov(EVENT), data=Data("digits"), steps=4, batch_size=8)


def folder(root, experiment, rows):
    workdir = WorkDir(root)
    workdir.claim(experiment, {})
    workdir.metrics.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return root


def log(first, last):
    """A log from one number to another."""
    row = {"split": "validation", "step": 2, "nats": 64 * first, "bits_per_dim": first}
    return [row, {**row, "step": 4, "nats": 64 * last, "bits_per_dim": last}]


@pytest.fixture
def two(tmp_path):
    fast = dataclasses.replace(BASE, optimizer=Adam(WarmupCosine(0.01, 1, 4)), seed=3)
    return [folder(tmp_path / "a", BASE, log(3.5, 2.25)), folder(tmp_path / "b", fast, log(3, 2))]


def test_numbers_and_differences(two, tmp_path):
    record = json.loads(succeed("compare", *two, "--json"))
    assert [run["best_validation"]["bits_per_dim"] for run in record["runs"]] == [2.25, 2]
    assert record["remarks"] == []
    assert record["differences"]["seed"] == {"a": "0", "b": "3"}
    assert record["differences"]["optimizer.learning_rate"]["b"] == "WarmupCosine"
    rate = [f"optimizer.learning_rate{field}" for field in ("", ".peak", ".steps", ".warmup")]
    assert [*record["differences"]] == [*rate, "seed"]
    text = succeed("compare", *two)
    assert re.search(r"^a +Markov +digits +0 +4 +2\.2500 at 4$", text, re.M)
    assert re.search(r"^seed +0 +3$", text, re.M)
    out = tmp_path / "compare.html"
    assert succeed("compare", *two, "--out", out).endswith(f"curves in {out}\n")
    page = out.read_text()
    ends = "a, validation from 3.5 to 2.25; b, validation from 3 to 2"
    assert f'aria-label="Curves of bits/dim by step: {ends}"' in page
    assert page.count("<svg") == 1
    assert "<td>seed</td><td>0</td><td>3</td>" in page
    assert not re.search("<script|https?:", page)


def test_each_difference_leads_from_one_config_to_the_other():
    """Setting the fields of a run's column in another of the same classes gives the run's config."""
    other = Experiment(model=Markov(EVENT), data=Data("x"), steps=9, batch_size=2, ema=0.5)
    again = BASE
    for path, (_, value) in comparison.differences([BASE, other]).items():
        again = replace(again, f"{path}={value}")
    assert again == other
    assert comparison.differences([BASE, BASE]) == {}
    [events] = comparison.differences(
        [BASE, dataclasses.replace(BASE, model=Markov(image(4, 4)))]
    ).values()
    assert events == ["image(8, 8, 1, levels=17)", "image(4, 4, 1, levels=256)"]


def test_what_does_not_compare_is_said(tmp_path):
    """Other data, other units: a plot for each unit."""
    plane = dataclasses.replace(BASE, model=Independent(EVENT), data=Data("moons"))
    runs = [folder(tmp_path / "a", BASE, log(3, 2)), folder(tmp_path / "c", plane, log(1, 0.5))]
    compared = dataclasses.replace(comparison.compare(runs), units=["bits/dim", "nats"])
    assert compared.remarks == [
        "The runs are trained on different data: digits, moons.",
        "The numbers have different units: bits/dim, nats.",
    ]
    assert comparison.html(compared).count("<svg") == 2
    assert compared.differences["model"] == ["Markov", "Independent"]
    assert comparison.html(dataclasses.replace(compared, logs=[[], []])).count("has a log") == 2


def test_a_run_without_likelihood_is_drawn_by_its_loss(tmp_path):
    mute = dataclasses.replace(BASE, model=Classifier(EVENT, num_classes=10))
    losses = [{"split": "train", "step": step, "loss": 5 - step} for step in (1, 3)]
    runs = [folder(tmp_path / "a", BASE, log(3, 2)), folder(tmp_path / "c", mute, losses)]
    compared = comparison.compare(runs)
    assert compared.remarks == ["The numbers have different units: bits/dim, loss."]
    page = comparison.html(compared)
    ends = "Curves of bits/dim by step: a, validation from 3 to 2"
    assert f'aria-label="{ends}"' in page
    assert 'aria-label="Curves of loss by step: c, train from 4 to 2"' in page


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["{a}"], "at least two different work directories"),
        (["{a}", "{a}/"], "at least two different work directories"),
        (["{a}", "{a}x"], "is not a work directory: it does not exist"),
        (["{a}", "{b}", "--out", "{a}/x.png"], "ends in .html"),
    ],
)
def test_refusals(two, args, words):
    status, out, err = call("compare", *(arg.format(a=two[0], b=two[1]) for arg in args))
    assert (status, out) == (2, "")
    assert words in err
