"""The log of a run: a progress bar on standard error, metrics.jsonl and TensorBoard event files."""

import contextlib
import json
import logging
import sys
import time
from collections.abc import Iterator
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from tensorboardX import SummaryWriter

from gen_jax import disk, processes, terminal
from gen_jax.runs.workdir import WorkDir

LOG = logging.getLogger("gen_jax")


class Handler(logging.StreamHandler):
    """Writes messages without control characters: they may hold names read from files.

    Without a stream it writes to what is standard error at the time: a progress bar puts lines above itself there.
    """

    @property
    def stream(self) -> Any:  # pyright: ignore[reportIncompatibleVariableOverride]  an attribute of the base class
        """The stream that was given, or standard error."""
        return self.given or sys.stderr

    @stream.setter
    def stream(self, stream: Any) -> None:
        self.given = None if stream is sys.stderr else stream

    def format(self, record: logging.LogRecord) -> str:
        return (terminal.clean if record.exc_info else terminal.line)(super().format(record))


def log_to_stderr() -> None:
    """Log one line per message, of the level that a command has set, otherwise INFO.

    The checkpoint library's messages are dropped, since its errors are raised; at DEBUG they are shown, and lines begin
    with the time.
    """
    if LOG.level == logging.NOTSET:
        LOG.setLevel(logging.INFO)
    verbose = LOG.level <= logging.DEBUG
    for name in ("absl", "asyncio"):
        logging.getLogger(name).setLevel(logging.INFO if verbose else logging.CRITICAL)
    handler = Handler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s" if verbose else "%(message)s"))
    LOG.handlers[:] = [handler]
    LOG.propagate = False


class Bar:
    """A progress bar on standard error, with a number in `unit`; nothing where that is not a terminal or notebook."""

    def __init__(self, label: str, total: int, start: int = 0, unit: str = "", shown: bool = True):
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[shown]}  {task.fields[rate]:.1f} steps/s", markup=False),
            TimeRemainingColumn(),
        )
        console = Console(stderr=True)
        seen = console.is_terminal or console.is_jupyter  # elsewhere its end would be an empty line
        hidden = not (shown and seen) or LOG.level > logging.INFO
        self.unit = terminal.clean(unit)
        self.progress = Progress(*columns, console=console, transient=True, disable=hidden)
        self.task = self.progress.add_task(label, total=total, completed=start, shown="", rate=0.0)

    def __enter__(self):
        self.progress.start()
        return self

    def __exit__(self, *error):
        self.progress.stop()

    def advance(self, step: int, value: float) -> None:
        """Move the bar, which measures the rate itself."""
        rate = self.progress.tasks[0].speed or 0.0
        self.progress.update(self.task, completed=step, shown=f"{value:.3f} {self.unit}", rate=rate)


class RunLog:
    """Writes scalars by step to metrics.jsonl and TensorBoard, and shows the progress of `steps` steps.

    If there are several processes, only the first one does.
    """

    def __init__(self, workdir: WorkDir, steps: int, start: int, unit: str):
        self.file = self.board = None
        self.bar = Bar("train", steps, start, unit, shown=processes.first())
        processes.by_first(lambda: self._open(workdir, start))

    def _open(self, workdir: WorkDir, start: int) -> None:
        workdir.keep_metrics_until(start)
        before = max((row.get("seconds", 0.0) for row in workdir.metrics_rows()), default=0.0)
        self.began = time.perf_counter() - before
        self.file = disk.appended(workdir.metrics)
        try:
            self.board = SummaryWriter(str(workdir.tensorboard), purge_step=start + 1)
        except OSError as error:  # a log never blocks a run
            LOG.warning("no TensorBoard files: %s: %s", workdir.tensorboard, error.strerror)

    def __enter__(self):
        self.bar.__enter__()
        return self

    def __exit__(self, *error):
        self.bar.__exit__(*error)
        if self.file is not None:
            with self._named():
                self.file.close()
        if self.board is not None:
            self.board.close()

    @contextlib.contextmanager
    def _named(self) -> Iterator[None]:
        """Errors of the open file, as of a full disk, say which file it is."""
        try:
            yield
        except OSError as error:
            error.filename = self.file and self.file.name
            raise

    def scalars(self, step: int, split: str, values: dict[str, Any]) -> None:
        """Write one row; `seconds` is the training time, including earlier parts of a resumed run."""
        if self.file is None:
            return
        seconds = round(time.perf_counter() - self.began, 2)
        row = {"step": step, "split": split, "seconds": seconds, **values}
        with self._named():
            self.file.write(json.dumps(row) + "\n")
            self.file.flush()
        for name, value in values.items():
            if self.board is not None:
                self.board.add_scalar(f"{split}/{name}", value, step)

    def advance(self, step: int, value: float) -> None:
        """Move the progress bar."""
        self.bar.advance(step, value)
