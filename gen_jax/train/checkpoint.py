"""Checkpoints by Orbax: asynchronous, atomic, the newest two and the best by validation, one checksum a leaf.

Orbax finds a missing or truncated file by itself, a flipped bit it does not; the checksums do. `restore_newest` walks
back over what is damaged.
"""

import contextlib
import math
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import AnyPreservationPolicy, BestN, LatestN

from gen_jax.errors import InputError, SaveError
from gen_jax.train.step import TrainState

LATEST = 2


class Checkpoints:
    """The checkpoints of one work directory."""

    def __init__(self, folder: Path, read_only: bool = False):
        self.folder = folder.absolute()
        keep = AnyPreservationPolicy(
            [
                LatestN(LATEST),
                BestN(get_metric_fn=_score, n=1, keep_checkpoints_without_metrics=False),
            ]
        )
        options = ocp.CheckpointManagerOptions(
            preservation_policy=None if read_only else keep,
            best_fn=_score,  # without it the metrics are not written, and a restarted manager forgets the best
            enable_async_checkpointing=True,
            cleanup_tmp_directories=not read_only,
            read_only=read_only,
            create=not read_only,
        )
        self.manager = ocp.CheckpointManager(self.folder, options=options)

    def save(self, step: int, state: TrainState, validation: float | None) -> None:
        """Start saving; the copy on the device lets training go on with donated buffers."""
        state = jax.tree.map(jnp.copy, state)
        items = {
            "state": ocp.args.StandardSave(state),
            "record": ocp.args.JsonSave({"checksums": checksums(state), "validation": validation}),
        }
        metrics = None if validation is None else {"validation": validation}
        with self._saving():
            self.manager.save(step, args=ocp.args.Composite(**items), metrics=metrics, force=True)

    def close(self) -> None:
        """Wait until everything is on disk and let go."""
        with self._saving():
            self.manager.wait_until_finished()
            self.manager.close()

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *error) -> None:
        self.close()

    @contextlib.contextmanager
    def _saving(self) -> Iterator[None]:
        """SaveError for whatever the file layers raise, most often a full disk."""
        try:
            yield
        except Exception as error:
            reason = _first_line(error)
            raise SaveError(
                f"cannot save a checkpoint in {self.folder} ({reason}); what was saved before is kept, and the same"
                " command goes on from there once there is room"
            ) from error

    def steps(self) -> list[int]:
        """Finished checkpoints, oldest first."""
        return sorted(self.manager.all_steps())

    def restore(self, step: int, like: TrainState) -> tuple[TrainState, dict[str, Any]]:
        """The state of a step, placed as `like` is, and its record; raises where it is damaged."""
        items = {"state": ocp.args.StandardRestore(like), "record": ocp.args.JsonRestore()}
        restored = self.manager.restore(step, args=ocp.args.Composite(**items))
        wrong = [
            name
            for name, crc in checksums(restored["state"]).items()
            if restored["record"]["checksums"].get(name) != crc
        ]
        if wrong:
            raise OSError(f"checksum differs in {', '.join(wrong[:3])}")
        return restored["state"], restored["record"]

    def restore_newest(self, like: TrainState, warn) -> tuple[int, TrainState] | None:
        """Newest undamaged checkpoint, None where there is none at all; InputError where all are damaged."""
        damaged = {}
        for step in reversed(self.steps()):
            try:
                state, _ = self.restore(step, like)
            except Exception as error:  # Orbax raises whatever its file layers raise
                damaged[step] = error
                warn(
                    f"checkpoint {step} is damaged ({_first_line(error)}); going back to the one before"
                )
                continue
            for bad in damaged:
                self._set_aside(bad)
            if damaged:
                self.manager.reload()
            return step, state
        if damaged:
            raise InputError(
                f"none of the checkpoints in {self.folder} can be read: {_first_line(damaged[max(damaged)])}"
            )
        return None

    def restore_best(self, like: TrainState, warn) -> tuple[int, TrainState]:
        """Best undamaged checkpoint by validation, else the newest; InputError where there is none."""
        validations = {}
        for step in self.steps():
            try:
                record = self.manager.restore(
                    step, args=ocp.args.Composite(record=ocp.args.JsonRestore())
                )
                value = record["record"]["validation"]
                validations[step] = math.inf if value is None else value
            except Exception as error:  # as above
                warn(f"checkpoint {step} is damaged ({_first_line(error)}); it is left out")
        for step in sorted(validations, key=lambda step: (validations[step], -step)):
            try:
                return step, self.restore(step, like)[0]
            except Exception as error:  # as above
                warn(f"checkpoint {step} is damaged ({_first_line(error)}); it is left out")
        raise InputError(
            f"no checkpoint to be read in {self.folder}; `gen-jax train` has not saved one yet"
        )

    def _set_aside(self, step: int) -> None:
        aside = self.folder.parent / "damaged" / str(step)
        aside.parent.mkdir(exist_ok=True)
        while aside.exists():
            aside = aside.with_name(aside.name + "x")
        (self.folder / str(step)).rename(aside)


def checksums(tree: Any) -> dict[str, int]:
    """CRC-32 of each leaf's bytes, by path."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {
        jax.tree_util.keystr(path): zlib.crc32(np.ascontiguousarray(leaf).data)
        for path, leaf in leaves
    }


def _score(metrics: dict[str, float]) -> float:
    return -metrics["validation"]


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
