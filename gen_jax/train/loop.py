"""The train loop: claim the work directory, resume, step, validate, save. Read it from top to bottom.

Resuming is bit-exact: noise and batches are functions of (seed, step), every step runs in the same compiled program of
`steps_per_call` steps, and a resumed run starts at a multiple of that number.
"""

import math
import signal
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax

from gen_jax import fingerprint, sharding
from gen_jax.data import prepared
from gen_jax.experiment import Experiment
from gen_jax.runs import provenance
from gen_jax.runs.checkpoint import Checkpoints
from gen_jax.runs.diagnosis import Diagnosis
from gen_jax.runs.followed import Followed
from gen_jax.runs.likelihood import Likelihoods
from gen_jax.runs.logging import LOG, RunLog
from gen_jax.runs.provenance import machine
from gen_jax.runs.run import evaluated
from gen_jax.runs.splits import load_split
from gen_jax.runs.state import TrainState
from gen_jax.runs.workdir import WorkDir
from gen_jax.train import first_stage
from gen_jax.train.program import MAX_STEPS_PER_CALL, Call, Program, steps_per_call
from gen_jax.typing import Variables

SIGTERM_STATUS = 143
SLOW_SAVES = "saving takes longer than evaluate.every steps: training waits for it, and a kill can lose two intervals"


def train(
    experiment: Experiment,
    workdir: WorkDir,
    data_dir: Path | None = None,
    parallel: sharding.Parallel = "jit",
    trust: bool = False,
) -> TrainState:
    """Train to the last step and return the state; SystemExit(143) after SIGTERM, with everything saved.

    `trust`: the folder of a first stage may name classes that are neither in gen_jax nor in the experiment.
    """
    split = load_split(experiment, "train", data_dir)
    validation = load_split(experiment, "validation", data_dir)
    program = Program(experiment, split, parallel)
    model, mesh, key = program.model, program.mesh, program.key
    frozen = first_stage.load(experiment, trust)
    like = evaluated(program.like)
    followed = Followed(model, mesh, key, workdir, experiment.evaluate.samples, like)
    # Claim the folder only now: an experiment that cannot be built leaves nothing behind.
    workdir.claim(experiment, conditions(parallel, frozen, (split, validation)), split.presentation)
    judge, likelihoods = experiment.evaluate, None
    if experiment.model.kind != "none":
        likelihoods = Likelihoods(model, mesh, judge.batch_size, key, judge.validation_draws)
    diagnosis, told = Diagnosis(model, mesh, judge.batch_size, key), set()

    with (
        workdir.locked(),
        Checkpoints(workdir.checkpoints) as checkpoints,
        _terminated() as terminated,
    ):
        restored = checkpoints.restore_newest(program.like, LOG.warning)
        if restored is None:
            start, state = 0, first_stage.put(program.create(), frozen)
        else:
            start, state = restored
            LOG.info("continuing at step %d of %d", start, experiment.steps)
        # A run may have stopped between two calls of a backend with shorter ones.
        per_call = math.gcd(steps_per_call(experiment), start)
        unit = "loss" if likelihoods is None else split.unit
        with RunLog(workdir, experiment.steps, start, unit) as log:
            saved = start
            running = []  # calls whose metrics are not fetched yet: device and host work in parallel
            for step in range(start, experiment.steps, per_call):
                state, metrics = program.steps(state, step, per_call)
                done = step + per_call
                if running and step % MAX_STEPS_PER_CALL == 0:
                    _report(log, program, running, saved)
                    running = []
                running.append((step, metrics))
                stop = terminated.is_set()
                due = done % judge.every == 0 or done == experiment.steps
                if stop or due:
                    _report(log, program, running, saved)
                    running, value = [], None
                    if due:
                        variables = {"params": state.ema, **state.collections}
                        row, findings = diagnosis(variables, validation, judge.examples)
                        followed(variables, done)
                        if likelihoods is not None:
                            result = likelihoods(variables, validation, judge.examples)
                            bits, value = result.bits_per_dim, result.nats
                            if result.finding:
                                findings = {**findings, "divergence": result.finding}
                            row = {"nats": value, **row}
                            if bits is not None:
                                value, row = bits, {"bits_per_dim": bits, **row}
                            LOG.info("step %d: validation %s", done, result)
                        if row:
                            log.scalars(done, "validation", row)
                        for name in sorted(findings.keys() - told):
                            LOG.warning("step %d: %s", done, findings[name])
                        told |= findings.keys()
                    if checkpoints.saving() and "saving" not in told:
                        LOG.warning("step %d: %s", done, SLOW_SAVES)
                        told.add("saving")
                    checkpoints.save(done, state, value)
                    saved = done
                if stop:
                    LOG.warning("SIGTERM: saved step %d of %d", done, experiment.steps)
                    raise SystemExit(SIGTERM_STATUS)
    return state


def conditions(
    parallel: sharding.Parallel,
    frozen: Variables | None,
    splits: Sequence[prepared.Split] = (),
) -> dict[str, Any]:
    """What determines the bits of a run besides its config; `frozen` are the weights of a first stage."""
    precision = jax.config.jax_default_matmul_precision  # pyright: ignore[reportAttributeAccessIssue]
    record = {
        **machine(),
        "parallel": parallel,
        "source": provenance.digest(),
        "precision": precision,
    }
    if splits:
        names = list(splits[0].class_names)
        checksums = {split.split: split.checksum for split in splits}
        record["data"] = {"checksums": checksums, "class_names": names}
    return record if frozen is None else {**record, "first_stage": fingerprint.of_variables(frozen)}


def _report(log: RunLog, program: Program, calls: list[Call], saved: int) -> None:
    """Log the means over some calls; FloatingPointError if `Program.means` finds that training must stop."""
    last = f"the last good checkpoint is of step {saved}" if saved else "no checkpoint was saved"
    done, means = program.means(calls, f"; {last}")
    log.scalars(done, "train", means)
    log.advance(done, means.get("bits_per_dim", means.get("loss", math.nan)))


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
