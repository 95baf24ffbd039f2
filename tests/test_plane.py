"""The table of the plane: true densities by quadrature and by the sets' own points; a short run; its text."""

import json
import runpy
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gen_jax.data import prepared
from gen_jax.data.builders import BUILDERS

FOLDER = Path(__file__).resolve().parents[1] / "experiments" / "plane"


SETS = ("moons", "circles", "two_spirals", "pinwheel", "checkerboard", "eight_gaussians")


@pytest.fixture(scope="module")
def truth():
    """With a coarser curve and arm."""
    names = runpy.run_path(str(FOLDER / "truth.py"))
    names["log_density"].__globals__.update(CURVE=300, ARM=800)
    return names


@pytest.mark.parametrize("name", SETS)
def test_the_true_density(truth, name):
    """It sums to 1 on a grid, is finite at the set's points, and its bins expect as many points as there are."""
    builder: Any = BUILDERS[name]
    x = builder.points("test")
    low, high = (-2.0, 2.0) if name == "checkerboard" else (x.min() - 0.3, x.max() + 0.3)
    edges = np.linspace(low, high, 49)
    middles = (edges[1:] + edges[:-1]) / 2
    grid = np.stack(np.meshgrid(middles, middles, indexing="ij"), axis=-1).reshape(-1, 2)
    mass = np.exp(truth["log_density"](name, grid)) * (edges[1] - edges[0]) ** 2
    assert mass.sum() == pytest.approx(1.0, abs=0.1 if name == "pinwheel" else 1e-2)
    assert np.all(np.isfinite(truth["log_density"](name, x[:200])))
    counts = np.histogram2d(*x.T, bins=[edges[::4], edges[::4]])[0]
    expected = len(x) * mass.reshape(12, 4, 12, 4).sum(axis=(1, 3))
    apart = np.abs(counts - expected) / np.sqrt(expected + 4)
    assert apart.max() < 5


def test_the_text(tmp_path):
    table = runpy.run_path(str(FOLDER / "table.py"))["text"]
    path, hardware = tmp_path / "plane.json", lambda stored: f"{stored['threads']} CPU thread"
    assert table(path, hardware) == ""
    solver = {"method": "tsit5", "tolerance": 1e-5, "max_steps": 9, "trace": "exact"}
    one = {"mean": 1.25, "deviation": 0.01, "draws": None}
    systems = {
        "real_nvp": {**one, "value": "exact", "solver": None},
        "ffjord": {**one, "value": "estimate", "solver": solver},
        "ddpm": {**one, "value": "estimate", "solver": solver},
    }
    row = {"set": "moons", "truth": 1.0, "stderr": 0.02, "kernel": 1.1, "num_examples": 10_000}
    path.write_text(
        json.dumps({"seeds": [0, 1], "threads": 1, "rows": [{**row, "systems": systems}]})
    )
    text = table(path, hardware)
    assert "| moons | 1.000 ± 0.020 | 1.100 | 1.250 ± 0.010 | ~ 1.250 ± 0.010 |" in text
    assert "Estimate (tsit5, 1e-5, exact trace): `ffjord`, `ddpm`." in text


@pytest.mark.slow
def test_a_short_run(tmp_path, monkeypatch):
    """Every system on one set, two seeds, a few steps; finished runs are read again."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    program = runpy.run_path(str(FOLDER / "run.py"), run_name="plane")
    names = program["plane"].__globals__
    monkeypatch.setitem(names, "SETS", ("moons",))
    monkeypatch.setitem(names, "SEEDS", (0, 1))
    prepared.prepare("moons", tmp_path)
    short = ("steps=2", "optimizer.learning_rate.steps=500", "evaluate.every=2")
    args = (tmp_path / "runs", tmp_path, tuple(names["SYSTEMS"]), short, tmp_path)
    stored = json.loads(program["plane"](*args).read_text())
    [row] = stored["rows"]
    assert row["truth"] == pytest.approx(1.0, abs=0.05)
    assert row["truth"] < row["kernel"] < row["truth"] + 0.1
    assert all(len(system["nats"]) == 2 for system in row["systems"].values())
    assert row["systems"]["ffjord"]["value"] == "estimate"
    monkeypatch.setitem(names["seeds"].__dict__, "train", None)
    assert json.loads(program["plane"](*args).read_text())["rows"] == stored["rows"]
