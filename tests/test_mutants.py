"""The mutants: each is a program that differs in one place, drawn by a seed; the table agrees with the rows."""

import ast
import importlib
import json
import sys

import pytest

from gen_jax.included import SOURCE

FOLDER = SOURCE / "experiments" / "mutants"


@pytest.fixture(scope="module")
def modules():
    sys.path.insert(0, str(FOLDER))
    sys.modules.pop("run", None)  # other experiments have a file of this name
    try:
        yield tuple(importlib.import_module(name) for name in ("mutate", "tests_of", "run"))
    finally:
        sys.path.remove(str(FOLDER))
        sys.modules.pop("run", None)


def test_what_may_change_and_how(modules):
    """Only the arithmetic of functions changes: no text, type, default of a field, axis or refusal."""
    source = b'''"""Minus 1 < 2."""
LEAST = -7.0
class Model:
    """1 + 1."""
    size: int = 3
    def value(self, x: Float[Array, "B 2"], start=4) -> Int[Array, "3"]:
        """2 * 3."""
        if x < 1:
            raise ValueError(f"{x + 1} < 1")
        return sum(left(x, 2.5), axis=1) + self.size
'''
    found = [
        (one.place, one.kind, one.before, one.after) for one in modules[0].mutants("a", source)
    ]
    assert found == [
        ("module", "constant", "-7.0", "-14.0"),
        ("Model.value", "sign", "sum(left(x, 2.5), axis=1) + self.size", "(sum(left(x, 2.5), axis=1) - self.size)"),
        ("Model.value", "dropped term", "sum(left(x, 2.5), axis=1) + self.size", "(sum(left(x, 2.5), axis=1))"),
        ("Model.value", "swapped argument", "left(x, 2.5)", "(left(2.5, x))"),
        ("Model.value", "constant", "2.5", "5.0"),
    ]  # fmt: skip


def test_those_drawn(modules):
    """The seed alone decides: at least sixty, at most two per file, each parses and differs from the original."""
    mutate, tests_of, run = modules
    files = run.sources()
    drawn = mutate.chosen(files, run.COUNT, run.SEED)
    assert drawn == mutate.chosen(dict(reversed(files.items())), run.COUNT, run.SEED)
    assert drawn != mutate.chosen(files, run.COUNT, run.SEED + 1)
    assert len({mutant.id for mutant in drawn}) == len(drawn) >= 60
    assert {mutant.kind for mutant in drawn} == set(mutate.KINDS)
    for mutant in (*drawn, *run.planted()):
        before = ast.parse(files[mutant.path])
        after = ast.parse(mutant.applied(files[mutant.path]))
        assert ast.dump(before) != ast.dump(after)
    for path in files:
        names, expression = tests_of.selected(tests_of.tests_of(path))
        assert all((SOURCE / name).is_file() for name in names)
        assert expression


def test_the_table_is_that_of_the_rows(modules):
    """Every survivor is explained, and at least nine in ten mutants are caught."""
    run = modules[2]
    rows, reasons = run.load(), json.loads(run.REASONS.read_text())
    assert run.TABLE.read_text() == run.table(rows, reasons)
    assert {row["id"] for row in rows if row["outcome"] == "survived"} == set(reasons)
    assert len(reasons) <= 0.1 * len(rows)
    assert all(row["outcome"] == "caught" for row in rows if row["kind"] == "planted")


@pytest.mark.slow
def test_a_mutant_is_judged(modules, tmp_path):
    run = modules[2]
    for name in run._git("ls-files").splitlines():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes((SOURCE / name).read_bytes())
    path = "gen_jax/ops/mu_law.py"
    right = (SOURCE / path).read_bytes()
    assert run.judge(tmp_path, path, right, sys.executable)["outcome"] == "survived"
    found = run.judge(tmp_path, path, right.replace(b"levels - 1", b"levels + 1"), sys.executable)
    assert found["outcome"] == "caught"
    assert found["test"].startswith("test_wavenet.py::test_mu_law")
    assert (tmp_path / path).read_bytes() == right
