"""Break runs of two processes in 50 ways, drawn by a seed, and check how they end.

Each fault is done to a tiny run of two processes, which then is continued by the same command without the fault, until
it is finished. A fault counts as survived if no process hangs longer than the heartbeat allows, if a process that ends
with an error says so in one sentence, and if the finished run has the parameters of an undisturbed run, by the
checksums of its last checkpoint. The result is experiments/results/cluster.json, with which a stopped campaign goes on.
"""

import argparse
import contextlib
import json
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pair import EVERY, HEARTBEAT, ROOT, STEPS, Before, Ended, Meanwhile, Place, sums, train, until

from gen_jax.disk import write_atomically
from gen_jax.included import RESULTS

SEED = 0
COUNTS = {
    "kill -9 of the first": 5,
    "kill -9 of the second": 5,
    "SIGTERM to the first": 4,
    "SIGTERM to the second": 4,
    "disk full for the first": 4,
    "disk full for the second": 4,
    "truncated checkpoint": 4,
    "flipped bit in a checkpoint": 4,
    "kill -9 of the first while the other saves": 3,
    "kill -9 of the second while the other saves": 3,
    "corrupt record of data": 3,
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


def full(place: Place, number: int, step: int) -> Before:
    """From a step on a process can write no file of more than 1,000 bytes."""

    def do(mine: int) -> None:
        def limit() -> None:
            until(lambda: place.logged() >= step)
            resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))

        if mine == number:
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

        def broken(state, *args, optimizer, **named):
            def update(updates, state_, params=None):
                spoilt = lambda g: jnp.where(state.step == step, jnp.nan, g)  # noqa: E731
                return optimizer.update(jax.tree.map(spoilt, updates), state_, params)

            other = optax.GradientTransformation(optimizer.init, update)  # pyright: ignore[reportArgumentType]
            return whole(state, *args, optimizer=other, **named)

        program.train_step = broken

    return do


def damage(path: Path, rng: random.Random, flip: bool) -> None:
    """Truncate a file, or flip one bit of it."""
    content = bytearray(path.read_bytes())
    if flip:
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    else:
        del content[rng.randrange(len(content)) :]
    path.write_bytes(content)


def broken(name: str, place: Place, rng: random.Random) -> tuple[Ended, int]:
    """A run with the fault, and the last step that was done when it came."""
    number = int("second" in name)
    step = rng.randrange(EVERY, STEPS - 3 * EVERY, 10)
    if name.startswith(("kill", "SIGTERM")):
        how = signal.SIGTERM if name.startswith("SIGTERM") else signal.SIGKILL
        ended = train(place, meanwhile=killed(place, number, step, how, "saves" in name))
    elif name.startswith("disk"):
        ended = train(place, full(place, number, step))
    elif name == "NaN in a gradient":
        ended = train(place, not_a_number(step + rng.randrange(10)))
    elif "checkpoint" in name:
        train(place, meanwhile=killed(place, number, step, signal.SIGTERM))
        newest = place.run / "checkpoints" / str(place.steps()[-1])
        files = sorted(path for path in newest.rglob("*") if path.is_file() and path.stat().st_size)
        damage(rng.choice(files), rng, "flipped" in name)
        done = place.steps()[-1]
        return train(place), done
    elif name == "corrupt record of data":
        train(place, meanwhile=killed(place, number, step, signal.SIGTERM))
        [records] = place.data.rglob("digits-train.array_record*")
        whole, content = records.read_bytes(), bytearray(records.read_bytes())
        first = content.index(b"image")  # of a record, past the header
        content[rng.randrange(first, 2 * len(content) // 5)] ^= 1 << rng.randrange(8)
        records.write_bytes(content)
        done = place.logged()
        try:
            return train(place), done
        finally:
            records.write_bytes(whole)
    elif name == "lost mirror":

        def lost(children: list[int]) -> None:
            until(lambda: place.logged() >= step)
            shutil.rmtree(place.mirror, ignore_errors=True)
            with contextlib.suppress(OSError):
                place.mirror.write_text("no folder")

        ended = train(place, meanwhile=lost, more=mirror(place))
    else:
        ended = train(
            place, meanwhile=killed(place, number, step, signal.SIGKILL), more=mirror(place)
        )
        done = place.logged()
        shutil.rmtree(place.run)
        return ended, done
    return ended, place.logged()


def mirror(place: Place) -> tuple[str, ...]:
    """The option that keeps a mirror."""
    return ("--mirror", f"file://{place.mirror}")


def sentence(ended: Ended) -> str:
    """What the processes said at the end: the sentence of an error, or the last warning."""
    lines = [line for text in ended.said for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("gen-jax: ")]
    words = ("damaged", "SIGTERM", "mirror")
    warnings = [line for line in lines if any(word in line for word in words)]
    return (errors or warnings or [""])[-1]


def one(name: str, seed: int, base: Path, whole: Any, folder: Path) -> dict[str, Any]:
    """Do one fault, continue, and say how it went."""
    rng, place = random.Random(f"{SEED} {name} {seed}"), Place(folder / "place")
    shutil.copytree(base, place.root)
    ended, done = broken(name, place, rng)
    more = mirror(place) if name == "lost folder, with a mirror" else ()
    begun, again, tries = 0, ended, 0
    if set(ended.statuses) != {0}:
        newest = place.steps()[-1] if place.steps() else 0
        if more:
            newest = max(
                (int(path.stem) for path in place.mirror.glob("checkpoints/*.json")), default=0
            )
        begun = newest
        while set(again.statuses) != {0} and tries < 2:
            again, tries = train(place, more=more), tries + 1
    elif "checkpoint" in name:
        back = "going back" in "".join(ended.said)
        begun = done - EVERY if back else done
    else:
        begun = done
    texts = "".join(ended.said + again.said)
    problems = []
    if ended.hung or again.hung:
        problems.append("hangs")
    if "Traceback" in texts:
        problems.append("traceback")
    # A process that ends with an error says so; 134 is JAX's, which ends one whose partner is dead.
    failed = [status for status in ended.statuses if status > 0 and status not in (134, 143)]
    if failed and not any(line.startswith("gen-jax: ") for line in texts.splitlines()):
        problems.append("silent")
    allowed = {0, 1, 2, 143, -signal.SIGABRT, -signal.SIGKILL}
    problems += [f"status {status}" for status in ended.statuses if status not in allowed]
    if set(again.statuses) != {0}:
        problems.append(f"does not go on: {again.statuses} {sentence(again)}")
    final = sums(place)
    equal = final is not None and final == whole
    if not equal:
        problems.append("other parameters" if final else "not finished")
    said = sentence(ended).replace(str(place.root), "").replace(str(ROOT), "")
    row = {
        "fault": name,
        "seed": seed,
        "statuses": ended.statuses,
        "steps_lost": max(done - begun, 0),
        "seconds_to_end": round(ended.seconds, 1),
        "equal": equal,
        "problems": problems,
        "said": said[:240],
    }
    if problems:
        row["outputs"] = [text[-3000:] for text in ended.said + again.said]
    shutil.rmtree(place.root)
    return row


def drawn(count: int | None) -> Iterator[tuple[str, int]]:
    """All faults, or some of them, one of each kind first."""
    every = [(name, seed) for name, number in COUNTS.items() for seed in range(number)]
    every.sort(key=lambda fault: fault[1])
    yield from every[:count]


def main() -> int:
    """Run all faults and record them; returns 1 if one is not survived."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, help="only so many faults")
    parser.add_argument("--only", help="only faults whose name holds this")
    parser.add_argument("--out", type=Path, default=RESULTS / "cluster.json")
    args = parser.parse_args()
    os.environ |= {
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": "--xla_force_host_platform_device_count=1 --xla_backend_optimization_level=0",
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    import tensorflow_datasets  # noqa: F401  imported before the forks

    import gen_jax.train.loop  # noqa: F401
    from gen_jax.data import prepared

    settings = {"seed": SEED, "steps": STEPS, "every": EVERY, "heartbeat": HEARTBEAT}
    there = json.loads(args.out.read_text()) if args.out.exists() else {}
    rows = there.pop("rows", [])
    rows = rows if there == settings else []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["JAX_COMPILATION_CACHE_DIR"] = str(folder / "compiled")
        base = folder / "base"
        prepared.prepare("digits", base / "data")
        undisturbed = Place(folder / "undisturbed")
        shutil.copytree(base, undisturbed.root)
        ended = train(undisturbed)
        assert ended.statuses == [0, 0], ended
        whole = sums(undisturbed)
        for fault, seed in drawn(args.count):
            known = any((row["fault"], row["seed"]) == (fault, seed) for row in rows)
            if known or (args.only and args.only not in fault):
                continue
            rows.append(one(fault, seed, base, whole, folder))
            row = rows[-1]
            print(json.dumps({k: v for k, v in row.items() if k != "outputs"}), flush=True)
            for text in row.get("outputs", ()):
                print(text, flush=True)
            write_atomically(args.out, json.dumps({**settings, "rows": rows}, indent=1) + "\n")
    bad = sum(bool(row["problems"]) for row in rows)
    print(f"{len(rows)} faults, {bad} not survived")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
