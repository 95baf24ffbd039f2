"""The notebooks of examples/: they parse, import what exists, store nothing of a machine, and run."""

import ast
import importlib
import json
import re
import runpy
import shlex
from pathlib import Path
from types import ModuleType

import pytest

from gen_jax.cli import parser

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "examples").glob("*.ipynb"))
EVERY = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
WRITING = "%%writefile neighbours.py\n"
PATHS = re.compile(r"(?:^|[\s'\"(=])(?:/|~/|[A-Z]:\\)\w", re.MULTILINE)


def cells_of(path: Path, kind: str) -> list[str]:
    cells = json.loads(path.read_text())["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == kind]


def test_they_are_pages_of_the_site():
    nav = (ROOT / "mkdocs.yml").read_text()
    assert NOTEBOOKS
    assert sorted(re.findall(r"examples/(\w+)\.md", nav)) == [path.stem for path in NOTEBOOKS]


@EVERY
def test_every_cell_parses_and_uses_names_that_exist(path):
    """Names imported from gen_jax, and attributes of its modules; commands parse too."""
    modules: dict[str, ModuleType] = {}
    for cell in cells_of(path, "code"):
        if cell.startswith("%%sh\n"):
            for line in cell.replace("\\\n", "").splitlines()[1:]:
                assert parser().parse_args(shlex.split(line)[1:]).command == line.split()[1]
            continue
        tree = ast.parse(cell.removeprefix(WRITING))
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                ours = [alias.name for alias in node.names if alias.name.startswith("gen_jax")]
                modules |= {name: importlib.import_module(name) for name in ours}
            elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("gen_jax"):
                assert node.module is not None
                module = importlib.import_module(node.module)
                for alias in node.names:
                    if not hasattr(module, alias.name):
                        importlib.import_module(f"{node.module}.{alias.name}")
                    value = getattr(module, alias.name)
                    if isinstance(value, ModuleType):
                        modules[alias.name] = value
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                module = modules.get(node.value.id)
                assert module is None or hasattr(module, node.attr), ast.unparse(node)
    assert modules


@EVERY
def test_what_is_stored_is_of_no_machine(path):
    """Pictures and text are there; no paths, warnings or errors; lines of prose fit."""
    notebook = json.loads(path.read_text())
    assert path.stat().st_size < 300_000
    assert notebook["metadata"].keys() == {"kernelspec", "language_info"}
    assert notebook["metadata"]["language_info"] == {"name": "python"}
    outputs = [output for cell in notebook["cells"] for output in cell.get("outputs", ())]
    assert sum("image/png" in output.get("data", ()) for output in outputs) >= 2
    for output in outputs:
        assert output["output_type"] in ("stream", "display_data")
        assert output.get("name", "stdout") == "stdout"
        assert output.get("data", {}).keys() <= {"image/png"}
        text = "".join(output.get("text", ""))
        assert not PATHS.search(text), text
        assert "Warning" not in text
    assert all(len(line) <= 120 for text in cells_of(path, "markdown") for line in text.split("\n"))


@pytest.mark.slow
@EVERY
def test_it_runs(path, tmp_path):
    """In an empty folder, with a kernel of this Python: the cells' own assertions hold, outputs are as stored."""
    pytest.importorskip("nbclient", reason="the extra `test` is not installed")
    pytest.importorskip("ipykernel", reason="the extra `test` is not installed")
    run = runpy.run_path(str(ROOT / "examples" / "run.py"), run_name="run")
    notebook = run["executed"](path, tmp_path)
    stored = json.loads(path.read_text())["cells"]
    for cell, before in zip(notebook.cells, stored, strict=True):
        kinds = [output["output_type"] for output in before.get("outputs", ())]
        assert [output.output_type for output in cell.get("outputs", ())] == kinds
