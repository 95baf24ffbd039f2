"""Damage a tiny trained run in more than 100 ways, drawn by a seed, and check each outcome: `make faults`.

After a fault a command must either be `refused` (exit status 2 and one sentence) or have `passed` (exit status 0 and
exactly the result of an undamaged checkpoint). There must be no traceback and no other result, and no undamaged
checkpoint may be lost. Everything happens in a temporary folder.
"""

import contextlib
import io
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gen_jax import cli
from gen_jax.disk import write_atomically

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / "experiments" / "configs" / "gated_pixel_cnn_digits.py"
JSON, PAGE = (Path(__file__).with_name(name) for name in ("faults.json", "RESULTS.md"))
TINY = (
    "model.depth=1 model.features=4 model.head_features=4 model.first_kernel=3 steps=6 batch_size=8"
    " evaluate.every=2 evaluate.batch_size=64 optimizer.learning_rate.steps=6"
    " optimizer.learning_rate.warmup=1"
)
SEED = 0
DECOMPRESS = "decompress {run} {root}/x.gjx -o {root}/y.npz"


class Fault(NamedTuple):
    """A damage to a copy of the run, the command that runs after it, and the expected outcome."""

    area: str
    name: str
    do: Callable[["Place"], Any]
    command: str = "evaluate {run} --data-dir {data} --json"
    expected: str = "refused"  # refused, passed, or either
    env: str = ""  # NAME=VALUE: run the command in a separate process with this variable


class Place(NamedTuple):
    """A folder with a fresh copy of the run, the data, an archive and inputs; attributes are paths in it."""

    root: Path

    def __getattr__(self, name: str) -> Path:
        return self.root / name


def sets(*more: str) -> str:
    """Options that make the training tiny."""
    return " ".join(f"--set {setting}" for setting in (*TINY.split(), *more))


def train(workdir: str = "{run}", *more: str) -> str:
    """The command that trains in `workdir`, or continues the training there."""
    return f"train {CONFIG} {sets(*more)} --workdir {workdir} --data-dir {{data}} --json"


def damaged(path: Path, how: str, rng: random.Random) -> None:
    """Damage a file in the way `how`."""
    content = bytearray(path.read_bytes()) if path.is_file() else bytearray()
    if how == "flip":
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    spoilt = {
        "truncate": bytes(content[: len(content) // 2]),
        "empty": b"",
        "zeros": bytes(len(content)),
        "not UTF-8": b"\xff\xfe" + bytes(content),
        "nested": b"[" * 100_000,
        "list": b"[]",
        "number": b"7",
        "null": b"null",
        "flip": bytes(content),
    }
    path.unlink()
    if how == "folder":
        path.mkdir()
    elif how == "link":
        path.symlink_to("/nowhere")
    elif how != "remove":
        path.write_bytes(spoilt[how])


WAYS = ("truncate", "empty", "not UTF-8", "nested", "list", "number", "null", "folder", "link")


def faults() -> Iterator[Fault]:
    """All faults; `SEED` determines what is random in them."""
    rng = random.Random(SEED)

    def spoil(name: str, how: str) -> Callable[[Place], Any]:
        seed = rng.random()
        return lambda at: damaged(at.root / name, how, random.Random(seed))

    for how in (*WAYS, "remove"):
        yield Fault("folders", f"config.json: {how}", spoil("run/config.json", how))
    for how in (*WAYS[:-1], "remove"):
        kind = "either" if how == "folder" else "passed"
        yield Fault("folders", f"certificate.json: {how}",
                    spoil("run/certificate.json", how), expected=kind)  # fmt: skip
    for how in (*WAYS[:-1], "remove"):
        yield Fault("folders", f"metrics.jsonl: {how}, then training goes on",
                    spoil("run/metrics.jsonl", how), train(), "passed")  # fmt: skip
    for how in ("folder", "link"):
        yield Fault("folders", f"lock: {how}", spoil("run/lock", how), train())
    for field, value in (
        ("steps", "6"),
        ("batch_size", 10**12),
        ("seed", -1),
        ("model", None),
        ("data", []),
    ):
        yield Fault("folders", f"config.json: {field} is {value!r}", _field(field, value))

    for item in (
        "state/manifest.ocdbt",
        "state/_METADATA",
        "record/metadata",
        "_CHECKPOINT_METADATA",
    ):
        for how in ("truncate", "empty", "flip", "remove"):
            yield Fault("saving", f"newest checkpoint, {item}: {how}",
                        spoil(f"run/checkpoints/6/{item}", how), expected="passed")  # fmt: skip
    for how in ("truncate", "flip", "zeros", "remove"):
        yield Fault(
            "saving",
            f"newest checkpoint, arrays: {how}",
            _arrays(how, rng.random()),
            expected="passed",
        )
    yield Fault(
        "saving",
        "all checkpoints without arrays",
        lambda at: [shutil.rmtree(x) for x in at.run.glob("checkpoints/*/state")],
    )
    yield Fault("saving", "no checkpoints", lambda at: shutil.rmtree(at.run / "checkpoints"))
    yield Fault(
        "saving",
        "a stray folder 99",
        lambda at: (at.run / "checkpoints/99").mkdir(),
        expected="passed",
    )
    yield Fault(
        "saving",
        "what a kill leaves",
        lambda at: shutil.copytree(
            at.run / "checkpoints/6", at.run / "checkpoints/8.orbax-checkpoint-tmp"
        ),
        expected="passed",
    )

    for more in ("model.event.levels=1099511627776", "batch_size=1000000000000", "model.depth=1000000",
                 "evaluate.batch_size=1000000000000", "steps=0", "seed=-1", "model.features=-4"):  # fmt: skip
        yield Fault("training", f"--set {more}", _nothing, train("{new}", more))
    yield Fault("training", "a path with a backslash", _nothing, train("{new}/a\\b"))
    yield Fault("training", "a path that is a pattern", _nothing, train("{new}/[a-b]*"), "passed")
    yield Fault("training", "the folder is a file", lambda at: at.new.touch(), train("{new}"))
    yield Fault(
        "training",
        "the folder is a link to nowhere",
        lambda at: at.new.symlink_to("/nowhere/x"),
        train("{new}"),
    )
    yield Fault("training", "another config", _nothing, train("{run}", "model.depth=2"))

    for file in ("dataset_info.json", "features.json", "metadata.json"):
        for how in ("truncate", "not UTF-8", "remove"):
            kind = "either" if file == "metadata.json" and how == "remove" else "refused"
            yield Fault(
                "data", f"{file}: {how}", spoil(f"data/digits/1.0.0/{file}", how), expected=kind
            )
    for how in ("truncate", "empty", "remove"):
        name = "digits-test.array_record-00000-of-00001"
        yield Fault("data", f"records of test: {how}", spoil(f"data/digits/1.0.0/{name}", how))
    yield Fault("data", "no data", lambda at: shutil.rmtree(at.data))

    for out in ("{new}/x.png", "{run}", "{root}/x.gif", "{root}/" + "n" * 300 + ".png"):
        yield Fault("outputs", f"sample --out {out[:24]}", _nothing, "sample {run} --out " + out)
    yield Fault(
        "outputs",
        "export to a folder that is there",
        lambda at: at.new.mkdir(),
        "export {run} --out {new}",
    )

    for i in range(8):
        yield Fault("containers", f"bit {i} flipped", spoil("x.gjx", "flip"), DECOMPRESS, "either")  # fmt: skip
    for how in ("truncate", "empty", "zeros", "folder", "link"):
        yield Fault("containers", f"{how}", spoil("x.gjx", how), DECOMPRESS)  # fmt: skip

    for env in (
        "JAX_ENABLE_X64=1",
        "JAX_PLATFORMS=nowhere",
        "XLA_FLAGS=--xla_nonsense=1",
        "JAX_NUM_CPU_DEVICES=x",
    ):
        yield Fault("environment", env, _nothing, env=env)
    for env in ("JAX_NUMPY_DTYPE_PROMOTION=strict", "JAX_NUMPY_RANK_PROMOTION=raise",
                "JAX_TRANSFER_GUARD=disallow", "JAX_DEFAULT_PRNG_IMPL=rbg"):  # fmt: skip
        yield Fault("environment", env, _nothing, expected="passed", env=env)


def _nothing(at: Place) -> None:
    """Damage nothing: the fault is in the command."""


def _field(name: str, value: Any) -> Callable[[Place], None]:
    def do(at: Place) -> None:
        record = json.loads((at.run / "config.json").read_text())
        record["experiment"]["fields"][name] = value
        (at.run / "config.json").write_text(json.dumps(record))

    return do


def _arrays(how: str, seed: float) -> Callable[[Place], None]:
    def do(at: Place) -> None:
        rng = random.Random(seed)
        for path in sorted((at.run / "checkpoints/6/state").rglob("d/*")):
            damaged(path, how, rng)

    return do


def call(argv: list[str]) -> tuple[int | str, str, str]:
    """Run a command in this process; returns its status, or the exception as text, and both outputs."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status: Any = cli.main(argv)
        except SystemExit as leaving:
            status = leaving.code
        except Exception as error:
            status = f"{type(error).__name__}: {error}"[:200]
    return status, out.getvalue(), err.getvalue()


def apart(argv: list[str], env: str) -> tuple[int, str, str]:
    """Like `call`, in a separate process with one environment variable."""
    name, _, value = env.partition("=")
    done = subprocess.run([sys.executable, "-m", "gen_jax", *argv], capture_output=True, text=True,
                          env={**os.environ, "PYTHONPATH": str(ROOT), name: value})  # fmt: skip
    return done.returncode, done.stdout, done.stderr


def verdict(
    fault: Fault, status: int | str, out: str, err: str, sound: set[float]
) -> tuple[str, str]:
    """The outcome as a word, and the last line that the command wrote to stderr."""
    lines = [line for line in err.splitlines() if line.strip()]
    sentence = lines[-1] if lines else ""
    if "Traceback" in err or not isinstance(status, int):
        return "traceback", sentence or str(status)
    if status == 2:
        return "refused", sentence
    if status != 0:
        return f"status {status}", sentence
    if fault.command.startswith("evaluate") and json.loads(out)["nats"] not in sound:
        return "another number", out[:200]
    return "passed", sentence


def main() -> int:
    """Run all faults and write the record and the page; returns 1 if an outcome is unexpected."""
    from gen_jax.data import prepared

    rows = []
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder) / "base"
        base.mkdir()
        prepared.prepare("digits", base / "data")
        names = {"run": base / "run", "data": base / "data", "new": base / "new", "root": base}
        for command in (train(), "certify {run} --data-dir {data} --examples 2"):
            status, _, err = call(command.format(**names).split())
            assert status == 0, err
        np.savez(base / "x.npz", images=prepared.load("digits", "test", base / "data").x[:2])
        call(f"compress {base}/run {base}/x.npz -o {base}/x.gjx".split())
        sound = set()
        for step in ("6", "4", "2"):
            copy = Path(folder) / "copy"
            shutil.copytree(base, copy)
            for path in (copy / "run/checkpoints").iterdir():
                if path.name != step:
                    shutil.rmtree(path)
            status, out, _ = call(f"evaluate {copy}/run --data-dir {copy}/data --json".split())
            if status == 0:
                sound.add(json.loads(out)["nats"])
            shutil.rmtree(copy)
        for number, fault in enumerate(faults()):
            place = Place(Path(folder) / str(number))
            shutil.copytree(base, place.root)
            fault.do(place)
            names = {"run": place.run, "data": place.data, "new": place.new, "root": place.root}
            argv = [part.format(**names) for part in fault.command.split()]
            before = {p.name for p in place.run.glob("checkpoints/*")}
            done = apart(argv, fault.env) if fault.env else call(argv)
            outcome, sentence = verdict(fault, *done, sound)
            after = {
                p.name for p in (*place.run.glob("checkpoints/*"), *place.run.glob("damaged/*"))
            }
            lost = sorted(name for name in before - after if name.isdigit())
            if lost:
                outcome = f"lost {', '.join(lost)}"
            good = outcome == fault.expected or (
                fault.expected == "either" and outcome in ("refused", "passed")
            )
            sentence = sentence.replace(str(place.root), "").replace(str(ROOT), "")
            rows.append({"area": fault.area, "fault": fault.name, "expected": fault.expected,
                         "came": outcome, "as_expected": good, "said": sentence[:240]})  # fmt: skip
            print(f"{'ok ' if good else 'BAD'} {fault.area}: {fault.name}: {outcome}", flush=True)
            shutil.rmtree(place.root)
    write_atomically(JSON, json.dumps({"seed": SEED, "faults": rows}, indent=1) + "\n")
    write_atomically(PAGE, page(rows))
    bad = sum(not row["as_expected"] for row in rows)
    print(f"{len(rows)} faults, {bad} with an unexpected outcome")
    return 1 if bad else 0


def page(rows: list[dict[str, Any]]) -> str:
    """The rows as a Markdown page."""
    good = sum(row["as_expected"] for row in rows)
    lines = [
        "# Faults", "",
        f"`make faults` damages a tiny trained run in {len(rows)} ways, by a seed. {good} had the expected outcome:",
        "one sentence and exit status 2 (`refused`), or the result of an undamaged checkpoint (`passed`).", "",
        "| area | fault | expected | outcome | |", "|---|---|---|---|---|",
    ]  # fmt: skip
    for row in rows:
        mark = "" if row["as_expected"] else "**unexpected**"
        fault = row["fault"].replace("|", "\\|").replace("*", "\\*")
        lines.append(f"| {row['area']} | {fault} | {row['expected']} | {row['came']} | {mark} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
