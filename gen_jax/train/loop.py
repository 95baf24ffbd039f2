"""The train loop: claim the work directory, resume, step, validate, save. Read it from top to bottom.

Resuming is bit-exact: noise and batches are functions of (seed, step), every step runs in the same compiled program of
`steps_per_call` steps, and a resumed run starts at a multiple of that number.
"""

import contextlib
import signal
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax

from gen_jax import fingerprint, processes, sharding
from gen_jax.data import prepared
from gen_jax.experiment import Experiment
from gen_jax.optimizer import learning_rates
from gen_jax.runs import provenance, storage
from gen_jax.runs.checkpoint import Checkpoints
from gen_jax.runs.followed import Followed
from gen_jax.runs.logging import LOG, RunLog
from gen_jax.runs.mirror import Mirror
from gen_jax.runs.provenance import machine
from gen_jax.runs.run import evaluated
from gen_jax.runs.splits import load_split
from gen_jax.runs.state import TrainState
from gen_jax.runs.workdir import WorkDir
from gen_jax.train import first_stage, initial
from gen_jax.train.program import Program
from gen_jax.train.steps import reached
from gen_jax.train.validation import Validation, unimproved
from gen_jax.typing import Variables

SIGTERM_STATUS = 143
SLOW_SAVES = "saving takes longer than evaluate.every steps: training waits for it, and a kill can lose two intervals"


def train(
    experiment: Experiment,
    workdir: WorkDir,
    data_dir: Path | None = None,
    parallel: sharding.Parallel = "jit",
    trust: bool = False,
    until: int | None = None,
    mirror: str | None = None,
    memory: float = prepared.MEMORY,
    fsdp: int = 1,
) -> TrainState:
    """Train to the last step, or until `evaluate.patience` ends, or up to step `until`, and return the state.

    A folder of the same experiment with fewer steps is trained for longer: from its newest checkpoint on the schedule
    is that of the new number of steps. SystemExit(143) after SIGTERM, with everything saved; of several processes it is
    enough that one gets the signal.

    `trust`: the folder of a first stage may name classes that are neither in gen_jax nor in the experiment.
    `mirror`: a URL where a copy of the run is kept; if it is further than the folder, the run is restored from it.
    `memory`: bytes of a split up to which it is kept in memory; a larger one is read from disk, batch by batch.
    `fsdp`: over how many devices large arrays of the state are split; a run may go on with another number.
    """
    with processes.agreed():
        split, held_out = (
            load_split(experiment, name, data_dir, memory=memory)
            for name in ("train", "validation")
        )
        program = Program(experiment, split, parallel, fsdp)
        frozen = first_stage.load(experiment, trust)
        copy = None if mirror is None else Mirror(mirror, workdir)
        if copy is not None:
            processes.by_first(copy.restore)
        begun = workdir.checkpoints.is_dir() and any(workdir.checkpoints.iterdir())
        begun = processes.of_first(begun)
        weights = None if begun else initial.load(experiment, trust)
        of, like = (program.model, program.mesh, program.key, workdir), evaluated(program.like)
        followed = Followed(*of, experiment.evaluate.samples, like)
        splits = (split, held_out)
        asked = conditions(parallel, frozen, splits, weights, fsdp)
    # Claim the folder only now: an experiment that cannot be built leaves nothing behind.
    former = processes.first_then_others(
        lambda: workdir.claim(experiment, asked, split.presentation)
    )
    if processes.several():
        storage.try_out(workdir.path)
    validation, told = Validation(program, held_out), set()

    with (
        workdir.locked(),
        copy.open() if copy is not None else contextlib.nullcontext(),
        Checkpoints(workdir.checkpoints) as checkpoints,
        _terminated() as terminated,
    ):
        restored = checkpoints.restore_newest(program.like, LOG.warning)
        if restored is None:
            if begun:  # by a process that saved nothing
                with processes.agreed():
                    weights = initial.load(experiment, trust)
                    workdir.claim(experiment, conditions(parallel, frozen, splits, weights, fsdp))
            state = initial.put(first_stage.put(program.create(), frozen), experiment, weights)
            start, record = 0, {}
        else:
            start, state, record = restored
            LOG.info("continuing at step %d of %d", start, experiment.steps)
        if former is not None:
            processes.by_first(lambda: workdir.lengthen(experiment, start))
            rates = (learning_rates(e.optimizer, e.steps, start) for e in (experiment, former))
            LOG.info("learning rate at this step: %s, in the training so far %s", *rates)
        if _stops(checkpoints, start, experiment):
            return state
        with RunLog(workdir, experiment.steps, start, validation.unit) as log:
            saved = start

            def note() -> str:
                if not saved:
                    return "; no checkpoint was saved"
                return f"; the last good checkpoint is of step {saved}"

            points = {"until": until, "stopping": terminated.is_set, "note": note}
            for point in reached(program, state, start, pending=record.get("pending"), **points):
                done, value = point.step, None
                checkpoints.check()
                if point.pending is None:
                    log.scalars(done, "train", point.means)
                    log.advance(done, point.shown)
                if point.state is None:
                    continue
                state = point.state
                if point.due:
                    judged = validation(state)
                    followed({"params": state.ema, **state.collections}, done)
                    value = judged.value
                    if judged.result is not None:
                        LOG.info("step %d: validation %s", done, judged.result)
                    if judged.row:
                        log.scalars(done, "validation", judged.row)
                    for name in sorted(judged.findings.keys() - told):
                        LOG.warning("step %d: %s", done, judged.findings[name])
                    told |= judged.findings.keys()
                if checkpoints.saving() and "saving" not in told:
                    LOG.warning("step %d: %s", done, SLOW_SAVES)
                    told.add("saving")
                pending = {} if point.pending is None else {"pending": point.pending}
                checkpoints.save(done, state, value, **pending)
                if copy is not None:
                    copy.saved(checkpoints.saving)
                saved = done
                if point.stop:
                    LOG.warning("SIGTERM: saved step %d of %d", done, experiment.steps)
                    raise SystemExit(SIGTERM_STATUS)
                if point.due and _stops(checkpoints, done, experiment):
                    break
    return state


def _stops(checkpoints: Checkpoints, done: int, experiment: Experiment) -> bool:
    """Whether training ends before the last step, because validation no longer improves."""
    best = unimproved(checkpoints.validations, done, experiment.evaluate)
    if best is None or done == experiment.steps:
        return False
    LOG.info(
        "no improvement on validation since step %d: training ends at step %d of %d",
        best,
        done,
        experiment.steps,
    )
    return True


def conditions(
    parallel: sharding.Parallel,
    frozen: Variables | None,
    splits: Sequence[prepared.Split] = (),
    weights: Variables | None = None,
    fsdp: int = 1,
) -> dict[str, Any]:
    """What determines the bits of a run besides its config.

    `frozen`, the weights of a first stage, and `weights`, those of `init_from`, are recorded by their hashes.
    """
    precision = jax.config.jax_default_matmul_precision  # pyright: ignore[reportAttributeAccessIssue]
    record = {
        **machine(),
        "parallel": parallel,
        "fsdp": fsdp,
        "source": provenance.digest(),
        "precision": precision,
    }
    if splits:
        names = list(splits[0].class_names)
        checksums = {split.split: split.checksum for split in splits}
        record["data"] = {"checksums": checksums, "class_names": names}
    both = {"first_stage": frozen, "init_from": weights}
    hashes = {name: fingerprint.of_variables(w) for name, w in both.items() if w is not None}
    return {**record, **hashes}


class _terminated:  # noqa: N801  used in a with statement
    """A flag that SIGTERM sets and the loop checks between calls; outside the main thread there is no handler."""

    def __enter__(self) -> threading.Event:
        self.flag = threading.Event()
        self.main = threading.current_thread() is threading.main_thread()
        if self.main:
            self.before = signal.signal(signal.SIGTERM, lambda *_: self.flag.set())
        return self.flag

    def __exit__(self, *error):
        if self.main:
            signal.signal(signal.SIGTERM, self.before)
