"""Several processes as one run: JAX's own runtime, joined under the scheduler that started them.

All processes compute the same program on the devices of all. What is not computed is done by the first one alone: it
locks, writes and prints. A process that fails alone would leave the others waiting, so errors before the first step are
agreed on (`agreed`), and so is a request to stop. Later a process that fails alone leaves word of it (`tell`), and the
others end with its status. If a process dies without a word, the others abort after `HEARTBEAT` seconds with status 134
(SIGABRT).
"""

import atexit
import contextlib
import importlib.util
import json
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar

from gen_jax.errors import InputError, first_line

T = TypeVar("T")

HEARTBEAT = 30  # seconds without a sign of life after which a process counts as dead
MESSAGE = 2048  # bytes that a process can tell the others at once
WORD = "gen_jax/word"  # the key under which a process says that it ends
LISTENING = 0.5  # seconds between two looks at whether another one has
LAST = 5  # seconds a process stays at its end: the first for the others, which JAX aborts then, each for its listener
NOT_JOINED = "--alone runs each process for itself"
TPU_METADATA = "TPU_SKIP_MDS_QUERY"  # JAX sets it where there are no TPU chips


@dataclass(frozen=True)
class Joining:
    """What the command line says: which processes make one run; by default those of the scheduler.

    coordinator: HOST:PORT of the first process. processes: their number. process: the number of this one, from 0.
    alone: one process, whatever the scheduler says.
    """

    coordinator: str | None = None
    processes: int | None = None
    process: int | None = None
    alone: bool = False


@dataclass(frozen=True)
class Place:
    """This process among those that a scheduler started; numbers are None where only JAX can ask for them."""

    scheduler: str
    processes: int | None = None
    process: int | None = None


def place(environ: Mapping[str, str]) -> Place | None:
    """The place of this process by its environment; None if it is the only one.

    InputError for one process of a Slurm job of several tasks that was not started by srun.
    """
    if (ranks := _number(environ, "OMPI_COMM_WORLD_SIZE")) > 1:
        return Place("Open MPI", ranks, _number(environ, "OMPI_COMM_WORLD_RANK"))
    if (tasks := _number(environ, "SLURM_NTASKS")) > 1:
        if "SLURM_STEP_NODELIST" not in environ:
            raise InputError(
                f"this Slurm job has {tasks} tasks, but srun did not start this process: write srun before the command;"
                f" {NOT_JOINED}"
            )
        return Place("Slurm", tasks, _number(environ, "SLURM_PROCID"))
    if "," in environ.get("TPU_WORKER_HOSTNAMES", ""):
        return Place("Cloud TPU")
    if "KUBERNETES_SERVICE_HOST" in environ and "JOB_COMPLETION_INDEX" in environ:
        return Place("Kubernetes", process=_number(environ, "JOB_COMPLETION_INDEX"))
    return None


def check_alone() -> None:
    """InputError if this process is one of several: only train, evaluate and sample join."""
    there = place(os.environ)
    if there is not None and (there.processes or 2) > 1:
        raise InputError(
            f"this command runs in one process, and {there.scheduler} started several; only train, evaluate and sample"
            " run in several"
        )


def join(asked: Joining) -> None:
    """Make one run of the processes that belong together, before JAX looks for devices.

    InputError if the flags do not fit together, or if the others cannot be reached.
    """
    _check(asked)
    if asked.alone:
        return
    import jax

    there = place(os.environ)
    if asked.coordinator is None and there is None and not _tpu_pod():
        return
    if there is not None and there.scheduler == "Kubernetes" and asked.coordinator is None:
        _check_kubernetes()
    total, index = asked.processes, asked.process
    if there is not None and asked.coordinator is not None:
        total, index = total or there.processes, there.process if index is None else index
    if asked.coordinator is not None and (total is None or index is None):
        raise InputError("--coordinator needs --processes N and --process I, from 0 to N - 1")
    # A signal is agreed on by the train loop; JAX's service would take it away before.
    jax.config.update("jax_enable_preemption_service", False)
    try:
        jax.distributed.initialize(
            asked.coordinator, total, index, local_devices(os.environ), heartbeat_timeout_seconds=HEARTBEAT
        )  # fmt: skip
    except (RuntimeError, ValueError, OSError) as error:
        name = "the flags" if there is None else there.scheduler
        raise InputError(
            f"cannot join the other processes by {name} ({first_line(error):.200}); --coordinator, --processes and"
            f" --process say where they are; {NOT_JOINED}"
        ) from error
    _libraries_to_stderr()
    over = threading.Event()
    listener = threading.Thread(target=_listen, args=(over,), daemon=True)
    listener.start()
    atexit.register(_stop, listener, over)


def local_devices(environ: Mapping[str, str]) -> list[int] | None:
    """The GPUs of this process, if its scheduler shows it exactly one; otherwise JAX takes one for each task."""
    shown = [name for name in environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    return [0] if len(shown) == 1 else None


def several() -> bool:
    """Whether this process is one of several that make one run."""
    jax: Any = sys.modules.get("jax")  # before it is imported nothing can be joined
    return jax is not None and jax.distributed.is_initialized() and jax.process_count() > 1


def first() -> bool:
    """Whether this process is the one that locks, writes and prints."""
    return not several() or index() == 0


def index() -> int:
    """The number of this process, from 0."""
    return sys.modules["jax"].process_index() if several() else 0


def check_one(what: str) -> None:
    """InputError in a run of several processes."""
    if several():
        raise InputError(f"{what} runs in one process only")


@contextlib.contextmanager
def agreed() -> Iterator[None]:
    """If the block fails in a process, it fails in all of them, with the sentence of the lowest one.

    All processes enter the block, and nothing in it waits for the others but functions of this module.
    """
    if not several():
        yield
        return
    try:
        yield
    except Exception as error:
        if common(error):
            raise
        _exchanged(None, error)
    else:
        _exchanged(None)


def by_first(action: Callable[[], Any]) -> None:
    """The first process acts, and the others wait until it has; an error is raised in all."""
    with agreed():
        if first():
            action()


def first_then_others(action: Callable[[], T]) -> T:
    """All processes act, the first one before the others, and an error of one is raised in all."""
    results = []
    for turn in (True, False) if several() else (True,):
        with agreed():
            if turn == first():
                results.append(action())
    return results[0]


def of_first(value: T) -> T:
    """The value of the first process, which must be short enough to be told as JSON."""
    return _exchanged(value)[0] if several() else value


def of_any(flag: bool) -> bool:
    """Whether the flag is set in any process."""
    return any(_exchanged(flag)) if several() else flag


def common(error: BaseException) -> bool:
    """Whether all processes have this error, so that one of them prints it and all leave together.

    Those that were agreed on, and a loss that is not finite, which all processes compute.
    """
    return getattr(error, "common", False) or isinstance(error, (FloatingPointError, SystemExit))


def lost(error: BaseException | None) -> bool:
    """Whether a computation of several processes failed, most likely because another one has ended."""
    if not several() or error is None or common(error):
        return False
    kind = type(error).__name__  # gloo's errors come as JaxRuntimeError or as ValueError
    return kind == "JaxRuntimeError" or "Gloo" in str(error) or lost(error.__cause__)


def tell(status: int) -> bool:
    """Leave word for the others that this process fails alone; they end with the same status, without a word.

    False if another one was faster: then that one says why.
    """
    with contextlib.suppress(Exception):  # there is a word, or nobody to keep it
        _store().key_value_set(WORD, json.dumps([index(), status]))
    return told() is None


def told() -> int | None:
    """The status with which another process that failed alone ends; None if none has left word."""
    try:
        number, status = json.loads(_store().key_value_try_get(WORD))
    except Exception:  # there is no word, or the first process is gone
        return None
    return None if number == index() else status


def leave(status: int) -> NoReturn:
    """End this process alone: at the usual exit it would wait for the others, which wait for it."""
    sys.stdout.flush()
    sys.stderr.flush()
    if first():
        time.sleep(LAST)
    os._exit(status)


def _listen(over: threading.Event) -> None:
    """End this process, whatever it waits for, if another one has left word."""
    while not over.wait(LISTENING):
        status = told()
        if status is not None:
            leave(status)


def _stop(listener: threading.Thread, over: threading.Event) -> None:
    """End the listening before Python ends: a thread that then still waits for JAX's service aborts the process."""
    over.set()
    listener.join(LAST)


def _store() -> Any:
    """The values by key that JAX's service keeps for all processes; it has no public name."""
    from jax._src import distributed

    return distributed.global_state.client


def _exchanged(value: Any, error: Exception | None = None) -> list[Any]:
    """The values of all processes, each of which calls this; raises if one of them has an error instead."""
    import numpy as np
    from jax.experimental import multihost_utils

    told: dict[str, Any] = {"value": value}
    if error is not None:
        user = isinstance(error, (InputError, OSError))
        told = {"error": first_line(error)[: MESSAGE // 4], "user": user}
    content = np.zeros(MESSAGE, np.uint8)
    encoded = np.frombuffer(json.dumps(told).encode(), np.uint8)
    if len(encoded) > MESSAGE:
        raise ValueError(f"{len(encoded)} bytes are more than a process can tell the others")
    content[: len(encoded)] = encoded
    rows = np.asarray(multihost_utils.process_allgather(content))
    answers = [json.loads(row.tobytes().rstrip(b"\0")) for row in rows]
    failed = next((number for number, answer in enumerate(answers) if "error" in answer), None)
    if failed is None:
        return [answer["value"] for answer in answers]
    if failed != index() or error is None:
        sentence, user = answers[failed]["error"], answers[failed]["user"]
        error = InputError(sentence) if user else RuntimeError(f"process {failed}: {sentence}")
    error.common = True  # pyright: ignore[reportAttributeAccessIssue]
    raise error


def _libraries_to_stderr() -> None:
    """Leave standard output to results: gloo, which joins CPUs, prints to it past the streams of Python."""
    sys.stdout.flush()
    results, like = os.dup(1), sys.stdout
    os.dup2(2, 1)
    sys.stdout = os.fdopen(results, "w", encoding=like.encoding, errors=like.errors)


def _number(environ: Mapping[str, str], name: str) -> int:
    text = environ.get(name, "")
    return int(text) if text.isdecimal() else 0


def _check(asked: Joining) -> None:
    """InputError if the flags do not fit together."""
    flags = (asked.coordinator, asked.processes, asked.process)
    if asked.alone and any(flag is not None for flag in flags):
        raise InputError(
            "--alone joins nobody: it takes no --coordinator, --processes or --process"
        )
    if asked.coordinator is None and any(flag is not None for flag in flags):
        raise InputError("--processes and --process need --coordinator HOST:PORT")
    if asked.coordinator is not None and not re.fullmatch(r".+:\d{1,5}", asked.coordinator):
        raise InputError(f"--coordinator {asked.coordinator} is not HOST:PORT")
    if None not in (asked.processes, asked.process) and asked.process >= asked.processes:  # pyright: ignore[reportOperatorIssue, reportOptionalOperand]
        raise InputError(f"--process {asked.process} is not below --processes {asked.processes}")


def _check_kubernetes() -> None:
    """InputError without the package by which JAX asks for the other pods."""
    if importlib.util.find_spec("kubernetes") is None:
        raise InputError(
            "joining the pods of a Kubernetes job needs the package kubernetes: pip install 'gen_jax[k8s]';"
            f" {NOT_JOINED}"
        )


def _tpu_pod() -> bool:
    """Whether this is a Cloud TPU VM, whose metadata server knows the others; JAX must be imported."""
    return (
        importlib.util.find_spec("libtpu") is not None
        and TPU_METADATA not in os.environ
        and "cpu" not in os.environ.get("JAX_PLATFORMS", "")
    )
