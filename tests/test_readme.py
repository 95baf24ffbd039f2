"""The README is true: its Python runs, its table is what the result files say, its commands exist."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from gen_jax.cli import parser
from gen_jax.evaluate import catalogue

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
FIELDS = """
    system dataset dataset_version split num_examples nats bits_per_dim stderr kind value draws protocol certified
    file_bytes weights_bytes parameters forward_passes seed steps seconds device cpu threads versions git dirty config
""".split()  # noqa: SIM905  a list to read


def test_the_python_runs(capsys):
    [code] = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    namespace = {}
    exec(code, namespace)
    assert namespace["samples"].shape == (4, 28, 28, 1)
    assert 0.5 < float(capsys.readouterr().out) < 2.0


def test_the_tables_are_generated():
    script = [sys.executable, str(ROOT / "experiments" / "tables.py"), "--check"]
    done = subprocess.run(script, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("line", re.findall(r"^gen-jax (.*)$", README, re.MULTILINE))
def test_the_commands_parse(line):
    args = parser().parse_args(line.split("#")[0].split())
    assert args.command == line.split()[0]


def test_result_files_hold_every_field():
    """And name a config of this tree, at a number that its own nats give."""
    results = [
        path for path in catalogue.RESULTS.glob("*.json") if not path.stem.startswith("bench")
    ]
    assert results
    for path in results:
        result = json.loads(path.read_text())
        assert list(result) == FIELDS, path
        assert (catalogue.CONFIGS / f"{path.stem}.py").exists(), path
        assert result["split"] == ("validation" if result["dataset"] == "cifar10" else "test"), path
        assert result["dirty"] is False, path
