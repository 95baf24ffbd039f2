"""README and docs are true: Python runs, tables are what the code and the result files say, commands exist."""

import json
import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from gen_jax.cli import parser
from gen_jax.data.builders import BUILDERS
from gen_jax.evaluate import catalogue
from gen_jax.included import RESULTS, SOURCE

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md"))
README = (ROOT / "README.md").read_text()
FIELDS = """
    system dataset dataset_version split num_examples nats nats_per bits_per_dim unit stderr stderr_method kind value
    draws solver augment protocol certified file_bytes file distances weights_bytes parameters forward_passes seed steps
    seconds device cpu threads devices parallel fsdp versions git dirty config sources
    lengthened
""".split()  # noqa: SIM905  a list to read
LATER = (
    "nats_per",
    "unit",
    "stderr_method",
    "file",
    "distances",
    "solver",
    "augment",
    "devices",
    "parallel",
    "fsdp",
    "sources",
    "lengthened",
)  # older files are of one device under jit


def python_of(page: str) -> str:
    [code] = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)
    return code


def test_the_first_python_runs_in_an_empty_folder(tmp_path, monkeypatch, capsys):
    """Twenty lines that train, judge, sample and compress; they check the file and the saved model themselves."""
    code = python_of("README.md")
    assert len([line for line in code.splitlines() if line.strip()]) <= 20
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(code, names)
    number, size = capsys.readouterr().out.splitlines()
    assert number.endswith("nats), exact")
    assert 1.5 < float(number.split()[0]) < 2.7
    assert names["samples"].shape == (16, 8, 8, 1)
    bits = names["fitted"].bits_per_dim(names["test"]) * names["test"].size
    assert bits <= 8 * int(size.split()[0]) <= 1.005 * bits + 8 * 64
    assert [path.name for path in tmp_path.iterdir()] == ["digits_model"]


def test_the_page_about_python_runs(capsys):
    """Training stops at the best validation and beats independent bits; fine-tuning and an own loop run too."""
    names, page = {}, (ROOT / "docs" / "python.md").read_text()
    for code in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        exec(code, names)
    *validations, tuned, untrained = capsys.readouterr().out.splitlines()
    fitted, curve = names["fitted"], names["curve"]
    assert validations[-1].startswith(f"{fitted.step} ")
    assert [float(line.split()[1]) for line in validations[:-1]] == curve
    assert fitted.step == 10 * (1 + curve.index(min(curve)))
    share = names["train"].mean(axis=0).clip(1e-3, 1 - 1e-3)
    entropy = -np.mean(share * np.log2(share) + (1 - share) * np.log2(1 - share))
    assert fitted.bits_per_dim(names["test"]) < 0.9 * entropy
    assert float(tuned) < 0.9 * entropy
    assert names["samples"].shape == (4, 8, 8, 1)
    assert 0.5 < float(untrained) < 2.0
    assert names["metrics"]["bits_per_dim"] < float(untrained)


def test_the_readme_is_short():
    """At most 900 words, one picture, a table of at most eight rows and five columns, no long lines on any page."""
    assert len(README.split()) <= 900
    assert README.count("![") == 1
    table = [line for line in README.splitlines() if line.startswith("|")]
    assert len(table) <= 2 + 8
    assert all(line.count("|") <= 6 for line in table)
    for page in ("README.md", *PAGES):
        for line in (ROOT / page).read_text().splitlines():
            assert len(line) <= 120 or line.startswith("|"), (page, line)


@pytest.mark.parametrize("page", ["README.md", *PAGES])
def test_the_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)\)", (ROOT / page).read_text()):
        assert ((ROOT / page).parent / target).exists(), target


def test_the_readme_links_every_page():
    """Those of single families are linked by the page of all."""
    assert all(f"({page})" in README for page in PAGES if page.count("/") == 1)


def test_the_tables_are_generated():
    script = [sys.executable, str(ROOT / "experiments" / "tables.py"), "--check"]
    done = subprocess.run(script, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def commands_of(page: str) -> list[str]:
    page = page.replace("\\\n", "")  # a line that goes on
    return re.findall(r"^(?:\.venv/bin/)?gen-jax (.*)$", page, re.MULTILINE)


@pytest.mark.parametrize("page", ["README.md", *PAGES])
def test_the_commands_parse(page):
    lines = commands_of((ROOT / page).read_text())
    assert len(lines) > 1 or page in ("docs/design.md",)
    for line in lines:
        words = shlex.split(line, comments=True)
        assert parser().parse_args(words).command == words[0]


def test_the_page_about_data_names_every_set():
    page = (ROOT / "docs" / "data.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| (\d+|reals) \| (\S+) \|", page, re.MULTILINE)
    assert sorted(name for name, *_ in rows) == sorted(BUILDERS)
    for name, levels, shape in rows:
        info = BUILDERS[name](data_dir="/nowhere").info
        assert info.metadata["levels"] == (None if levels == "reals" else int(levels))
        assert "x".join(map(str, info.features["image"].shape)) == shape
    prepared = [line.split() for line in commands_of(page)]
    assert {words[2] for words in prepared if words[1] == "prepare"} <= BUILDERS.keys()


def test_the_table_names_a_unit_that_is_not_its_columns():
    tables = runpy.run_path(str(ROOT / "experiments" / "tables.py"), run_name="tables")
    unit_note = tables["unit_note"]
    assert unit_note({"unit": "bits/character"}) == " bits/character"
    assert unit_note({"unit": "bits/dim"}) == unit_note({}) == ""


def test_result_files_hold_every_field():
    """And name a config of this tree, at a number that its own nats give."""
    results = [
        path
        for path in RESULTS.glob("*.json")
        if not path.stem.startswith(
            ("bench_", "ablations_", "zoo_", "collapse_", "plane", "pictures", "structure")
        )
        and path.stem not in ("compile", "faults_processes", "scaling", "streaming")
    ]
    assert results
    configs = {row["name"] for row in catalogue.configs()}
    for path in results:
        result = json.loads(path.read_text())
        assert [name for name in FIELDS if name in result or name not in LATER] == list(result), (
            path
        )
        assert path.stem in configs, path
        assert result["split"] == ("validation" if "cifar10" in result["dataset"] else "test"), path
        assert result["dirty"] is False, path


def test_the_table_of_faults_is_that_of_its_record():
    """And the table is of the 50 faults, all survived."""
    table = runpy.run_path(str(SOURCE / "experiments" / "cluster" / "table.py"))
    text = table["PAGE"].read_text()
    assert table["page"](text) == text
    assert "\n50 faults, 50 survived.\n" in text
