"""Plant mutations in a copy of the package and see which ones the tests catch: `make mutants`.

The mutations are drawn by a seed from ops, nn, models and heads; the bugs in `PLANTED`, which the tests once missed,
are added. For each the tests of its file run (`tests_of.py`) until one fails. `mutants.json` gets a row after each
mutation, so that a stopped run can continue. Survivors run every time, mutations that were caught before only with
`--all`. `reasons.json` says by id why a survivor is not a fault; `RESULTS.md` is the table of both files.
"""

import argparse
import json
import os
import queue
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from mutate import KINDS, Mutant, chosen
from tests_of import selected, tests_of

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
ROWS, REASONS, TABLE = HERE / "mutants.json", HERE / "reasons.json", HERE / "RESULTS.md"
PLACES = ("gen_jax/ops/*.py", "gen_jax/nn/*.py", "gen_jax/models/**/*.py", "gen_jax/heads.py")
SEED, COUNT, SECONDS = 0, 60, 400  # SECONDS of processor time: more is a timeout
PLANTED = {
    "dequantisation noise in [0, 1/2) in the loss only": (
        "gen_jax/models/flow/base.py",
        "y, log_q = self.dequantized(x, key, True, cond)",
        "y, log_q = self.dequantized(x, key, True, cond); y = 0.5 * (x + y)",
    ),
    "DDPM never draws t = T": (
        "gen_jax/models/diffusion/ddpm.py",
        "1, self.timesteps + 1)",
        "1, self.timesteps)",
    ),
    "DDPM never draws t = 1": (
        "gen_jax/models/diffusion/ddpm.py",
        "1, self.timesteps + 1)",
        "2, self.timesteps + 1)",
    ),
    "dropout inert in PixelCNN++ and PixelSNAIL": (
        "gen_jax/nn/gated_resnet.py",
        "self.drop(self.activation(hidden), deterministic=not train)",
        "self.drop(self.activation(hidden), deterministic=True)",
    ),
    "dropout inert in the U-net": (
        "gen_jax/nn/unet.py",
        "deterministic=not train",
        "deterministic=True",
    ),
    "label ignored in PixelCNN++": (
        "gen_jax/nn/gated_resnet.py",
        "out = out + spread(self.classes(cond), at)",
        "out = out + 0 * spread(self.classes(cond), at)",
    ),
    "log-scale floor -5 for -7": (
        "gen_jax/ops/logistic_mixture.py",
        "MIN_LOG_SCALE = -7.0",
        "MIN_LOG_SCALE = -5.0",
    ),
    "VQ epsilon times K for by K": (
        "gen_jax/nn/codebook.py",
        "EPSILON / self.codes",
        "EPSILON * self.codes",
    ),
    "PixelSNAIL's row coordinate constant": (
        "gen_jax/models/autoregressive/pixel_snail.py",
        "np.arange(H) / H - 0.5",
        "0 * np.arange(H) / H - 0.5",
    ),
    "bits/dim of the prior by the size of the codes": (
        "gen_jax/models/latent/vq_vae_prior.py",
        "bits_per_dim(code_nats + reconstruction, self.event)",
        "bits_per_dim(code_nats + reconstruction, self.first.code_event)",
    ),
}


def sources() -> dict[str, bytes]:
    """The files from which mutations are drawn, by path."""
    paths = {path for pattern in PLACES for path in ROOT.glob(pattern)}
    return {str(p.relative_to(ROOT)): p.read_bytes() for p in paths if p.name != "__init__.py"}


def planted() -> list[Mutant]:
    """The mutants of `PLANTED`; ValueError if a file no longer has the text to replace."""
    result = []
    for name, (path, before, after) in PLANTED.items():
        source = (ROOT / path).read_bytes()
        start = source.find(before.encode())
        if start < 0:
            raise ValueError(f"{path} no longer has {before!r}: update {name!r}")
        line = source[:start].count(b"\n") + 1
        end = start + len(before.encode())
        result.append(Mutant(path, name, "planted", 0, line, start, end, before, after))
    return result


def judge(copy: Path, path: str, text: bytes, python: str) -> dict[str, Any]:
    """Run the tests of a file with this content: the outcome is caught, survived or timeout."""
    files, expression = selected(tests_of(path))
    target, began = copy / path, time.monotonic()
    before = target.read_bytes()
    target.write_bytes(text)
    command = [python, "-P", "-m", "pytest", *files, "-k", expression, "-x", "-m", "not slow"]
    environment = {**os.environ, "PYTHONPATH": str(copy)}

    def limited():
        resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))

    try:
        done = subprocess.run(
            [*command, "-p", "no:cacheprovider"],
            cwd=copy,
            env=environment,
            capture_output=True,
            text=True,
            preexec_fn=limited,
        )
    finally:
        target.write_bytes(before)
    if 2 < done.returncode < 128:
        raise RuntimeError(f"pytest ended with {done.returncode}: {done.stdout}{done.stderr}")
    first = re.search(r"^(?:FAILED|ERROR) tests/(\S+)", done.stdout, re.MULTILINE)
    outcome = "survived" if done.returncode == 0 else "caught" if first else "timeout"
    test = first.group(1) if outcome == "caught" and first else None
    return {"outcome": outcome, "test": test, "seconds": round(time.monotonic() - began)}


def run(python: str, workers: int, everything: bool) -> None:
    """Run the tests on all mutants without a row, on survivors, and with `everything` on all others."""
    commit = _git("rev-parse", "HEAD")
    if _git("status", "--porcelain", "gen_jax", "tests"):
        raise SystemExit("commit the changes in gen_jax and tests first: the table names a commit")
    files = sources()
    todo = [*planted(), *chosen(files, COUNT, SEED)]
    known = {row["id"]: row for row in load()}
    rows: dict[str, Any] = {mutant.id: known.get(mutant.id) for mutant in todo}
    waiting: queue.Queue[Mutant] = queue.Queue()
    for mutant in todo:
        row = rows[mutant.id]
        same = row and (row["before"], row["after"]) == (mutant.before, mutant.after)
        if not same or row["outcome"] != "caught" or (everything and row["commit"] != commit):
            waiting.put(mutant)
    lock = threading.Lock()

    def work():
        with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
            copy = Path(folder) / "tree"
            for name in _git("ls-files").splitlines():
                (copy / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(ROOT / name, copy / name)
            while True:
                try:
                    mutant = waiting.get_nowait()
                except queue.Empty:
                    return
                text = mutant.applied((ROOT / mutant.path).read_bytes())
                verdict = judge(copy, mutant.path, text, python)
                keys = ("id", "path", "line", "place", "kind", "before", "after")
                fields = {key: getattr(mutant, key) for key in keys}
                line = f"{verdict['outcome']:9} {verdict['seconds']:4} s  {mutant.id}"
                with lock:
                    rows[mutant.id] = {**fields, **verdict, "commit": commit}
                    save([row for row in rows.values() if row])
                    print(line, flush=True)

    threads = [threading.Thread(target=work) for _ in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def baseline(python: str) -> None:
    """Run all tests that are used on any mutant on the unchanged package; SystemExit if one fails."""
    paths = {mutant.path for mutant in [*planted(), *chosen(sources(), COUNT, SEED)]}
    pairs = [pair for path in sorted(paths) for pair in tests_of(path)]
    files, expression = selected(list(dict.fromkeys(pairs)))
    command = [python, "-P", "-m", "pytest", *files, "-k", expression, "-m", "not slow"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    if subprocess.run(command, cwd=ROOT, env=environment).returncode:
        raise SystemExit("tests fail on the unchanged package")


def load() -> list[dict[str, Any]]:
    """The rows of mutants.json, if it exists."""
    return json.loads(ROWS.read_text())["rows"] if ROWS.exists() else []


def save(rows: list[dict[str, Any]]) -> None:
    """Write all rows to mutants.json."""
    ROWS.write_text(json.dumps({"seed": SEED, "rows": rows}, indent=1, ensure_ascii=False) + "\n")


def table(rows: list[dict[str, Any]], reasons: dict[str, str]) -> str:
    """The page: counts by kind, then each mutant with the test that caught it or the reason why it survived."""
    drawn = [row for row in rows if row["kind"] != "planted"]
    caught = [row for row in drawn if row["outcome"] != "survived"]
    commits = sorted({row["commit"][:7] for row in rows})
    lines = [
        "# Mutants",
        "",
        f"`make mutants` ran the tests of the mutated file for {len(drawn)} of {COUNT} mutations that seed {SEED} draws"
        f" from `ops`, `nn`, `models` and `heads`, and for {len(rows) - len(drawn)} of {len(PLANTED)} planted bugs. The"
        f" tests catch {len(caught)} ({len(caught) / max(1, len(drawn)):.0%}) of the drawn mutations. Run at"
        f" {', '.join(commits)}.",
        "",
        "| kind | mutants | caught | timeout | survived |",
        "| --- | --- | --- | --- | --- |",
    ]
    for kind in ("planted", *KINDS):
        outcomes = [row["outcome"] for row in rows if row["kind"] == kind]
        counts = (outcomes.count(outcome) for outcome in ("caught", "timeout", "survived"))
        lines.append(f"| {kind} | {len(outcomes)} | " + " | ".join(map(str, counts)) + " |")
    lines += ["", "| where | change | outcome |", "| --- | --- | --- |"]
    for row in sorted(rows, key=lambda row: (row["kind"] != "planted", row["path"], row["line"])):
        name = row["path"].removeprefix("gen_jax/")
        place = row["place"] if row["kind"] == "planted" else f"{row['place']} ({row['kind']})"
        before, after = (f"`{row[key].replace('|', '&#124;')}`" for key in ("before", "after"))
        outcome = {"caught": f"`{row['test']}`", "timeout": "runs without end"}.get(row["outcome"])
        reason = f"**survives**: {reasons.get(row['id'], 'not explained')}"
        lines.append(f"| `{name}` {place} | {before} → {after} | {outcome or reason} |")
    return "\n".join(lines) + "\n"


def _git(*words: str) -> str:
    done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def main() -> None:
    """Parse the arguments, run what they ask for and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--python", default=sys.executable, help="interpreter for the tests")
    parser.add_argument("--all", action="store_true", help="also mutants caught at earlier commits")
    parser.add_argument("--baseline", action="store_true", help="first test the unchanged package")
    parser.add_argument("--table", action="store_true", help="only write RESULTS.md again")
    args = parser.parse_args()
    if args.baseline:
        baseline(args.python)
    if not args.table:
        run(args.python, args.workers, args.all)
    reasons = json.loads(REASONS.read_text()) if REASONS.exists() else {}
    TABLE.write_text(table(load(), reasons))


if __name__ == "__main__":
    main()
