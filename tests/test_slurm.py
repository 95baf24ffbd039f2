"""experiments/cluster/: the script for Slurm on a real Slurm, preempted; the manifest and the commands in both."""

import os
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

import chex
import fleet
import pytest
import yaml

from gen_jax.cli import parser
from gen_jax.runs.workdir import WorkDir
from gen_jax.train.loop import SIGTERM_STATUS

CLUSTER = fleet.ROOT / "experiments" / "cluster"
STEPS = 120


def slurm(*words):
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout


def has_slurm():
    try:
        return shutil.which("sbatch") is not None and bool(slurm("sinfo", "--noheader"))
    except subprocess.CalledProcessError:
        return False


def wait_until(happens, seconds, what):
    end = time.monotonic() + seconds
    while not happens():
        assert time.monotonic() < end, what()
        time.sleep(0.2)


def logged(workdir):
    return [
        {k: v for k, v in row.items() if k != "seconds"} for row in WorkDir(workdir).metrics_rows()
    ]


@pytest.mark.slow
@pytest.mark.skipif(not has_slurm(), reason="no Slurm runs on this machine")
def test_a_preempted_job_ends_on_the_same_bits(tmp_path, data_dir):
    """Two tasks; USR1 to the script: both save, the job is requeued and ends as an undisturbed run, weights and log."""
    config, commands, out = tmp_path / "small.py", tmp_path / "bin", tmp_path / "out.txt"
    config.write_text(fleet.CONFIG)
    commands.mkdir()
    command = f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m gen_jax "$@"\n'
    (commands / "gen-jax").write_text(command)
    (commands / "gen-jax").chmod(0o755)
    words = ["--data-dir", str(data_dir), "--set", f"steps={STEPS}", "--set", "evaluate.every=60"]

    fleet.run(2, 1, "train", config, "--workdir", tmp_path / "undisturbed", *words)

    environment = fleet.environment(1)
    environment["PATH"] = f"{commands}{os.pathsep}{environment['PATH']}"
    # This Slurm has one node and no GPUs.
    text = (CLUSTER / "slurm.sbatch").read_text().splitlines(keepends=True)
    script = tmp_path / "slurm.sbatch"
    script.write_text("".join(line for line in text if "--gpus-per-node" not in line))
    place = ["--nodes=1", "--ntasks-per-node=2", "--cpus-per-task=1", f"--output={out}"]
    given = [config, "--workdir", tmp_path / "run", *words]
    asked = ["sbatch", "--parsable", *place, str(script), *map(str, given)]
    job = subprocess.run(asked, env=environment, capture_output=True, text=True, check=True)
    number = job.stdout.strip()

    def said():
        return out.read_text() if out.exists() else "nothing"

    def state():
        return slurm("scontrol", "show", "job", number).split("JobState=")[1].split()[0]

    try:
        wait_until(lambda: any(row["step"] >= 20 for row in logged(tmp_path / "run")), 180, said)
        slurm("scancel", "--batch", "--signal=USR1", number)
        wait_until(lambda: "Restarts=1" in slurm("scontrol", "show", "job", number), 90, said)
        wait_until(lambda: state() == "PENDING", 60, said)
        time.sleep(3)  # Slurm kills a job that starts in the second in which it was requeued
        slurm("scontrol", "update", f"JobId={number}", "StartTime=now")
        wait_until(lambda: state() in ("COMPLETED", "FAILED", "CANCELLED"), 180, said)
    finally:
        subprocess.run(["scancel", number], capture_output=True)
    assert state() == "COMPLETED", said()
    assert "SIGTERM: saved step" in said()
    assert f"of {STEPS}" in said().split("continuing at step")[1].splitlines()[0]
    assert logged(tmp_path / "run") == logged(tmp_path / "undisturbed")
    ends = (fleet.state(tmp_path / name) for name in ("run", "undisturbed"))
    chex.assert_trees_all_equal(*ends)


@pytest.mark.parametrize("name", ["slurm.sbatch", "tpu_vm.sh"])
def test_the_scripts_are_shell(name):
    done = subprocess.run(["bash", "-n", CLUSTER / name], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_manifest_goes_on_where_the_script_does(tmp_path):
    """Pods are numbered, made again after 134 and 143 only, and run a command that parses."""
    documents = [*yaml.safe_load_all((CLUSTER / "jobset.yaml").read_text())]
    [jobset] = [document for document in documents if document["kind"] == "JobSet"]
    [replicated] = jobset["spec"]["replicatedJobs"]
    job = replicated["template"]["spec"]
    assert job["completionMode"] == "Indexed"
    assert job["parallelism"] == job["completions"]
    codes = {
        rule["action"]: rule["onExitCodes"]["values"]
        for rule in job["podFailurePolicy"]["rules"]
        if "onExitCodes" in rule
    }
    assert codes == {"FailJob": [2], "Ignore": [134, SIGTERM_STATUS]}
    pod = job["template"]["spec"]
    assert pod["restartPolicy"] == "Never"  # without it Kubernetes refuses the rules
    [container] = pod["containers"]
    args = parser().parse_args(container["args"])
    assert args.command == "train"
    assert (fleet.ROOT / "experiments" / "configs" / f"{args.config}.py").exists()
    mounts = [Path(mount["mountPath"]) for mount in container["volumeMounts"]]
    assert any(mount in Path(args.workdir).parents for mount in mounts)
