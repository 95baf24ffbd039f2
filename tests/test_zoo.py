"""The zoo: it has every image system on digits, evaluates each run once, and its rows agree with the files."""

import json
import runpy

import pytest

from gen_jax.experiment import load_config
from gen_jax.included import CONFIGS, SOURCE
from gen_jax.train import seeds

PROGRAM = runpy.run_path(str(SOURCE / "experiments" / "zoo" / "run.py"), run_name="run")
TABLES = runpy.run_path(str(SOURCE / "experiments" / "tables.py"), run_name="tables")
LEFT_OUT = {"autoencoder", "classifier", "image_bert"}  # neither a likelihood nor samples
# Systems of the zoo, trained for completions and for a plane of latents.
LEFT_OUT |= {"lm_conv_any_order", "vae_two_units"}


def test_every_system_on_digits_is_in_it():
    there = {path.stem.removesuffix("_digits") for path in CONFIGS.glob("*_digits.py")}
    assert set(PROGRAM["SYSTEMS"]) == there - LEFT_OUT
    for system, changes in PROGRAM["SYSTEMS"].items():
        changes = [one.format(runs="runs", seed=1) for one in changes]
        experiment = load_config(CONFIGS / f"{system}_digits.py", [*changes, "seed=1"])
        assert (experiment.data.name, experiment.seed) == ("digits", 1)


def test_each_run_is_judged_once(tmp_path, data_dir, monkeypatch):
    monkeypatch.setitem(PROGRAM["zoo"].__globals__, "SEEDS", (0, 1))
    small = ("steps=4", "evaluate.every=2", "batch_size=8")

    def run():
        return PROGRAM["zoo"](tmp_path / "runs", tmp_path, ("independent",), small, data_dir)

    path = run()
    before = path.read_text()
    [row] = json.loads(before)["rows"]
    assert (row["kind"], row["value"], row["certified"]) == ("mass", "exact", True)
    assert row["mean"] == pytest.approx(sum(row["bits_per_dim"]) / 2)
    assert row["bits_per_dim"][0] != row["bits_per_dim"][1]
    assert row["file"]["examples"] == 359
    assert row["file"]["bits_per_dim"] == pytest.approx(row["bits_per_dim"][0], rel=0.02)
    assert row["sample_seconds"] > 0
    assert row["distances"]["samples"] == 359
    assert (tmp_path / "runs" / "independent_0" / "certificate.json").exists()
    assert not (tmp_path / "runs" / "independent_1" / "certificate.json").exists()

    def untouched(*args):
        raise AssertionError("trained again")

    monkeypatch.setattr(seeds, "train", untouched)
    assert run().read_text() == before
    recorded = {**json.loads(before), "rows": [{**row, "system": "markov"}, row]}
    path.write_text(json.dumps(recorded))
    assert json.loads(run().read_text()) == {**recorded, "rows": recorded["rows"][::-1]}

    monkeypatch.setitem(TABLES["zoo"].__globals__, "RESULTS", tmp_path)
    cell = f"| `independent` | {row['mean']:.4f} ± {row['seed_deviation']:.4f} | "
    assert TABLES["zoo"]().splitlines()[2].startswith(cell)
