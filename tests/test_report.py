"""The page shows all text as plain text, whoever wrote it."""

import dataclasses
import json
import math
import re
import shutil

import numpy as np
import pytest
from matplotlib.figure import Figure
from test_cli import call, own_cache, succeed  # noqa: F401  a fixture of the module
from test_codec_cli import model_folder

from gen_jax import Markov, config_tree, image
from gen_jax.config_python import to_python
from gen_jax.evaluate import catalogue
from gen_jax.experiment import Data, load_config
from gen_jax.laws import certificate
from gen_jax.media import arrays, html
from gen_jax.media.text import Text
from gen_jax.report import film
from gen_jax.report import page as report
from gen_jax.runs import summary
from gen_jax.runs.run import load_run
from gen_jax.runs.workdir import WorkDir
from gen_jax.typing import Event

EVIL = "<script>alert('$\\bad$')</script>\"'&\x1b"


@pytest.fixture(scope="module")
def plain(tmp_path_factory, data_dir):
    """An evaluated and certified model with a log."""
    path = model_folder(tmp_path_factory.mktemp("plain"), Markov(image(8, 8, 1, 17)))
    succeed("certify", path, "--data-dir", data_dir, "--examples", 2)
    succeed("evaluate", path, "--data-dir", data_dir)
    rows = [{"step": step, "split": "train", "loss": 3.0 - step} for step in (1, 2)]
    WorkDir(path).metrics.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def folder(tmp_path, plain):
    """The same, but every text in its files that nothing depends on is a script."""
    path = shutil.copytree(plain, tmp_path / "evil")
    workdir = WorkDir(path)
    config, result, laws = (
        json.loads(file.read_text())
        for file in (workdir.config, workdir.result, workdir.certificate)
    )
    config |= {"command": EVIL, "config": EVIL, "presentation": {"unit": EVIL}, EVIL: EVIL}
    config["experiment"]["fields"]["data"]["fields"]["name"] = EVIL
    workdir.config.write_text(json.dumps(config))
    texts = ("system", "dataset", "dataset_version", "split", "protocol", "device", "cpu", "git")
    workdir.result.write_text(json.dumps(result | dict.fromkeys([*texts, "unit"], EVIL)))
    rows = [{**row, "law": EVIL, "note": EVIL, "unit": EVIL} for row in laws["rows"]]
    laws |= {"rows": rows, "config": certificate.config_hash(workdir), "dataset": EVIL}
    workdir.certificate.write_text(json.dumps(laws))
    losses = [{"step": step, "split": "train", f"{EVIL}loss": 1.0} for step in (1, 2)]
    workdir.metrics.write_text("".join(json.dumps(row) + "\n" for row in losses))
    return path


@pytest.fixture
def evil_page(folder, data_dir, monkeypatch):
    """A page with a script in every text, the data set's names too."""
    real = report.judged_split

    def judged(experiment, data_dir):
        split = real(dataclasses.replace(experiment, data=Data("digits")), data_dir)
        return dataclasses.replace(split, dataset=EVIL, split=EVIL)

    monkeypatch.setattr(report, "judged_split", judged)
    monkeypatch.setattr(
        report, "load_split", lambda experiment, name, data_dir: judged(experiment, data_dir)
    )
    return report.html([folder], data_dir)


def test_no_text_becomes_markup(evil_page):
    """And each picture says what it shows, each link has its target, colours follow the system."""
    page = evil_page
    [script] = re.findall("<script>(.*?)</script>", page, re.S)  # the film's
    assert script == film.SCRIPT
    assert f"script-src 'sha256-{film.DIGEST}'\"" in page
    page = page.replace(f"<script>{script}</script>", "")
    assert not re.search("<script|onerror|javascript:", page.replace("&lt;script", ""))
    shown = page.count("&lt;script&gt;alert(&#39;")
    # title, protocol, cpu, number's data set and split, laws, config's name, command, git, examples of
    assert shown > 12
    tags = set(re.findall(r"<(\w+)", page))
    known = "html head meta title style body nav ul li a main article h1 h2 p pre code br img div noscript"
    table = "table tr th td details summary"
    svg = "svg defs g path use text tspan image clipPath rect"
    assert tags <= {*known.split(), *table.split(), *svg.split()}
    assert "default-src 'none'" in page
    assert not re.search(r'<img(?! alt="[^"]+")|<svg(?! role="img" aria-label="[^"]+")', page)
    assert re.findall(r'<a href="#([^"]+)"', page) == re.findall(r'<h[12] id="([^"]+)"', page)
    assert "prefers-color-scheme: dark" in page
    assert set(re.findall(r"var\((--[\w-]+)\)", page)) <= set(re.findall(r"(--[\w-]+):", page))
    assert re.search(r'aria-label="Curves of loss by step: [^"]*from 1 to 1"', page)


def test_a_medium_that_forgets_is_escaped():
    """Only values marked as markup are inserted as markup."""
    page = report.PAGES.from_string("{{ shown }}").render(shown="<b>")
    assert page == "&lt;b&gt;"
    text = Text(Event((3,), 3), {"alphabet": [*b"<&>"]})
    assert (
        text.figure(np.array([[0, 1, 2]]))
        == '<pre style="white-space: pre-wrap">&lt;&amp;&gt;</pre>'
    )
    assert str(html.paragraph("<b>")) == "<p>&lt;b&gt;</p>"
    assert "[0 1]" in arrays.Arrays(Event((2,), 2), {}).figure(np.array([[0, 1]]))


def test_whose_certificate_it_is(folder):
    run = load_run(folder)
    found = certificate.standing(run.workdir, run.variables)
    assert found.state == "certified"
    assert found.sentence == "certified by the certificate in the folder"


def test_a_certificate_is_made_again(tmp_path, data_dir):
    """`certify --check` compares and writes nothing; what was edited by hand is told."""
    path = model_folder(tmp_path, Markov(image(8, 8, 1, 17)))
    file, data = path / "certificate.json", ("--data-dir", data_dir)
    status, out, err = call("certify", path, "--check", *data)
    assert (status, out) == (2, "")
    assert "there is nothing to check" in err
    succeed("certify", path, *data, "--examples", 2, "--seed", 3)
    whole = file.read_bytes()
    assert "the certificate in the folder agrees" in succeed("certify", path, "--check", *data)
    assert file.read_bytes() == whole
    record = json.loads(whole)
    first, *rest = record["rows"]
    edited = [{**first, "passed": False}, *rest]
    file.write_text(json.dumps({**record, "rows": edited}))
    status, out, _ = call("certify", path, "--check", *data, "--json")
    assert status == 1
    assert json.loads(out)["differences"] == [f"{first['law']}: passed False, not True"]
    for rows, words in (
        ([{**first, "measured": -1 - first["limit"]}, *rest], f"{first['law']}: measured -"),
        (rest, f"{first['law']}: is not in it"),
        ([{**first, "law": "is good"}, *rest], "is good: is not a law of this model"),
    ):
        told = certificate.differences({**record, "rows": rows}, record)
        assert any(words in one for one in told)
    file.write_text(json.dumps({**record, "num_examples": "many"}))
    assert (
        "has no valid split, number of examples and seed"
        in call("certify", path, "--check", *data)[2]
    )
    file.write_text(json.dumps({**record, "parameters": "0" * 64}))
    assert "the certificate is stale" in call("certify", path, "--check", *data)[2]


def test_one_example_has_no_standard_error():
    """The page shows no nan and leaves no number out."""
    said = "1.0000 (standard error not known) bits/dim (2.00 nats)"
    assert summary.figure("exact", 2.0, 1.0, None, "bits/dim") == said
    assert summary.figure("exact", 2.0, 1.0, math.nan, "bits/dim") == said
    assert summary.figure("bound", 2.0, None, None, "nats") == (
        "<= 2.0000 (standard error not known) nats"
    )


def test_each_section_has_its_anchor():
    """One of several runs has its number in it; equal titles have different anchors."""
    titles = ["Training", "-log p", "log P", "$"]
    [one] = report.anchored([{"sections": [(title, "") for title in titles]}])
    assert [anchor for _, anchor, _ in one["sections"]] == [
        "training",
        "log-p",
        "log-p-",
        "section",
    ]
    _, two = report.anchored([{"sections": [("Samples", "")]} for _ in range(2)])
    assert (two["anchor"], two["sections"]) == ("run-2", [("Samples", "2-samples", "")])


def test_a_plot_is_sharp_and_scales():
    """Its text is text in the page's font and colour; nothing of it is above or below its box of inches."""
    figure = Figure(figsize=(4, 2))
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], label="a & <b>", color="C1")
    axes.imshow(np.eye(2), extent=(0, 1, 0, 1))
    axes.legend()
    shown = html.plot(figure, 'a "line"')
    assert shown.startswith('<div class="plot"><svg role="img" aria-label="a &#34;line&#34;"')
    assert 'viewBox="0 0 288 144"' in shown
    assert "width: 24rem; min-width: 16.8rem" in shown
    assert re.search(r"<text[^>]*>a &amp; &lt;b&gt;</text>", shown)
    assert "stroke: var(--second)" in shown
    assert "currentColor" in shown
    assert not re.search("#000000|#ff7f0e|font-family|<style|<metadata|xmlns", shown)
    referred = set(re.findall(r"(?:url\(|href=\")#([\w-]+)", shown))
    assert referred == set(re.findall(r' id="([^"]+)"', shown))
    assert str(shown) == str(html.plot(figure, 'a "line"'))


@pytest.mark.parametrize("share", [pytest.param(1, marks=pytest.mark.slow), 25])
def test_the_config_as_python_is_the_config(tmp_path, share):
    """For every config of the project, or some: the text, run as a config file, is the same experiment."""
    file = tmp_path / "config.py"
    for path in [*catalogue.config_paths().values()][::share]:
        experiment = load_config(path)
        text = to_python(config_tree.identity(experiment))
        file.write_text(text)
        assert load_config(file) == experiment, path
        assert max(map(len, text.splitlines())) <= 120


def test_a_number_of_another_checkpoint_is_named(plain, tmp_path):
    """So are the versions under which it was measured, not those of today; a run of another source has none."""
    run = load_run(shutil.copytree(plain, tmp_path / "older"))
    result = json.loads(run.workdir.result.read_text())
    assert report._older(run, result) == []
    protocol = result["protocol"].replace("of step 1,", "of step 7,")
    [sentence] = report._older(run, {"protocol": protocol})
    assert "number is of another checkpoint, the rest of this page of step 1: <code>" in sentence
    run.workdir.result.write_text(json.dumps(result | {"versions": {"jax": "0.0.1"}}))
    assert report._rows(run)["versions"] == "jax 0.0.1"
    run.workdir.result.unlink()
    assert "versions" not in report._rows(run)
