"""The train loop: claim the work directory, resume, step, validate, save. Read it from top to bottom.

Bit-exact: noise and batches are functions of (seed, step), every step runs in the same compiled program of
`steps_per_call` steps, and a resumed run starts at a multiple of it.
"""

import dataclasses
import functools
import math
import signal
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import PartitionSpec as P

from gen_jax import fingerprint, sharding
from gen_jax.data import prepared
from gen_jax.data.batches import Batches
from gen_jax.density import functional, root_key
from gen_jax.errors import InputError
from gen_jax.experiment import Experiment
from gen_jax.optimizer import planned_steps
from gen_jax.runs import provenance
from gen_jax.runs.checkpoint import Checkpoints
from gen_jax.runs.diagnosis import Diagnosis
from gen_jax.runs.likelihood import Likelihoods
from gen_jax.runs.logging import LOG, RunLog
from gen_jax.runs.provenance import machine
from gen_jax.runs.splits import load_split
from gen_jax.runs.state import TrainState, create_state
from gen_jax.runs.workdir import WorkDir
from gen_jax.train import first_stage
from gen_jax.train.pmap import pmapped
from gen_jax.train.step import jitted, train_step, unrolled
from gen_jax.typing import MetricRows, Variables

MAX_STEPS_PER_CALL = 10
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

    `trust` allows that the folder of a first stage names classes that are neither of gen_jax nor in the experiment.
    """
    model = functional(experiment.model)
    optimizer = experiment.transformation()
    planned = planned_steps(experiment.optimizer, experiment.steps)
    if min(planned) < experiment.steps:
        raise InputError(
            f"optimizer.learning_rate ends at step {min(planned)}, before the last of {experiment.steps} steps"
        )
    if max(planned) > experiment.steps:
        LOG.warning(
            "optimizer.learning_rate is a schedule of %d steps, of which only %d are trained",
            max(planned),
            experiment.steps,
        )
    key = root_key(experiment.seed)
    split = load_split(experiment, "train", data_dir)
    validation = load_split(experiment, "validation", data_dir)
    batches = Batches(
        split, experiment.batch_size, experiment.seed, bool(experiment.model.num_classes)
    )

    mesh = sharding.data_mesh(experiment.batch_size // experiment.optimizer.accumulate)
    create = functools.partial(create_state, model, optimizer, key)
    first = sharding.put(batches.first(experiment.init_examples), mesh, P("data"))
    shapes = jax.eval_shape(create, first)
    if "carry" in shapes.collections:
        if experiment.optimizer.accumulate > 1:
            raise InputError("optimizer.accumulate must be 1: each row carries a state to the next")
        if experiment.init_examples is not None:
            raise InputError("init_examples must be None: there is a state for each row of a batch")
        batches = dataclasses.replace(batches, contiguous=True)
    frozen = first_stage.load(experiment, trust)
    # Only now: what cannot be built leaves nothing behind.
    workdir.claim(experiment, conditions(parallel, frozen, (split, validation)), split.presentation)
    placed = sharding.state_sharding(shapes, mesh)
    like = jax.tree.map(
        lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), shapes, placed
    )

    one_step = functools.partial(
        train_step,
        model=model,
        optimizer=optimizer,
        key=key,
        ema=experiment.ema,
        accumulate=experiment.optimizer.accumulate,
    )
    over_devices = pmapped if parallel == "pmap" else jitted
    step_many = over_devices(one_step, mesh, placed)
    judge, likelihoods = experiment.evaluate, None
    if experiment.model.kind != "none":
        likelihoods = Likelihoods(model, mesh, judge.batch_size, key, judge.validation_draws)
    diagnosis, told = Diagnosis(model, mesh, judge.batch_size, key), set()

    with (
        workdir.locked(),
        Checkpoints(workdir.checkpoints) as checkpoints,
        _terminated() as terminated,
    ):
        restored = checkpoints.restore_newest(like, LOG.warning)
        if restored is None:
            start, state = 0, jax.jit(create, out_shardings=placed)(first)
            state = first_stage.put(state, frozen)
        else:
            start, state = restored
            LOG.info("continuing at step %d of %d", start, experiment.steps)
        # A run may have stopped between two calls of a backend with shorter ones.
        per_call = math.gcd(steps_per_call(experiment), start)
        unit = "loss" if likelihoods is None else split.unit
        with RunLog(workdir, experiment.steps, start, unit) as log:
            saved = start
            running = []  # calls whose metrics are not fetched: device and host work side by side
            for step in range(start, experiment.steps, per_call):
                rows = [batches.batch(s) for s in range(step, step + per_call)]
                stacked = jax.tree.map(lambda *x: np.stack(x), *rows)
                state, metrics = step_many(state, sharding.put(stacked, mesh, P(None, "data")))
                done = step + per_call
                if running and step % MAX_STEPS_PER_CALL == 0:
                    _report(log, running, batches, saved)
                    running = []
                running.append((step, metrics))
                stop = terminated.is_set()
                due = done % judge.every == 0 or done == experiment.steps
                if stop or due:
                    _report(log, running, batches, saved)
                    running, value = [], None
                    if due:
                        variables = {"params": state.ema, **state.collections}
                        row, findings = diagnosis(variables, validation, judge.examples)
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
    """What decides the bits of a run beside its config; `frozen` are the weights of a first stage."""
    precision = jax.config.jax_default_matmul_precision  # pyright: ignore[reportAttributeAccessIssue]
    found = {
        **machine(),
        "parallel": parallel,
        "source": provenance.digest(),
        "precision": precision,
    }
    if splits:
        names = list(splits[0].class_names)
        checksums = {split.split: split.checksum for split in splits}
        found["data"] = {"checksums": checksums, "class_names": names}
    return found if frozen is None else {**found, "first_stage": fingerprint.of_variables(frozen)}


def steps_per_call(experiment: Experiment) -> int:
    """Largest number, at most ten, that divides the budget and the distance between evaluations; one where unrolled."""
    if unrolled():
        return 1
    common = math.gcd(experiment.steps, experiment.evaluate.every)
    return max(n for n in range(1, MAX_STEPS_PER_CALL + 1) if common % n == 0)


def _report(log: RunLog, calls: list[tuple[int, MetricRows]], batches: Batches, saved: int) -> None:
    """Log the mean over some calls; FloatingPointError at the first loss or parameters that are not finite."""
    first, names = calls[0][0], calls[0][1].keys()
    rows = {
        name: np.concatenate([np.asarray(metrics[name]) for _, metrics in calls]) for name in names
    }
    broken = np.flatnonzero(~np.isfinite(rows["loss"] + rows["param_norm"]))
    if broken.size:
        bad = first + int(broken[0])
        listed = ", ".join(map(str, batches.indices(bad)))
        kept = f"the last good checkpoint is of step {saved}" if saved else "none was saved before"
        raise FloatingPointError(
            f"the loss or the update is not finite at step {bad}; its batch is examples {listed} of"
            f" {batches.split.split}; {kept}"
        )
    done = first + len(rows["loss"])
    means = {name: float(row.mean(dtype=np.float64)) for name, row in rows.items()}
    log.scalars(done, "train", means)
    log.advance(done, means.get("bits_per_dim", means["loss"]))


class _terminated:  # noqa: N801  reads as a with statement
    """A flag that SIGTERM sets; the loop looks at it between calls. Off the main thread there is no handler."""

    def __enter__(self) -> threading.Event:
        self.flag = threading.Event()
        self.main = threading.current_thread() is threading.main_thread()
        if self.main:
            self.before = signal.signal(signal.SIGTERM, lambda *_: self.flag.set())
        return self.flag

    def __exit__(self, *error):
        if self.main:
            signal.signal(signal.SIGTERM, self.before)
