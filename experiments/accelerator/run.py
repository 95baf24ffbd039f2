"""Measure gen_jax on one accelerator, in at most eight minutes: `make accelerator`.

    python experiments/accelerator/run.py --data cifar10.npz     # on the device: appends to <device>.jsonl here
    python experiments/accelerator/run.py --check                # every stage, small, on a CPU

It needs only a checkout, Python 3.11, jax for the device, flax, optax, numpy and jaxtyping.

- ceilings: peak rates of the device, by matrix products in bfloat16, TF32 and float32, and a copy.
- agreement: 50 SGD steps of three models in float32, compared with `reference.json`, which a CPU wrote (`--reference`).
  Losses must agree to a relative 1e-4 and log p(x) to 1e-3 nats, otherwise the exit status is 1. The effect of TF32 and
  bfloat16 is reported in bits/dim.
- throughput: the train step of PixelCNN++ in images per second and as a fraction of the ceilings.
- drawing: samples per second of PixelCNN++ with growing batches until they no longer increase, by XLA flags for command
  buffers.
- training: PixelCNN++ on CIFAR-10 in the best configuration of `throughput`, for the remaining time.

Work is limited by time, not by steps, since such a device is often lent. A stage is a list of cases, which a separate
process runs one after another; each case appends a JSON line when it is done. If a case fails or its process dies, only
that case is lost; if a stage exceeds its limit, the rest of its cases is lost. The rows record all this. The main
process imports no JAX, so that it does not occupy the device.

`--data` takes .npz files with uint8 images (n, 32, 32, 3), or with `train_residual` (3, n, 32, 32): red minus green,
green and blue minus green, each as differences along both axes modulo 256. The last 5,000 images (at most a fifth) are
for validation. Without data `training` is skipped.
"""

import argparse
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import lines  # noqa: E402

REFERENCE = HERE / "reference.json"
LIMIT, CHECK_LIMIT = 480.0, 900.0  # seconds
FOR_TRAINING = 60.0  # seconds reserved for training
GRACE = 5.0
CRASHES = 2  # consecutive crashes after which a stage is given up
TAIL = 1500  # characters kept of a dead process's standard error

MODELS = ("gated_pixel_cnn", "pixel_cnn_pp", "vae")
PRECISIONS = ("float32", "tensorfloat32", "bfloat16")
FLOAT32 = tuple(f"{model}, float32" for model in MODELS)
THROUGHPUT = """
    resnets 2, bfloat16, batch 64; one layer; resnets 2, tensorfloat32, batch 64; resnets 2, bfloat16, batch 256;
    resnets 2, float32, batch 64; resnets 2, bfloat16, batch 16; resnets 5, bfloat16, batch 64;
    resnets 2, tensorfloat32, batch 256; resnets 5, bfloat16, batch 256; resnets 2, float32, batch 256;
    resnets 2, tensorfloat32, batch 16; resnets 2, float32, batch 16; resnets 5, tensorfloat32, batch 64;
    resnets 5, bfloat16, batch 16; resnets 5, float32, batch 64; resnets 5, tensorfloat32, batch 256;
    resnets 5, tensorfloat32, batch 16; resnets 5, float32, batch 16; resnets 5, float32, batch 256
"""  # the most important first
BUFFERS = "--xla_gpu_enable_command_buffer="
LOOPS = "FUSION,CUBLAS,CUBLASLT,CUDNN,CUSTOM_CALL,DYNAMIC_SLICE_FUSION,WHILE,CONDITIONAL"


class Launch(NamedTuple):
    """Cases of a stage that one process runs, its time limit in seconds, its variant and XLA flags."""

    stage: str
    cases: tuple[str, ...]
    limit: float
    variant: str = ""
    flags: str = ""


BATCHES = tuple(f"batch {n}" for n in (64, 256, 1024, 16))
PLAN = (
    Launch("ceilings", (*(f"{p} product" for p in reversed(PRECISIONS)), "copy"), 30),
    Launch("agreement", tuple(f"{m}, {p}" for p in PRECISIONS for m in MODELS), 70),
    Launch("throughput", tuple(" ".join(c.split()) for c in THROUGHPUT.split(";")), 150),
    Launch("drawing", BATCHES, 40, "command buffers as XLA has them"),
    Launch("drawing", BATCHES, 30, "no command buffers", BUFFERS),
    Launch("drawing", BATCHES, 20, "command buffers with loops", BUFFERS + LOOPS),
    Launch("training", ("cifar10",), float("inf")),
)
SMALL = (
    Launch("ceilings", PLAN[0].cases, 60),
    Launch("agreement", (*FLOAT32, f"{MODELS[0]}, bfloat16"), 300),
    Launch("throughput", ("resnets 1, bfloat16, batch 4", "one layer"), 120),
    Launch("drawing", ("batch 2", "batch 4"), 120, "command buffers as XLA has them"),
    Launch("drawing", ("batch 2",), 60, "no command buffers", BUFFERS),
    Launch("training", ("cifar10",), 120),
)  # --check


class Run(NamedTuple):
    """Settings shared by the processes of a run."""

    name: str
    out: Path
    check: bool
    data: tuple[str, ...]
    cache: str
    stages: Path = HERE


def main(argv: Sequence[str] | None = None) -> int:
    """Run the stages; status 1 if a case failed or disagreed, 2 if there is no accelerator."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", nargs="+", default=[], metavar="FILE.npz")
    parser.add_argument("--out", type=Path, metavar="FILE.jsonl", help="file to append rows to")
    parser.add_argument("--limit", type=float, help=f"time limit in seconds (default: {LIMIT:.0f})")
    parser.add_argument("--stages", nargs="+", choices=sorted({entry.stage for entry in PLAN}))
    parser.add_argument("--check", action="store_true", help="every stage, small, on a CPU")
    parser.add_argument("--reference", action="store_true", help=f"write {REFERENCE.name}")
    args = parser.parse_args(argv)
    end = time.time() + (args.limit or (CHECK_LIMIT if args.check else LIMIT))
    missing = [name for name in args.data if not Path(name).is_file()]
    if missing or (args.out and not args.out.parent.is_dir()):
        parser.error(
            f"no such file: {missing[0]}" if missing else f"no such folder: {args.out.parent}"
        )
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory() as folder:
        cache = os.environ.get("JAX_COMPILATION_CACHE_DIR", f"{folder}/cache")
        name = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        run = Run(name, Path(folder) / "rows.jsonl", args.check, tuple(args.data), cache)
        run = run._replace(check=args.check or args.reference)
        launch(Launch("machine", ("machine",), 120), run, time.time() + 120)
        [machine] = lines.read(run.out)
        if "error" in machine or (machine["platform"] == "cpu" and not run.check):
            why = machine.get("error", "JAX finds only a CPU; --check runs every stage on it")
            print(f"accelerator: no accelerator: {why}", file=sys.stderr)
            return 2
        if args.reference:
            return reference(run, machine)
        if args.out or not args.check:
            run = run._replace(out=args.out or HERE / f"{slug(machine['device'])}.jsonl")
            lines.append(run.out, machine, say=False)
        stages(run, SMALL if args.check else PLAN, args.stages, end)
        rows = [row for row in lines.read(run.out) if row["run"] == run.name]
        print(lines.report(rows))
        return int(any("error" in row or row.get("agrees") is False for row in rows))


def stages(run: Run, plan: Sequence[Launch], wanted: list[str] | None, end: float) -> None:
    """Run one launch after another; unused time of one goes to the next. No launch may exceed `end`."""
    plan = [entry for entry in plan if wanted is None or entry.stage in wanted]
    probes = {entry.flags: probe(entry.flags) for entry in plan if entry.flags}
    reserved = FOR_TRAINING if plan[-1].stage == "training" and len(plan) > 1 else 0.0
    until = time.time()
    for entry in plan:
        until = min(until + entry.limit, end - (GRACE if entry is plan[-1] else reserved))
        if entry.flags and probes[entry.flags].wait():
            leave_out(entry, entry.cases, run, f"XLA does not know {entry.flags}")
        elif entry.stage == "training" and not run.data and not run.check:
            leave_out(entry, entry.cases, run, "no --data")
        else:
            launch(entry, run, until)


def launch(entry: Launch, run: Run, until: float) -> None:
    """Run the cases in processes; each continues where the previous one died. Rows record cases that did not run."""
    left, crashes, begin = list(entry.cases), 0, time.time()
    while left and crashes < CRASHES and until - time.time() > 1:
        status, output = process(entry, left, run, until)
        identity = (run.name, entry.stage, entry.variant)
        done = {
            row["case"]
            for row in lines.read(run.out)
            if (row["run"], row["stage"], row["variant"]) == identity and not row.get("going_on")
        }
        crashes = crashes + 1 if left[0] not in done else 1
        left = [case for case in left if case not in done]
        if left:
            error = f"its process ended with status {status}"
            if time.time() >= until:
                error = f"stopped at the end of the stage's {time.time() - begin:.0f} s"
            lines.append(run.out, row(entry, left.pop(0), run) | {"error": error, "said": output})
    leave_out(entry, left, run, "no time" if crashes < CRASHES else "previous cases died")


def process(entry: Launch, cases: Sequence[str], run: Run, until: float) -> tuple[int, str]:
    """Exit status and last output of a process that runs the cases; it is killed when its time is over."""
    order = {"stage": entry.stage, "variant": entry.variant, "cases": cases, "until": until}
    order |= {**run._asdict(), "out": str(run.out), "stages": str(run.stages)}
    env = {"XLA_PYTHON_CLIENT_MEM_FRACTION": "0.9", **os.environ}
    env["JAX_COMPILATION_CACHE_DIR"] = run.cache
    env["PYTHONPATH"] = os.pathsep.join(filter(None, [str(HERE.parents[1]), env.get("PYTHONPATH")]))
    if run.check:
        env["JAX_PLATFORMS"] = "cpu"
    if entry.flags:
        env["XLA_FLAGS"] = f"{env.get('XLA_FLAGS', '')} {entry.flags}".strip()
    command = [sys.executable, str(HERE / "child.py"), lines.dumps(order)]
    with tempfile.TemporaryFile("w+", errors="replace") as output:
        child = subprocess.Popen(command, env=env, stderr=output, start_new_session=True)
        try:
            status = child.wait(max(until - time.time(), 0) + GRACE)
        except subprocess.TimeoutExpired:
            status = -signal.SIGKILL
        finally:
            if child.poll() is None:
                os.killpg(child.pid, signal.SIGKILL)
                child.wait()
        output.seek(0)
        return status, output.read()[-TAIL:]


def probe(flags: str) -> subprocess.Popen:
    """A process that fails if XLA does not know the flags; XLA would end any process with unknown flags silently."""
    env = {**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags}
    command = [sys.executable, "-c", "import jax; jax.devices()"]
    return subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def reference(run: Run, machine: lines.Row) -> int:
    """Write this CPU's numbers for the cases of `agreement` in float32."""
    launch(Launch("agreement", FLOAT32, 600, "reference"), run, time.time() + 600)
    record: dict[str, Any] = {name: machine[name] for name in ("cpu", "versions", "git", "dirty")}
    for done in lines.read(run.out)[1:]:
        if "losses" not in done:
            return 1
        model = done["case"].partition(",")[0]
        record[model] = {name: done[name] for name in ("losses", "log_prob")}
    REFERENCE.write_text(lines.dumps(record) + "\n")
    return 0


def row(entry: Launch, case: str, run: Run) -> dict[str, Any]:
    """The first fields of every row."""
    return {"run": run.name, "stage": entry.stage, "variant": entry.variant, "case": case}


def leave_out(entry: Launch, cases: Sequence[str], run: Run, why: str) -> None:
    """Append a row for each case that is skipped."""
    for case in cases:
        lines.append(run.out, row(entry, case, run) | {"left_out": why})


def slug(device: str) -> str:
    """A device's name as a file name."""
    return re.sub(r"[^a-z0-9]+", "_", device.lower()).strip("_")


if __name__ == "__main__":
    sys.exit(main())
