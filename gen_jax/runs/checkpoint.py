"""Checkpoints by Orbax: asynchronous, atomic, the newest two and the best by validation, checksums of each leaf.

Orbax detects a missing or truncated file but not a flipped bit; the checksums do (`sums`). They depend on no device, so
a checkpoint is restored on any number of devices and processes. `restore_newest` goes back past damaged checkpoints,
and several processes agree on which are damaged. A process that reads while another one trains lists the folder again
if a checkpoint disappears.
A kill loses what came after the last finished save: one interval, or two if a save takes longer than an interval.
"""

import contextlib
import math
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp

from gen_jax import processes
from gen_jax.errors import InputError, SaveError, first_line
from gen_jax.runs import storage
from gen_jax.runs.state import Averages, TrainState
from gen_jax.runs.sums import crcs, sums

State = TypeVar("State", TrainState, Averages)

LATEST = 2
LISTINGS = 20  # how often to list a folder that another process changes
DELETION = 1.0  # seconds that deleting the files of a checkpoint may take


class Vanished(Exception):  # noqa: N818  the training process deleted it
    """A checkpoint was deleted while it was read."""


class Checkpoints:
    """The checkpoints of one work directory; InputError if its path cannot hold any."""

    def __init__(self, folder: Path, read_only: bool = False):
        self.folder, self.read_only = folder.absolute(), read_only
        storage.quiet_stragglers()
        self.validations: dict[int, float] = {}  # by step; infinite if there is none
        self.unreadable: set[int] = set()
        self.failed: BaseException | None = None  # why the last save in the background was given up
        self.handlers = {
            "state": ocp.PyTreeCheckpointHandler(),
            "record": ocp.JsonCheckpointHandler(),
        }
        self.manager = self._open()
        for step in () if read_only else self.steps():
            try:
                self.validations[step] = self._validation(step)
            except Exception:  # Orbax raises whatever its file layers raise
                self.unreadable.add(step)

    def _open(self) -> ocp.CheckpointManager:
        options = ocp.CheckpointManagerOptions(
            preservation_policy=None if self.read_only else _Policy(self),
            enable_async_checkpointing=True,
            async_options=ocp.options.AsyncOptions(barrier_sync_fn=self._barrier),
            cleanup_tmp_directories=not self.read_only,
            read_only=self.read_only,
            create=not self.read_only,
            lightweight_initialize=True,  # otherwise one unreadable file `metrics` hides all checkpoints
        )
        folder = storage.literal(self.folder)
        return ocp.CheckpointManager(folder, options=options, item_handlers=self.handlers)

    def _barrier(self, *, key: str, timeout_ms: int) -> None:
        """Where a save in the background waits for the other processes; one that failed does not: they wait for it."""
        error = sys.exception()
        if error is not None:
            self.failed = error
            raise error
        ocp.multihost.get_barrier_sync_fn()(key=key, timeout_ms=timeout_ms)

    def save(self, step: int, state: TrainState, validation: float | None, **beside: Any) -> None:
        """Start saving a copy on the device, so that training can continue with donated buffers.

        `beside`: more entries of the record, as JSON.
        """
        state = jax.tree.map(jnp.copy, state)
        items = {
            "state": ocp.args.PyTreeSave(state),
            "record": ocp.args.JsonSave({"sums": sums(state), "validation": validation, **beside}),
        }
        self.validations[step] = _number(validation)
        self.unreadable.discard(step)
        with self._saving():
            self.manager.save(step, args=ocp.args.Composite(**items), force=True)

    def saving(self) -> bool:
        """Whether the previous save is still being written; the next one waits for it."""
        return self.manager.is_saving_in_progress()

    def check(self) -> None:
        """SaveError if the last save in the background has failed."""
        if self.failed is not None:
            with self._saving():
                raise self.failed

    def close(self) -> None:
        """Wait until everything is on disk, then release the folder."""
        with self._saving():
            self.manager.wait_until_finished()
            self.manager.close()

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, kind, error, trace) -> None:
        # What is still being saved needs all processes.
        broken = processes.several() and isinstance(error, SaveError)
        if not broken and not processes.lost(error):
            self.close()

    @contextlib.contextmanager
    def _saving(self) -> Iterator[None]:
        """Turn whatever the file layers raise, most often for a full disk, into a SaveError.

        Several processes save together: if another one has failed or died, it says why.
        """
        try:
            yield
        except Exception as error:
            if processes.lost(error):
                raise
            reason = _reason(error)
            raise SaveError(
                f"cannot save a checkpoint in {self.folder} ({reason}); earlier checkpoints are kept, and the same"
                " command continues from there once there is room"
            ) from error

    def steps(self) -> list[int]:
        """Steps of the finished checkpoints, oldest first."""
        return sorted(self.manager.all_steps())

    def restore(self, step: int, like: State) -> tuple[State, dict[str, Any]]:
        """The state of a step, or only its averages, placed like `like`, in its stored types, and its record.

        Raises if what is read is damaged.
        """
        with processes.agreed():
            stored = _by_path(self.manager.item_metadata(step)["state"])
            like = jax.tree_util.tree_map_with_path(
                lambda path, leaf: _typed(leaf, stored.get(_name(path))), like
            )
            leaves = ocp.args.PyTreeRestore(
                like,
                restore_args=ocp.checkpoint_utils.construct_restore_args(like),
                partial_restore=isinstance(like, Averages),
            )
            restored = self._items(step, state=leaves, record=ocp.args.JsonRestore())
        state, record = restored["state"], restored["record"]
        there = record["sums"] if "sums" in record else record["checksums"]
        present = (sums if "sums" in record else crcs)(state)
        wrong = [name for name, value in present.items() if there.get(name) != value]
        with processes.agreed():
            if wrong:
                raise OSError(f"checksum differs in {', '.join(wrong[:3])}")
        return state, record

    def restore_newest(
        self, like: TrainState, warn
    ) -> tuple[int, TrainState, dict[str, Any]] | None:
        """The newest undamaged checkpoint: its step, state and record. None if there are none.

        InputError if all are damaged.
        """
        damaged = {}
        for step in reversed(processes.of_first(self.steps())):
            try:
                state, record = self.restore(step, like)
            except Exception as error:  # Orbax raises whatever its file layers raise
                damaged[step] = error
                warn(
                    f"checkpoint {step} is damaged ({_reason(error)}); going back to the previous one"
                )
                continue
            processes.by_first(lambda: [self._set_aside(bad) for bad in damaged])
            if damaged:
                self.manager = self._open()
            return step, state, record
        with processes.agreed():
            if not damaged:
                return None
            raise InputError(
                f"none of the checkpoints in {self.folder} can be read: {_reason(damaged[max(damaged)])}"
            )

    def restore_best(self, like: State, warn) -> tuple[int, State]:
        """The best undamaged checkpoint by validation, or the newest without one; InputError if there is none."""
        for _ in range(LISTINGS):
            with contextlib.suppress(Vanished):
                return self._best(like, warn)
            self.manager = self._open()
        raise InputError(
            f"the checkpoints in {self.folder} change faster than they can be read; try again when training pauses"
        )

    def _best(self, like: State, warn) -> tuple[int, State]:
        """One try of `restore_best`; Vanished if a listed checkpoint has been deleted."""
        validations, damaged, steps = {}, {}, processes.of_first(self.steps())
        for step in steps:
            with self._read(step, damaged), processes.agreed():
                validations[step] = self._validation(step)
        best = None
        for step in sorted(validations, key=lambda step: (validations[step], -step)):
            with self._read(step, damaged):
                best = step, self.restore(step, like)[0]
                break
        for step in sorted(damaged):
            warn(f"checkpoint {step} is damaged ({damaged[step]}); it is ignored")
        with processes.agreed():
            if best is None:
                why = f"; all {len(steps)} are damaged" if steps else self._why_none()
                raise InputError(f"no readable checkpoint in {self.folder}{why}")
            return best

    def _why_none(self) -> str:
        """Why there is no checkpoint: none was saved, or the folder holds other folders only."""
        try:
            others = [path for path in self.folder.iterdir() if path.is_dir()]
        except OSError:
            others = []
        if not others:
            return "; `gen-jax train` has not saved one yet"
        folders = "1 folder" if len(others) == 1 else f"{len(others)} folders"
        return f"; it holds {folders}, but no finished save"

    @contextlib.contextmanager
    def _read(self, step: int, damaged: dict[int, str]) -> Iterator[None]:
        """Note a damaged checkpoint; Vanished if the folder of the step is gone, or disappears within a second."""
        try:
            yield
        except Exception as error:  # Orbax raises whatever its file layers raise
            end = time.monotonic() + DELETION
            while (self.folder / str(step)).exists():
                if time.monotonic() > end:
                    damaged[step] = _reason(error)
                    return
                time.sleep(DELETION / 20)
            raise Vanished from error

    def _validation(self, step: int) -> float:
        record = self._items(step, record=ocp.args.JsonRestore())["record"]
        return _number(record["validation"])

    def _items(self, step: int, **items: Any) -> dict[str, Any]:
        """Parts of a checkpoint, read without waiting for other processes, of which one may fail alone."""
        folder = storage.literal(self.folder / str(step))
        return {
            name: self.handlers[name].restore(folder / name, args=args)
            for name, args in items.items()
        }

    def _set_aside(self, step: int) -> None:
        aside = self.folder.parent / "damaged" / str(step)
        aside.parent.mkdir(exist_ok=True)
        while aside.exists():
            aside = aside.with_name(aside.name + "x")
        (self.folder / str(step)).rename(aside)


class _Policy:
    """What Orbax preserves: the newest, the best, and unreadable checkpoints, which only the user may delete."""

    def __init__(self, owner: Checkpoints):
        self.owner = owner

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> list[bool]:
        """Whether to preserve each of the checkpoints, oldest first."""
        del context
        steps, validations = [checkpoint.step for checkpoint in checkpoints], self.owner.validations
        judged = [step for step in steps if math.isfinite(validations.get(step, math.nan))]
        preserved = {*steps[-LATEST:], *self.owner.unreadable}
        if judged:
            preserved.add(min(judged, key=lambda step: (validations[step], -step)))
        return [step in preserved for step in steps]


def _name(path: Any) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")


def _by_path(metadata: Any) -> dict[str, Any]:
    """The stored leaves of a state by their path in a TrainState."""
    tree = getattr(metadata, "tree", metadata)
    return {_name(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def _typed(leaf: Any, stored: Any) -> Any:
    """The leaf with the type it was saved in: with 64-bit types enabled a wider copy would have another checksum."""
    dtype = getattr(stored, "dtype", None) or leaf.dtype
    return jax.ShapeDtypeStruct(leaf.shape, dtype, sharding=leaf.sharding)


def _number(validation: float | None) -> float:
    """The validation, or infinity without one, so that such a checkpoint is the last choice."""
    return math.inf if validation is None or math.isnan(validation) else validation


def _reason(error: Exception) -> str:
    return f"{first_line(error):.200}"
