"""What one accelerator does with gen_jax, in at most eight minutes: `make accelerator`.

    python experiments/accelerator/run.py --data cifar10.npz     # on the device: appends to <device>.jsonl beside this
    python experiments/accelerator/run.py --check                # every stage, small, on a CPU

A checkout is enough: nothing is installed but Python 3.11, jax for the device, flax, optax, numpy and jaxtyping.

- ceilings: products of matrices in bfloat16, TF32 and float32, and a copy: what the device can do at all.
- agreement: 50 SGD steps of three models in float32 against `reference.json`, which a CPU wrote (`--reference`). The
  losses agree to 1e-4 of their size and log p(x) to 1e-3 nats, or the exit status is 1. What TF32 and bfloat16 change
  is reported in bits/dim.
- throughput: the train step of PixelCNN++ in images a second and as a share of the ceilings.
- drawing: samples a second of PixelCNN++, batch after batch until they grow no more, by XLA flags of command buffers.
- training: PixelCNN++ on CIFAR-10 in the best configuration of `throughput`, for the time that is left.

Time limits, not steps, bound what is done here, since such a device is lent. A stage is a list of cases that a process
of its own does one after the other; each appends one JSON line when it is done. A case that fails or a process that
dies costs that case, a stage that outlasts its limit the rest of its cases; all that is said in the rows. This process
imports no JAX, so that it holds no device.

`--data` takes .npz files with uint8 images (n, 32, 32, 3), or with `train_residual` (3, n, 32, 32): red minus green,
green and blue minus green, each as differences along both axes modulo 256. The last 5,000 images (at most a fifth) are
for validation. Without it `training` is left out.
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
FOR_TRAINING = 60.0  # of them no other stage may take
GRACE = 5.0
CRASHES = 2  # one after the other, and a stage is given up
TAIL = 1500  # characters of a dead process's last words

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
"""  # what matters most comes first
BUFFERS = "--xla_gpu_enable_command_buffer="
LOOPS = "FUSION,CUBLAS,CUBLASLT,CUDNN,CUSTOM_CALL,DYNAMIC_SLICE_FUSION,WHILE,CONDITIONAL"


class Launch(NamedTuple):
    """Cases of a stage that one process does, its time limit in seconds, and what makes its variant."""

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
    """What the processes of one run share."""

    name: str
    out: Path
    check: bool
    data: tuple[str, ...]
    cache: str
    stages: Path = HERE


def main(argv: Sequence[str] | None = None) -> int:
    """Run the stages; 1 where a case failed or disagreed, 2 where there is no accelerator."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", nargs="+", default=[], metavar="FILE.npz")
    parser.add_argument("--out", type=Path, metavar="FILE.jsonl", help="rows are appended to it")
    parser.add_argument("--limit", type=float, help=f"seconds for all ({LIMIT:.0f})")
    parser.add_argument("--stages", nargs="+", choices=sorted({one.stage for one in PLAN}))
    parser.add_argument("--check", action="store_true", help="every stage, small, on a CPU")
    parser.add_argument("--reference", action="store_true", help=f"write {REFERENCE.name}")
    args = parser.parse_args(argv)
    end = time.time() + (args.limit or (CHECK_LIMIT if args.check else LIMIT))
    missing = [name for name in args.data if not Path(name).is_file()]
    if missing or (args.out and not args.out.parent.is_dir()):
        parser.error(f"there is no {missing[0]}" if missing else f"no folder {args.out.parent}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory() as folder:
        cache = os.environ.get("JAX_COMPILATION_CACHE_DIR", f"{folder}/cache")
        name = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        run = Run(name, Path(folder) / "rows.jsonl", args.check, tuple(args.data), cache)
        run = run._replace(check=args.check or args.reference)
        launch(Launch("machine", ("machine",), 120), run, time.time() + 120)
        [machine] = lines.read(run.out)
        if "error" in machine or (machine["platform"] == "cpu" and not run.check):
            said = machine.get("error", "JAX finds a CPU only; --check runs every stage on it")
            print(f"accelerator: no accelerator: {said}", file=sys.stderr)
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
    """One launch after the other; what one does not use of its limit the next one may. `end` holds for all."""
    plan = [one for one in plan if wanted is None or one.stage in wanted]
    probes = {one.flags: probe(one.flags) for one in plan if one.flags}
    kept = FOR_TRAINING if plan[-1].stage == "training" and len(plan) > 1 else 0.0
    until = time.time()
    for one in plan:
        until = min(until + one.limit, end - (GRACE if one is plan[-1] else kept))
        if one.flags and probes[one.flags].wait():
            leave_out(one, one.cases, run, f"XLA does not know {one.flags}")
        elif one.stage == "training" and not run.data and not run.check:
            leave_out(one, one.cases, run, "no --data")
        else:
            launch(one, run, until)


def launch(one: Launch, run: Run, until: float) -> None:
    """The cases in processes, each going on where the one before died; what no process did is said in rows."""
    left, crashes, begin = list(one.cases), 0, time.time()
    while left and crashes < CRASHES and until - time.time() > 1:
        status, said = process(one, left, run, until)
        done = {
            row["case"]
            for row in lines.read(run.out)
            if (row["run"], row["stage"], row["variant"]) == (run.name, one.stage, one.variant)
            and not row.get("going_on")
        }
        crashes = crashes + 1 if left[0] not in done else 1
        left = [case for case in left if case not in done]
        if left:
            error = f"its process ended with status {status}"
            if time.time() >= until:
                error = f"stopped at the end of the stage's {time.time() - begin:.0f} s"
            lines.append(run.out, row(one, left.pop(0), run) | {"error": error, "said": said})
    leave_out(one, left, run, "no time" if crashes < CRASHES else "the ones before it died")


def process(one: Launch, cases: Sequence[str], run: Run, until: float) -> tuple[int, str]:
    """Exit status and last words of one process that does the cases; it is killed when its time is over."""
    order = {"stage": one.stage, "variant": one.variant, "cases": cases, "until": until}
    order |= {**run._asdict(), "out": str(run.out), "stages": str(run.stages)}
    env = {"XLA_PYTHON_CLIENT_MEM_FRACTION": "0.9", **os.environ}
    env["JAX_COMPILATION_CACHE_DIR"] = run.cache
    env["PYTHONPATH"] = os.pathsep.join(filter(None, [str(HERE.parents[1]), env.get("PYTHONPATH")]))
    if run.check:
        env["JAX_PLATFORMS"] = "cpu"
    if one.flags:
        env["XLA_FLAGS"] = f"{env.get('XLA_FLAGS', '')} {one.flags}".strip()
    command = [sys.executable, str(HERE / "child.py"), lines.dumps(order)]
    with tempfile.TemporaryFile("w+", errors="replace") as said:
        child = subprocess.Popen(command, env=env, stderr=said, start_new_session=True)
        try:
            status = child.wait(max(until - time.time(), 0) + GRACE)
        except subprocess.TimeoutExpired:
            status = -signal.SIGKILL
        finally:
            if child.poll() is None:
                os.killpg(child.pid, signal.SIGKILL)
                child.wait()
        said.seek(0)
        return status, said.read()[-TAIL:]


def probe(flags: str) -> subprocess.Popen:
    """A process that fails where XLA does not know the flags: it ends a process that has others, without a word."""
    env = {**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags}
    command = [sys.executable, "-c", "import jax; jax.devices()"]
    return subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def reference(run: Run, machine: lines.Row) -> int:
    """Write what this CPU finds for the cases of `agreement` in float32."""
    launch(Launch("agreement", FLOAT32, 600, "reference"), run, time.time() + 600)
    kept: dict[str, Any] = {name: machine[name] for name in ("cpu", "versions", "git", "dirty")}
    for one in lines.read(run.out)[1:]:
        if "losses" not in one:
            return 1
        kept[one["case"].partition(",")[0]] = {name: one[name] for name in ("losses", "log_prob")}
    REFERENCE.write_text(lines.dumps(kept) + "\n")
    return 0


def row(one: Launch, case: str, run: Run) -> dict[str, Any]:
    """What every row begins with."""
    return {"run": run.name, "stage": one.stage, "variant": one.variant, "case": case}


def leave_out(one: Launch, cases: Sequence[str], run: Run, why: str) -> None:
    """A row for each case that is not done."""
    for case in cases:
        lines.append(run.out, row(one, case, run) | {"left_out": why})


def slug(device: str) -> str:
    """A device's name as that of a file."""
    return re.sub(r"[^a-z0-9]+", "_", device.lower()).strip("_")


if __name__ == "__main__":
    sys.exit(main())
