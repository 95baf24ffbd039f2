"""The accelerator script: it needs little, loses nothing to a case that fails, and agrees with its own reference."""

import importlib
import json
import os
import subprocess
import sys
import time

import numpy as np
import pytest

from gen_jax.included import SOURCE

FOLDER = SOURCE / "experiments" / "accelerator"
STAGES = ("machine", "ceilings", "agreement", "throughput", "drawing", "training")
NOT_NEEDED = """
    grain tensorflow_datasets orbax beartype constriction tensorflow tensorstore array_record chex diffrax matplotlib
    PIL sklearn tensorboardX
""".split()  # noqa: SIM905  a list to read
FAKE = """
import os, sys, time
from stage import LeftOutError

def run(case, setting):
    if case == "raises":
        raise RuntimeError("first line\\nsecond")
    if case == "dies":
        print("last words", file=sys.stderr, flush=True)
        os._exit(3)
    if case == "left out":
        raise LeftOutError("not worth it")
    if case == "hangs":
        time.sleep(60)
    setting.going_on({"half": True})
    return {"value": float("nan"), "before": [row["case"] for row in setting.rows]}
"""


@pytest.fixture
def module(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    monkeypatch.delitem(sys.modules, "run", raising=False)  # other experiments have such a file
    return importlib.import_module


def test_it_loads_no_more_than_it_says():
    program = (
        f"import sys; sys.path[:0] = [{str(FOLDER)!r}, {str(SOURCE)!r}]; import run; loaded = 'jax' in sys.modules\n"
        f"import {', '.join(STAGES)}\n"
        f"print(loaded, sorted({{name.split('.')[0] for name in sys.modules}} & set({NOT_NEEDED})))"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert said.stdout.strip() == "False []", said.stderr


def test_a_case_that_fails_costs_only_itself(module, tmp_path, monkeypatch):
    run, lines = module("run"), module("lines")
    monkeypatch.setattr(run, "GRACE", 0.5)
    (tmp_path / "fake.py").write_text(FAKE)
    of = run.Run("now", tmp_path / "rows.jsonl", True, (), str(tmp_path), tmp_path)
    of.out.write_text('{"run": "now", "stage": "fa')  # a run that was killed while it wrote
    with of.out.open("a") as file:
        file.write("\n")
    cases, begin = ("fine", "raises", "dies", "left out", "after"), time.time()
    run.launch(run.Launch("fake", cases, 60), of, begin + 60)
    run.launch(run.Launch("fake", ("hangs", "never"), 1.5, "slow"), of, time.time() + 1.5)
    run.launch(run.Launch("fake", ("dies", "again"), 60, "other"), of, time.time() + 60)
    rows = lines.read(of.out)
    done = {(row["variant"], row["case"]): row for row in rows if not row.get("going_on")}
    assert [row["case"] for row in rows if row.get("going_on")] == ["fine", "after", "again"]
    assert done["", "fine"]["value"] is None  # NaN
    assert done["", "raises"]["error"] == "RuntimeError: first line"
    assert "status 3" in done["", "dies"]["error"]
    assert "last words" in done["", "dies"]["said"]
    assert done["", "left out"]["left_out"] == "not worth it"
    assert done["", "after"]["before"] == ["fine", "fine", "raises", "dies", "left out"]
    assert "stopped" in done["slow", "hangs"]["error"]
    assert done["slow", "never"]["left_out"] == "no time"
    assert "value" in done["other", "again"]


def test_flags_that_xla_does_not_know_are_found_before(module):
    run = module("run")
    good, bad = run.probe(run.BUFFERS + run.LOOPS), run.probe("--xla_gpu_no_such_flag=1")
    assert (good.wait(), bad.wait() != 0) == (0, True)


def test_without_an_accelerator_it_says_so(module, capsys, monkeypatch):
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    assert module("run").main([]) == 2
    assert "--check" in capsys.readouterr().err


def test_the_reference_is_that_of_this_code(module):
    agreement, stage = module("agreement"), module("stage")
    setting = stage.Setting(True, "", 0.0, [], [], [], print)
    row = agreement.run("gated_pixel_cnn, float32", setting)
    assert row["agrees"]
    assert len(row["losses"]) == 50
    reference = json.loads(agreement.REFERENCE.read_text())
    off = {"losses": row["losses"], "log_prob": [x + 2e-3 for x in row["log_prob"]]}
    assert not agreement.compared(
        agreement.MODELS["gated_pixel_cnn"], off, reference["gated_pixel_cnn"], "float32"
    )["agrees"]


def test_training_takes_the_smallest_batch_that_is_nearly_as_fast(module):
    training, stage = module("training"), module("stage")

    def row(resnets, batch, speed):
        return {
            "stage": "throughput",
            "resnets": resnets,
            "precision": "bfloat16",
            "batch": batch,
            "images_per_second": speed,
        }

    rows = [row(2, 16, 500), row(2, 64, 950), row(2, 256, 1000), row(5, 256, 2000)]
    rows.append({"stage": "throughput", "error": "out of memory"})
    here = stage.Setting(True, "", 0.0, [], rows, [], print)
    assert training.best(here)["batch"] == 64
    assert training.best(stage.Setting(True, "", 0.0, [], [], rows[:1], print))["batch"] == 16
    assert training.best(stage.Setting(True, "", 0.0, [], [], [], print)) == training.DEFAULT


def test_both_forms_of_the_data_are_read(module, tmp_path):
    x = np.random.default_rng(0).integers(256, size=(3, 32, 32, 3), dtype=np.uint8)
    green = x[..., 1]
    planes = np.stack([x[..., 0] - green, green, x[..., 2] - green])
    residual = np.diff(planes, axis=3, prepend=np.uint8(0))
    residual = np.diff(residual, axis=2, prepend=np.uint8(0))
    np.savez(tmp_path / "a.npz", train_residual=residual, train_labels=np.zeros(3, np.uint8))
    np.savez(tmp_path / "b.npz", labels=np.zeros(3, np.uint8), train=x[::-1])
    read = module("training").read([tmp_path / "a.npz", tmp_path / "b.npz"])
    np.testing.assert_array_equal(read, np.concatenate([x, x[::-1]]))


@pytest.mark.slow
def test_check_runs_every_stage(tmp_path):
    out = tmp_path / "rows.jsonl"
    command = [sys.executable, str(FOLDER / "run.py"), "--check", "--out", str(out)]
    here = ("PYTHONPATH", "XLA_FLAGS")  # the suite's eight devices are not a machine's
    environment = {name: value for name, value in os.environ.items() if name not in here}
    subprocess.run(command, check=True, cwd=tmp_path, env=environment)
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert {row["stage"] for row in rows} == set(STAGES)
    assert not [row for row in rows if "error" in row or "left_out" in row]
