"""Break runs of two processes in 50 ways, drawn by a seed, and check how they end.

Several faults one after the other are done to a tiny run of two processes, which the same command continues each time
until it is finished. A fault is survived if no process outlives the other by more than the heartbeat, if what ended
the run was said in one sentence, and if the finished run has the parameters of an undisturbed run, by the checksums of
its last checkpoint. The result is experiments/results/faults_processes.json, from which `table.py` makes the table of
docs/cluster.md. A stopped campaign goes on with --keep.
"""

import argparse
import contextlib
import json
import os
import random
import re
import resource
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pair import EVERY, ROOT, STEPS, Before, Ended, Meanwhile, Place, sums, train, until
from table import FAULTS

from gen_jax.disk import write_atomically
from gen_jax.processes import HEARTBEAT
from gen_jax.runs import results
from gen_jax.runs.provenance import cpu_name, revision, versions

SEED = 0
ALLOWED = {0, 1, 2, 143, 134, -signal.SIGABRT, -signal.SIGKILL}
CONTINUING = re.compile(r"continuing at step (\d+)")
COUNTS = {
    "kill -9 of the first": 4,
    "kill -9 of the second": 4,
    "SIGTERM to the first": 3,
    "SIGTERM to the second": 3,
    "disk full for the first": 4,
    "disk full for the second": 4,
    "disk full for both": 2,
    "truncated checkpoint": 4,
    "flipped bit in a checkpoint": 4,
    "checkpoint that one cannot read": 2,
    "kill -9 of the first while the other saves": 3,
    "kill -9 of the second while the other saves": 3,
    "corrupt records in memory": 1,
    "corrupt records on disk": 2,
    "NaN in a gradient": 3,
    "lost mirror": 2,
    "lost folder, with a mirror": 2,
}


def killed(place: Place, number: int, step: int, how: int, saving: bool = False) -> Meanwhile:
    """Send a signal to a process once a step is logged, and, if `saving`, once a checkpoint is being written."""

    def do(children: list[int]) -> None:
        until(lambda: place.logged() >= step)
        if saving:
            until(place.saving)
        with contextlib.suppress(ProcessLookupError):
            os.kill(children[number], how)

    return do


def full(place: Place, numbers: set[int], step: int) -> Before:
    """From a step on these processes can write no file of more than 100 bytes."""

    def do(mine: int) -> None:
        def limit() -> None:
            until(lambda: place.logged() >= step)
            resource.setrlimit(resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))

        if mine in numbers:
            threading.Thread(target=limit, daemon=True).start()

    return do


def not_a_number(step: int) -> Before:
    """At a step the gradient is NaN, in both processes, which run the same program."""

    def do(mine: int) -> None:
        del mine
        import jax
        import jax.numpy as jnp
        import optax

        from gen_jax.train import program

        whole = program.train_step

        def spoiling(state, *args, optimizer, **named):
            def update(updates, state_, params=None):
                spoilt = lambda g: jnp.where(state.step == step, jnp.nan, g)  # noqa: E731
                return optimizer.update(jax.tree.map(spoilt, updates), state_, params)

            other = optax.GradientTransformation(optimizer.init, update)  # pyright: ignore[reportArgumentType]
            return whole(state, *args, optimizer=other, **named)

        program.train_step = spoiling

    return do


def unreadable(number: int, at: int) -> Before:
    """A process cannot read the checkpoint of a step, which the other one can."""

    def do(mine: int) -> None:
        from gen_jax.runs.checkpoint import Checkpoints

        whole = Checkpoints._items

        def items(self, step, **parts):
            if (mine, step) == (number, at) and "state" in parts:
                raise OSError(5, "Input/output error")
            return whole(self, step, **parts)

        Checkpoints._items = items

    return do


def damage(path: Path, rng: random.Random, flip: bool) -> None:
    """Truncate a file, or flip one bit of it."""
    content = bytearray(path.read_bytes())
    if flip:
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    else:
        del content[rng.randrange(len(content)) :]
    path.write_bytes(content)


@contextlib.contextmanager
def spoilt(place: Place, rng: random.Random, begin: int) -> Iterator[Meanwhile]:
    """What flips a bit in every kilobyte of the training records once a step is logged; they are mended at the end."""
    [path] = place.data.rglob("digits-train.array_record*")
    whole = path.read_bytes()

    def do(children: list[int]) -> None:
        del children
        until(lambda: place.logged() >= begin)
        with path.open("r+b") as file:
            for first in range(whole.index(b"image"), len(whole) - 1024, 1024):
                at = first + rng.randrange(1024)
                file.seek(at)
                file.write(bytes([whole[at] ^ 1 << rng.randrange(8)]))

    yield do
    path.write_bytes(whole)


def mirror(place: Place) -> tuple[str, ...]:
    """The option that keeps a mirror."""
    return ("--mirror", f"file://{place.mirror}")


def run(place: Place, *of: Any, more: tuple[str, ...] = (), **named: Any) -> Ended:
    """`train`; a folder that is lost is restored from its mirror."""
    lost = place.mirror.is_dir() and not place.run.exists()
    return train(place, *of, more=(*more, *mirror(place)) if lost else more, **named)


def broken(name: str, place: Place, rng: random.Random) -> tuple[Ended, int]:
    """A run with the fault, and the last step that was done when it came."""
    number, before = int("second" in name), max(begin(place), place.logged())
    step = before + EVERY * rng.randrange(1, 3)
    if name.startswith(("kill", "SIGTERM")):
        how = signal.SIGTERM if name.startswith("SIGTERM") else signal.SIGKILL
        ended = run(place, meanwhile=killed(place, number, step, how, "saves" in name))
    elif name.startswith("disk"):
        ended = run(place, full(place, {0, 1} if "both" in name else {number}, step))
    elif name == "NaN in a gradient":
        ended = run(place, not_a_number(step + rng.randrange(10)))
    elif name == "checkpoint that one cannot read":
        newest = begin(place)
        return run(place, unreadable(rng.randrange(2), newest)), newest
    elif "checkpoint" in name:
        newest = place.run / "checkpoints" / str(begin(place))
        files = sorted(path for path in newest.rglob("*") if path.is_file() and path.stat().st_size)
        damage(rng.choice(files), rng, "flipped" in name)
        return run(place), int(newest.name)
    elif name == "corrupt records in memory":
        with spoilt(place, rng, 0) as spoil:
            spoil([])
            return run(place), begin(place)
    elif name == "corrupt records on disk":
        with spoilt(place, rng, step) as spoil:
            ended = run(place, meanwhile=spoil, more=("--memory-limit", "0.00001"))
    elif name == "lost mirror":

        def lost(children: list[int]) -> None:
            del children
            until(lambda: place.logged() >= step and place.mirror.exists())
            while place.mirror.exists():  # unless it is written to at that moment
                shutil.rmtree(place.mirror, ignore_errors=True)
            if rng.random() < 0.5:  # from now on nothing can be written there
                place.mirror.write_text("no folder")

        ended = run(place, meanwhile=lost, more=mirror(place))
        place.mirror.unlink(missing_ok=True)
    else:

        def copied(children: list[int]) -> None:
            until(lambda: any(place.mirror.glob("checkpoints/*.json")))
            killed(place, 1, step, signal.SIGKILL)(children)

        ended = run(place, meanwhile=copied, more=mirror(place))
        done = place.logged()
        shutil.rmtree(place.run)
        return ended, done
    return ended, place.logged()


def begin(place: Place) -> int:
    """The step from which a run goes on: its newest checkpoint, or that of the mirror if it has no folder."""
    if not place.run.exists():
        listed = place.mirror.glob("checkpoints/*.json")
        return max((int(path.stem) for path in listed), default=0)
    return max(place.steps(), default=0)


def sentences(ended: Ended) -> list[str]:
    """What was said about the end: sentences of errors, otherwise warnings, otherwise XLA's own message."""
    lines = [line.strip() for text in ended.said for line in text.splitlines()]
    words = ("damaged", "SIGTERM", "the mirror")
    errors = [line for line in lines if line.startswith("gen-jax: ")]
    warnings = [line for line in lines if any(word in line for word in words)]
    deaths = [line.partition("] ")[2] for line in lines if "detected fatal errors" in line]
    return errors or warnings or deaths


def judged(name: str, seed: int, ended: Ended, done: int, place: Place) -> dict[str, Any]:
    """The row of a fault; `problems` says why it is not survived."""
    said, texts = sentences(ended), "".join(ended.said)
    errors = [line for line in said if line.startswith("gen-jax: ")]
    goes_on = CONTINUING.search(texts) if set(ended.statuses) == {0} else None
    begun = begin(place) if set(ended.statuses) != {0} else done
    if goes_on and "checkpoint" in name:
        begun = int(goes_on[1])
    problems = ["hangs"] * ended.hung + ["traceback"] * ("Traceback" in texts)
    if not said and not set(ended.statuses) <= {0, 143}:
        problems.append("silent")
    if len(errors) > 1:
        problems.append("says it more than once")
    if not set(ended.statuses) <= ALLOWED:
        problems.append("another status")
    row = {
        "fault": name,
        "seed": seed,
        "statuses": ended.statuses,
        "steps_lost": max(done - begun, 0),
        "seconds_to_end": round(ended.seconds, 1),
        "equal": False,
        "problems": problems,
        "said": [line.replace(str(place.root), "").replace(str(ROOT), "")[:300] for line in said],
    }
    if problems:
        row["outputs"] = [text[-3000:] for text in ended.said]
    return row


def chained(
    faults: list[tuple[str, int]], base: Path, whole: Any, folder: Path
) -> list[dict[str, Any]]:
    """Do faults one after the other to one run, finish it, and compare; new runs if it is finished before."""
    rows, place = [], Place(folder / "place")
    shutil.copytree(base, place.root)
    waiting = [*faults]
    while waiting:
        name, seed = waiting[0]
        rng = random.Random(f"{SEED} {name} {seed}")
        if begin(place) > STEPS - 3 * EVERY and not finishes(name):
            break
        if "checkpoint" in name and len(place.steps()) < 2:
            step = max(begin(place), place.logged()) + 2 * EVERY
            run(place, meanwhile=killed(place, 0, step, signal.SIGTERM))
        del waiting[0]
        rows.append(judged(name, seed, *broken(name, place, rng), place))
        print(json.dumps({k: v for k, v in rows[-1].items() if k != "outputs"}), flush=True)
        if set(rows[-1]["statuses"]) == {0}:
            break
    again = None
    if sums(place) is None:
        again = run(place)
    for row in rows:
        row["equal"] = sums(place) == whole
        if not row["equal"]:
            row["problems"].append("other parameters at the end of this chain of faults")
            row["outputs"] = row.get("outputs", []) + (again.said if again else [])
    shutil.rmtree(place.root)
    return rows + (chained(waiting, base, whole, folder) if waiting else [])


def bases(folder: Path) -> tuple[Path, Any]:
    """Prepared data, and the checksums of a run that is not disturbed."""
    from gen_jax.data import prepared

    base, undisturbed = folder / "base", Place(folder / "undisturbed")
    prepared.prepare("digits", base / "data")
    shutil.copytree(base, undisturbed.root)
    ended = train(undisturbed)
    assert ended.statuses == [0, 0], ended
    return base, sums(undisturbed)


def finishes(name: str) -> bool:
    """Whether a run goes on to its end after the fault."""
    return "checkpoint" in name or name == "lost mirror"


def chains(only: str | None) -> list[list[tuple[str, int]]]:
    """All faults, mixed by the seed: in each chain those that end a run, then one after which a run goes on."""
    every = [(name, seed) for name, number in COUNTS.items() for seed in range(number)]
    every = [fault for fault in every if not only or only in fault[0]]
    random.Random(SEED).shuffle(every)
    last = [fault for fault in every if finishes(fault[0])]
    others = [fault for fault in every if not finishes(fault[0])]
    number = max(len(last), 1)
    return [others[first::number] + last[first : first + 1] for first in range(number)]


def main() -> int:
    """Do all faults and record them; returns 1 if one is not survived."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, help="only so many chains of faults")
    parser.add_argument("--only", help="only faults whose name holds this")
    parser.add_argument("--keep", action="store_true", help="keep what the file has already")
    parser.add_argument("--out", type=Path, default=FAULTS)
    args = parser.parse_args()
    os.environ |= {
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": "--xla_force_host_platform_device_count=1 --xla_backend_optimization_level=0",
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    import tensorflow_datasets  # noqa: F401  imported before the forks

    import gen_jax.train.loop  # noqa: F401

    settings = {"seed": SEED, "steps": STEPS, "every": EVERY, "heartbeat": HEARTBEAT}
    there = json.loads(args.out.read_text()) if args.keep and args.out.exists() else {}
    rows = there.get("rows", []) if settings.items() <= there.items() else []
    origin = {
        "cpu": cpu_name(),
        "versions": versions(),
        **revision(),
    }  # and no device: JAX starts in the forks
    known = {(row["fault"], row["seed"]) for row in rows}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["JAX_COMPILATION_CACHE_DIR"] = str(folder / "compiled")
        base, whole = bases(folder)
        for chain in chains(args.only)[: args.count]:
            new = [fault for fault in chain if fault not in known]
            rows += chained(new, base, whole, folder) if new else []
            for row in rows:
                for said in row.get("outputs", ()):
                    print(said, flush=True)
            write_atomically(args.out, results.dumps({**settings, **origin, "rows": rows}))
    bad = sum(bool(row["problems"]) for row in rows)
    print(f"{len(rows)} faults, {bad} not survived")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
