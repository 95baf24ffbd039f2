"""Two processes of this machine that train one tiny run, as forks of a script that has imported everything."""

import contextlib
import json
import os
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from gen_jax import cli
from gen_jax.processes import HEARTBEAT

ROOT = Path(__file__).resolve().parents[2]
STEPS, EVERY = 80, 10
GRACE = 15  # seconds beyond the heartbeat, on a machine that does other things
LIMIT = 400  # seconds of a run without a fault
HUNG = -99  # in place of the status of a process that had to be killed
SETS = (
    "model.hidden=(16,)", "batch_size=8", f"steps={STEPS}", f"evaluate.every={EVERY}", "evaluate.examples=32",
    "evaluate.batch_size=32", f"optimizer.learning_rate.steps={STEPS}", "optimizer.learning_rate.warmup=2",
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
    """How two processes ended: their statuses, outputs, and the seconds from the end of one to that of the other."""

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
    config = str(ROOT / "experiments" / "configs" / "made_digits.py")
    words = ["train", config, "--workdir", str(place.run), "--data-dir", str(place.data), *more]
    for setting in SETS:
        words += ["--set", setting]
    children, readers, said = [], [], [bytearray(), bytearray()]
    for number in range(2):
        argv = [*words, "--coordinator", where, "--processes", "2", "--process", str(number)]
        out, into = os.pipe()  # no file, which a full disk would leave empty
        children.append(os.fork())
        if children[-1] == 0:
            _child(argv, number, into, before)
        os.close(into)
        readers.append(threading.Thread(target=_read, args=(out, said[number])))
    fault = threading.Thread(target=meanwhile, args=(children,)) if meanwhile else None
    for thread in [*readers, *([fault] if fault else [])]:
        thread.start()
    began, statuses = time.monotonic(), {}
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
    seconds, hung = time.monotonic() - began, len(statuses) < 2
    for number, child in enumerate(children):
        if number not in statuses:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
    for thread in [*readers, *([fault] if fault else [])]:
        thread.join()
    texts = [text.decode(errors="replace") for text in said]
    return Ended([statuses.get(n, HUNG) for n in range(2)], texts, seconds, hung)


def _read(out: int, text: bytearray) -> None:
    """Collect what a process prints, until it ends."""
    with open(out, "rb") as pipe:
        for line in pipe:
            text += line


def _child(argv: list[str], number: int, into: int, before: Before | None) -> None:
    """Train in a forked process, which ends here."""
    os.dup2(into, 1)
    os.dup2(into, 2)
    status = 70
    try:
        if before:
            before(number)
        status = cli.main(argv)
    except SystemExit as leaving:
        status = leaving.code if isinstance(leaving.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        _leave_together()
        os._exit(status)


def _leave_together() -> None:
    """Leave the other process as the interpreter does at its end: after both have come to it."""
    import jax

    with contextlib.suppress(Exception):
        if jax.distributed.is_initialized():
            jax.distributed.shutdown()


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
