"""The page shows all text as plain text, whoever wrote it."""

import dataclasses
import json
import math
import re

import numpy as np
import pytest
from test_cli import call, own_cache, succeed  # noqa: F401  a fixture of the module
from test_codec_cli import model_folder

from gen_jax import Markov, image
from gen_jax.experiment import Data
from gen_jax.laws import certificate
from gen_jax.media import arrays, html
from gen_jax.media.text import Text
from gen_jax.report import page as report
from gen_jax.runs import summary
from gen_jax.runs.run import load_run
from gen_jax.runs.workdir import WorkDir
from gen_jax.typing import Event

EVIL = "<script>alert('$\\bad$')</script>\"'&\x1b"


@pytest.fixture
def folder(tmp_path, data_dir):
    """An evaluated and certified model, in whose files every text that nothing depends on is a script."""
    path = model_folder(tmp_path, Markov(image(8, 8, 1, 17)))
    workdir, data = WorkDir(path), ("--data-dir", data_dir)
    succeed("certify", path, *data, "--examples", 2)
    succeed("evaluate", path, *data)
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


def test_no_text_becomes_markup(folder, data_dir, monkeypatch):
    """A script in every text that reaches the page, the data set's names too."""
    real = report.judged_split

    def judged(experiment, data_dir):
        split = real(dataclasses.replace(experiment, data=Data("digits")), data_dir)
        return dataclasses.replace(split, dataset=EVIL, split=EVIL)

    monkeypatch.setattr(report, "judged_split", judged)
    monkeypatch.setattr(
        report, "load_split", lambda experiment, name, data_dir: judged(experiment, data_dir)
    )
    page = report.html([folder], data_dir)
    assert not re.search("<script|onerror|javascript:", page.replace("&lt;script", ""))
    shown = page.count("&lt;script&gt;alert(&#39;")
    # title, protocol, cpu, number's data set and split, laws, config's name, command, git, examples of
    assert shown > 12
    tags = set(re.findall(r"<(\w+)", page))
    known = "html head meta title style body h1 h2 p pre code br img table tr th td details summary"
    assert tags <= set(known.split())
    assert "default-src 'none'" in page


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
