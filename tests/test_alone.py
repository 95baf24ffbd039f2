"""A process of several that fails alone leaves word, and the others end; a failed save is found; a death is said."""

import errno
import threading
import time
from types import SimpleNamespace

import fleet
import jax
import pytest
import test_checkpoint
from orbax.checkpoint._src.multihost import multihost

from gen_jax import InputError, cli, processes
from gen_jax.errors import SaveError
from gen_jax.runs import checkpoint as checkpointing
from gen_jax.runs.checkpoint import Checkpoints
from gen_jax.runs.logging import RunLog
from gen_jax.runs.workdir import WorkDir

saved = test_checkpoint.saved


class Left(BaseException):
    """In place of the end of the process."""


@pytest.fixture
def second(monkeypatch):
    """The second of two processes, which ends by `Left`; the entries of the store that both see."""
    kept = {}

    def put(key, value):
        if key in kept:
            raise jax.errors.JaxRuntimeError("ALREADY_EXISTS")
        kept[key] = value

    def end(status):
        raise Left(status)

    store = SimpleNamespace(key_value_set=put, key_value_try_get=kept.__getitem__)
    monkeypatch.setattr(processes, "_store", lambda: store)
    monkeypatch.setattr(processes, "several", lambda: True)
    monkeypatch.setattr(processes, "index", lambda: 1)
    monkeypatch.setattr(processes.os, "_exit", end)
    monkeypatch.setattr(processes.time, "sleep", lambda seconds: None)
    return kept


def left(monkeypatch, error):
    """The status with which the process ends after an error in a command."""

    def fails(args):
        raise error

    parsed = cli.parser().parse_args(["list"])
    parsed.run = fails
    monkeypatch.setattr(cli, "parser", lambda: SimpleNamespace(parse_args=lambda _: parsed))
    with pytest.raises(Left) as end:
        cli.main(["list"])
    return end.value.args[0]


def gone(kind):
    """An error of a process whose partner is gone, as JAX or a library on top raises it."""
    if kind is not TimeoutError:
        return kind("UNKNOWN: Gloo AllGather failed: Connection reset by peer")
    error = TimeoutError("Timed out while waiting for a barrier")
    error.__cause__ = jax.errors.JaxRuntimeError("UNAVAILABLE: Socket closed")
    return error


@pytest.mark.parametrize("kind", [jax.errors.JaxRuntimeError, ValueError, TimeoutError])
def test_a_dead_process_is_one_sentence_of_the_others(second, kind, monkeypatch, capsys):
    """Without a traceback; the status is JAX's own, or 1 if it does not abort. None if the other one said why."""
    error = gone(kind)
    assert left(monkeypatch, error) == 1
    said = capsys.readouterr().err
    assert said.startswith(
        "gen-jax: a computation of several processes failed: most likely another"
    )
    assert f"({error})" in said
    assert "Traceback" not in said
    assert not second
    second[processes.WORD] = "[0, 2]"
    assert left(monkeypatch, error) == 2
    assert not capsys.readouterr().err


@pytest.mark.parametrize(
    ("kind", "status"), [(InputError, 2), (SaveError, 2), (KeyError, 1), (KeyboardInterrupt, 130)]
)
def test_a_process_that_fails_alone_leaves_word(second, kind, status, monkeypatch, capfd):
    """The first one says why; another one, also with an error of its own, ends with its status and says nothing."""
    assert left(monkeypatch, kind("a sentence")) == status
    assert "gen-jax: " in capfd.readouterr().err
    assert second == {processes.WORD: f"[1, {status}]"}
    assert processes.told() is None
    monkeypatch.setattr(processes, "index", lambda: 2)
    with pytest.raises(Left) as end:
        processes._listen(threading.Event())
    assert end.value.args == (status,)
    left(monkeypatch, kind("another sentence"))
    assert "gen-jax: " not in capfd.readouterr().err


class Closing(Checkpoints):
    """Checkpoints that only count how often they wait for the end of a save."""

    def __init__(self):
        self.closed = 0

    def close(self):
        self.closed += 1


def test_what_is_saved_needs_all_processes(second):
    """One whose partner is gone, or whose save failed, does not wait for the end of a save; others do."""
    checkpoints = Closing()
    for error in (gone(ValueError), gone(TimeoutError), SaveError("disk full"), KeyError()):
        with pytest.raises(type(error)), checkpoints:
            raise error
    assert checkpoints.closed == 1


def test_a_failed_save_is_found_at_once(tmp_path, monkeypatch):
    """By the next look of the loop; the thread that saved does not wait for the others, which wait for it."""
    checkpoints, waited = Checkpoints(tmp_path / "checkpoints"), []
    wait = lambda key, timeout_ms: waited.append(key)  # noqa: E731
    monkeypatch.setattr(checkpointing.ocp.multihost, "get_barrier_sync_fn", lambda: wait)
    checkpoints.save(10, test_checkpoint.state(10), None)
    checkpoints.manager.wait_until_finished()
    checkpoints.check()

    def full(directory):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoints.handlers["state"], "finalize", full)
    a_save = len(waited)
    checkpoints.save(20, test_checkpoint.state(20), None)
    end = time.monotonic() + 20
    while checkpoints.failed is None and time.monotonic() < end:
        time.sleep(0.01)
    with pytest.raises(SaveError, match=r"No space left on device.*earlier checkpoints are kept"):
        checkpoints.check()
    assert len(waited) == a_save + a_save // 2
    assert Checkpoints(tmp_path / "checkpoints").steps() == [10]


def test_a_log_that_is_full_names_its_file(tmp_path, full_disk):
    """Also at the end, when it is closed."""
    log = RunLog(WorkDir(tmp_path), 10, 0, "nats")
    with pytest.raises(OSError, match="File too large") as full, log:
        log.scalars(10, "train", dict.fromkeys(map(str, range(50)), 0.0))
    assert full.value.filename == str(tmp_path / "metrics.jsonl")


def test_reading_waits_for_nobody(saved, monkeypatch):
    """Otherwise a process that cannot read its part of a checkpoint would leave the others waiting."""
    checkpoints = Checkpoints(saved)
    monkeypatch.setattr(multihost, "sync_global_processes", lambda *of, **named: 1 / 0)
    newest = checkpoints.restore_newest(test_checkpoint.like(), print)
    assert newest is not None
    assert (newest[0], newest[2]["validation"]) == (40, 4.0)
    assert checkpoints.restore_best(test_checkpoint.like(), print)[0] == 20


ALONE = """
import sys, time
from types import SimpleNamespace
from gen_jax import cli, processes
from gen_jax.errors import InputError
who, waits, where, total, number = sys.argv[1], sys.argv[2], *sys.argv[4::2]
def run(args):
    processes.join(processes.Joining(where, int(total), int(number)))
    processes.of_first(None)
    if number == who:
        raise InputError("a sentence")
    while waits == "asleep":
        time.sleep(1)
    processes.of_first(None)
parsed = cli.parser().parse_args(["list"])
parsed.run = run
cli.parser = lambda: SimpleNamespace(parse_args=lambda _: parsed)
sys.exit(cli.main([]))
"""


@pytest.mark.parametrize(("who", "waits"), [(0, "asleep"), (1, "asleep"), (1, "computing")])
def test_the_others_end_with_one_that_fails_alone(who, waits):
    """Whatever they wait for: with its status, and without a word."""
    done = fleet.ended(fleet.start(2, 1, who, waits, program=("-c", ALONE)), 60)
    assert [process.status for process in done] == [2, 2], done
    said = [[line for line in p.err.splitlines() if "Gloo" not in line] for p in done]
    assert said[who] == ["gen-jax: a sentence"]
    assert said[1 - who] == []
