"""Two processes of this machine that train one tiny run, as forks of a script that has imported everything."""

import contextlib
import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from gen_jax import cli, processes

ROOT = Path(__file__).resolve().parents[2]
STEPS, EVERY = 160, 20
HEARTBEAT = 10  # seconds
GRACE = 50  # seconds beyond the heartbeat, on a machine that does other things
LIMIT = 400  # seconds of a run without a fault
SETS = (
    "model.depth=1", "model.features=4", "model.head_features=4", "model.first_kernel=3", "batch_size=8",
    f"steps={STEPS}", f"evaluate.every={EVERY}", "evaluate.examples=32", "evaluate.batch_size=32",
    f"optimizer.learning_rate.steps={STEPS}", "optimizer.learning_rate.warmup=2",
)  # fmt: skip


class Place(NamedTuple):
    """The folders of one fault."""

    root: Path

    @property
    def run(self) -> Path:
        """The work directory."""
        return self.root / "run"

    @property
    def data(self) -> Path:
        """The prepared data sets."""
        return self.root / "data"

    @property
    def mirror(self) -> Path:
        """The mirror of the run."""
        return self.root / "mirror"

    def steps(self) -> list[int]:
        """The finished checkpoints."""
        folder = self.run / "checkpoints"
        names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
        return sorted(int(name) for name in names if name.isdigit())

    def logged(self) -> int:
        """The last step in the log."""
        with contextlib.suppress(OSError):
            lines = (self.run / "metrics.jsonl").read_text().splitlines()
            return max(
                (json.loads(line)["step"] for line in lines if line.endswith("}")), default=0
            )
        return 0

    def saving(self) -> bool:
        """Whether a checkpoint is being written."""
        with contextlib.suppress(OSError):
            return any("tmp" in path.name for path in (self.run / "checkpoints").iterdir())
        return False


class Ended(NamedTuple):
    """How the processes of a run ended: statuses, outputs, and seconds from the fault, if there was one, to the end."""

    statuses: list[int]
    said: list[str]
    seconds: float
    hung: bool


Before = Callable[[int], None]  # what a process does to itself, by its number, before it trains
Meanwhile = Callable[[list[int]], None]  # what is done to the processes while they train


def train(
    place: Place,
    before: Before | None = None,
    meanwhile: Meanwhile | None = None,
    more: tuple[str, ...] = (),
) -> Ended:
    """Two processes as one run; each is a fork, since imports take longer than the training."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        where = f"127.0.0.1:{free.getsockname()[1]}"
    config = str(ROOT / "experiments" / "configs" / "gated_pixel_cnn_digits.py")
    words = ["train", config, "--workdir", str(place.run), "--data-dir", str(place.data), *more]
    for setting in SETS:
        words += ["--set", setting]
    outs, children = [place.root / f"out{number}" for number in range(2)], []
    for number, out in enumerate(outs):
        argv = [*words, "--coordinator", where, "--processes", "2", "--process", str(number)]
        children.append(os.fork())
        if children[-1] == 0:
            _child(argv, number, out, before)
    began, statuses = time.monotonic(), {}
    fault = threading.Thread(target=meanwhile, args=(children,)) if meanwhile else None
    if fault:
        fault.start()
    limit = began + LIMIT
    while len(statuses) < 2 and time.monotonic() < limit:
        for number, child in enumerate(children):
            if number not in statuses:
                done, status = os.waitpid(child, os.WNOHANG)
                if done:
                    statuses[number] = os.waitstatus_to_exitcode(status)
                    if len(statuses) == 1:
                        began = time.monotonic()
                        limit = began + HEARTBEAT + GRACE
        time.sleep(0.01)
    hung = len(statuses) < 2
    for number, child in enumerate(children):
        if number not in statuses:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
    if fault:
        fault.join()
    said = [out.read_text(errors="replace") for out in outs]
    return Ended([statuses.get(n, -99) for n in range(2)], said, time.monotonic() - began, hung)


def _child(argv: list[str], number: int, out: Path, before: Before | None) -> None:
    """Train in a forked process, which ends here."""
    descriptor = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    status = 70
    try:
        processes.HEARTBEAT = HEARTBEAT
        if before:
            before(number)
        status = cli.main(argv)
    except SystemExit as leaving:
        status = leaving.code if isinstance(leaving.code, int) else 1
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(_left(status))


def _left(status: Any) -> int:
    """Leave the other processes as the interpreter does at its end: after all have come to it."""
    import jax

    with contextlib.suppress(Exception):
        if jax.distributed.is_initialized():
            jax.distributed.shutdown()
    return status


def sums(place: Place) -> Any:
    """The checksums of the last checkpoint."""
    path = place.run / "checkpoints" / str(STEPS) / "record" / "metadata"
    return json.loads(path.read_text())["sums"] if path.exists() else None


def until(test: Callable[[], bool], seconds: float = LIMIT) -> bool:
    """Wait for the test; False if it takes too long."""
    end = time.monotonic() + seconds
    while not test():
        if time.monotonic() > end:
            return False
        time.sleep(0.002)
    return True
