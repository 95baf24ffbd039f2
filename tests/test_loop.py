"""The loop as a process: kill and resume, SIGTERM, full disk, a loss that is not finite."""

import dataclasses
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gen_jax import InputError
from gen_jax.experiment import load_config
from gen_jax.runs.checkpoint import Checkpoints
from gen_jax.runs.splits import load_split
from gen_jax.runs.state import TrainState
from gen_jax.runs.workdir import WorkDir
from gen_jax.train import loop, program, steps

ROOT = Path(__file__).resolve().parents[1]
CONFIG = ROOT / "experiments" / "configs" / "gated_pixel_cnn_digits.py"
STEPS = 60
TINY = (
    "model.depth=1", "model.features=4", "model.head_features=4", "model.first_kernel=3", f"steps={STEPS}",
    "batch_size=8", "evaluate.every=6", "evaluate.examples=64", "evaluate.batch_size=64",
    "optimizer.learning_rate.warmup=2", f"optimizer.learning_rate.steps={STEPS}",
)  # fmt: skip


def command(workdir, data_dir, overrides=TINY):
    sets = [part for override in overrides for part in ("--set", override)]
    where = ["--workdir", str(workdir), "--data-dir", str(data_dir)]
    return [sys.executable, "-m", "gen_jax", "train", str(CONFIG), *sets, *where]


def environment():
    """The environment of one device, whatever the tests simulate: a resumed run must have the same devices."""
    return {
        **os.environ,
        "XLA_FLAGS": "--xla_backend_optimization_level=0",
        "JAX_PLATFORMS": "cpu",
    }


def run(workdir, data_dir, before=()):
    whole = [*before, *command(workdir, data_dir)]
    return subprocess.run(whole, env=environment(), capture_output=True, text=True, timeout=300)


def start(workdir, data_dir):
    return subprocess.Popen(
        command(workdir, data_dir),
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def logged(workdir):
    return [row["step"] for row in WorkDir(workdir).metrics_rows()]


def rows(workdir):
    """The log without times."""
    return [
        {k: v for k, v in row.items() if k != "seconds"} for row in WorkDir(workdir).metrics_rows()
    ]


def wait_for(workdir, step, process):
    while process.poll() is None and max(logged(workdir), default=0) < step:
        time.sleep(0.01)


def final_state(workdir):
    """Every array of the last checkpoint, as saved."""
    checkpoints = Checkpoints(workdir / "checkpoints", read_only=True)
    restored = checkpoints.manager.restore(STEPS)
    return restored["state"]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, data_dir):
    workdir = tmp_path_factory.mktemp("undisturbed") / "run"
    done = run(workdir, data_dir)
    assert done.returncode == 0, done.stderr
    return workdir


@pytest.mark.slow
def test_killed_often_and_resumed_is_bit_equal(undisturbed, data_dir, tmp_path):
    """The same, at eight steps spread over the run, each in a run of its own."""
    for step in range(7, STEPS, 7):
        kill_at(tmp_path / f"run{step}", data_dir, step)
        assert_resumes_bit_equal(undisturbed, data_dir, tmp_path / f"run{step}")


def kill_at(workdir, data_dir, step):
    process = start(workdir, data_dir)
    wait_for(workdir, step, process)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert not (workdir / "checkpoints" / str(STEPS)).exists()


def assert_resumes_bit_equal(undisturbed, data_dir, workdir):
    done = run(workdir, data_dir)
    assert done.returncode == 0, done.stderr
    chex.assert_trees_all_equal(final_state(workdir), final_state(undisturbed))
    steps = [row["step"] for row in WorkDir(workdir).metrics_rows() if row["split"] == "validation"]
    assert steps == list(range(6, STEPS + 1, 6))


def test_sigterm_saves_and_exits_143(undisturbed, data_dir, tmp_path):
    """The step it had reached is kept, and the resumed run ends on the same bits."""
    process = start(tmp_path / "run", data_dir)
    wait_for(tmp_path / "run", 20, process)
    process.terminate()
    assert process.wait() == 143
    newest = max(
        int(path.name)
        for path in (tmp_path / "run" / "checkpoints").iterdir()
        if path.name.isdigit()
    )
    assert 20 <= newest < STEPS
    done = run(tmp_path / "run", data_dir)
    assert f"continuing at step {newest}" in done.stderr
    chex.assert_trees_all_equal(final_state(tmp_path / "run"), final_state(undisturbed))
    assert rows(tmp_path / "run") == rows(undisturbed)


class Steps(program.Program):
    """A program whose metrics are numbers of the step; validation is every 15 steps of 40."""

    def __init__(self):
        config, self.skips = load_config(CONFIG), 0
        every = dataclasses.replace(config.evaluate, every=15)
        self.experiment = dataclasses.replace(config, steps=40, evaluate=every)

    def steps(self, state, first, count):
        row = jnp.arange(first, first + count, dtype=jnp.float32) / 3
        return at(first + count), {"loss": row, "param_norm": row + 1}


def at(step):
    return TrainState(np.int32(step), {}, {}, {}, {})


def test_means_are_over_the_same_steps_however_often_a_run_stops():
    """Stopped at any step, its record written as JSON and read back, a run logs the rows of one that did not stop."""
    undisturbed = [point[:2] for point in steps.reached(Steps(), at(0))]
    assert [step for step, _ in undisturbed] == [10, 15, 20, 30, 40]
    for stop in (1, 7, 10, 14, 15, 33):
        logged, start, pending = [], 0, None
        while start < 40:
            asked = iter([False] * (stop - 1) + [True] * 40)
            for point in steps.reached(
                Steps(), at(start), start, stopping=lambda asked=asked: next(asked), pending=pending
            ):
                if point.pending is None:
                    logged.append(point[:2])
                if point.state is not None:
                    assert point.state.step == point.step
                start, pending = point.step, json.loads(json.dumps(point.pending))
        assert logged == undisturbed


def test_neither_a_kill_nor_a_full_disk_loses_anything(undisturbed, data_dir, tmp_path):
    """Kill -9 at a random step, go on on a full disk, then with room: the same bits as the undisturbed run.

    Of a full disk, here a limit on the size of files, one sentence tells, and status 2.
    """
    workdir = tmp_path / "run"
    kill_at(workdir, data_dir, random.Random(time.time_ns()).randrange(14, STEPS - 6))
    kept = {path.name for path in (workdir / "checkpoints").iterdir() if path.name.isdigit()}
    assert kept
    small = ["sh", "-c", 'ulimit -f 4; exec "$@"', "sh"]  # four blocks of 512 bytes
    full = run(workdir, data_dir, before=small)
    assert full.returncode == 2, full.stderr
    assert full.stderr.splitlines()[-1].startswith("gen-jax: cannot")
    assert "are kept" in full.stderr.splitlines()[-1]
    assert kept <= {path.name for path in (workdir / "checkpoints").iterdir()}
    assert json.loads((workdir / "config.json").read_text())
    assert_resumes_bit_equal(undisturbed, data_dir, workdir)


def experiment(*overrides):
    return load_config(CONFIG, [*TINY, "batch_size=16", *overrides])


def test_a_loss_that_is_not_finite_stops_and_says_where(data_dir, tmp_path):
    """A learning rate of 1e30: the step, the examples of its batch and the last good checkpoint are named."""
    broken = experiment(
        "optimizer.learning_rate.peak=1e30", "evaluate.every=2", "optimizer.clip_norm=None"
    )
    workdir = WorkDir(tmp_path / "run")
    with pytest.raises(
        FloatingPointError, match=r"step \d+; its batch is examples [\d, ]+ of train"
    ):
        loop.train(broken, workdir, data_dir)
    for step in Checkpoints(workdir.checkpoints).steps():
        state = Checkpoints(workdir.checkpoints).manager.restore(step)["state"]
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state["params"]))


def test_a_schedule_shorter_than_the_run_is_refused(data_dir, tmp_path):
    short = experiment("optimizer.learning_rate.steps=30")
    with pytest.raises(InputError, match="ends at step 30, before the last of 60 steps"):
        loop.train(short, WorkDir(tmp_path / "run"), data_dir)
    assert not (tmp_path / "run").exists()


def test_a_schedule_longer_than_the_run_is_named(data_dir, tmp_path, caplog):
    long = experiment("optimizer.learning_rate.steps=90")
    with pytest.raises(InputError, match="batch_size"):  # only what comes before any training
        loop.train(dataclasses.replace(long, batch_size=5000), WorkDir(tmp_path / "a"), data_dir)
    assert "a schedule of 90 steps, of which only 60 are trained" in caplog.text


def test_two_processes_do_not_share_a_work_directory(data_dir, tmp_path):
    workdir = WorkDir(tmp_path / "run")
    workdir.path.mkdir()
    with workdir.locked(), pytest.raises(InputError, match="another process"), workdir.locked():
        pass


def test_overfits_one_batch(data_dir, tmp_path, monkeypatch):
    """Eight images, always the same: far below the entropy of a fresh image."""
    monkeypatch.setattr(program.Batches, "indices", lambda self, step: np.arange(8))
    long = experiment("model.features=32", "model.depth=2", "steps=130", "evaluate.every=130", "model.dropout=0.0",
                      "optimizer.learning_rate.steps=130", "optimizer.learning_rate.peak=1.5e-2",
                      "batch_size=8")  # fmt: skip
    workdir = WorkDir(tmp_path / "run")
    loop.train(long, workdir, data_dir)
    rows = [row["bits_per_dim"] for row in workdir.metrics_rows() if row["split"] == "train"]
    assert rows[0] > 3.0
    assert rows[-1] < 1.0


def test_a_model_of_another_size_is_refused(data_dir):
    with pytest.raises(InputError, match=r"\(8, 8, 1\) with 17 levels"):
        load_split(experiment("model.event.levels=5"), "train", data_dir)


@pytest.mark.parametrize(
    ("steps", "every", "expected"), [(100, 50, 10), (60, 6, 6), (7, 7, 7), (99, 10, 1)]
)
def test_steps_per_call_divide_the_run(steps, every, expected, monkeypatch):
    """On accelerators several steps share a program; they never cross an evaluation."""
    monkeypatch.setattr(program, "unrolled", lambda: False)
    assert (
        program.steps_per_call(experiment(f"steps={steps}", f"evaluate.every={every}")) == expected
    )
    monkeypatch.setattr(program, "unrolled", lambda: True)
    assert program.steps_per_call(experiment(f"steps={steps}", f"evaluate.every={every}")) == 1


def test_state_is_replicated_over_the_devices(data_dir, tmp_path):
    """Trained over eight simulated devices: every device holds the same weights."""
    short = experiment("steps=4", "evaluate.every=2")
    workdir = WorkDir(tmp_path / "run")
    state = loop.train(short, workdir, data_dir)
    kernel = state.params["logits"]["kernel"]
    assert len(kernel.addressable_shards) == 8
    for shard in kernel.addressable_shards:
        np.testing.assert_array_equal(shard.data, kernel)
    assert int(state.step) == 4
    assert jnp.isfinite(kernel).all()
