"""PixelCNN++ on CIFAR-10 for the remaining time, in the best configuration of `throughput`.

The best configuration is the shallowest network with the smallest batch that reaches 0.9 of the largest number of
images per second, since smaller batches take more steps. The learning rate warms up and falls to 0 as a cosine of the
*time*, so that every device finishes the schedule; so no two such runs are bit-identical.
"""

import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import network
import numpy as np
from agreement import images as waves
from stage import LeftOutError, Setting

from gen_jax import sharding
from gen_jax.density import functional

NEARLY = 0.9
DEFAULT = {"resnets": 2, "precision": "bfloat16", "batch": 64}  # if nothing was measured
PEAK, WARMUP = 1e-3, 100
VALIDATION, EVALUATION_BATCH = 5000, 250
SAYS = 20  # rows of the loss curve
AHEAD = 2  # steps that may wait in the device's queue
LEAST = 15.0  # shortest training in seconds that is worth starting
CHECK_STEPS = 6


def run(case: str, setting: Setting) -> dict[str, Any]:
    """The loss curve in bits/dim (training, with dropout) and exact validation bits/dim of the averaged weights."""
    del case
    config, (train, held_out, data) = best(setting), split(setting)
    net = network.model(config["resnets"], config["precision"], setting.check)
    program = network.program(net, config["batch"], config["precision"])
    evaluate = evaluation(config["resnets"], setting.check, program.mesh)
    with ThreadPoolExecutor() as pool:  # the compiler uses more than one processor
        compiled = pool.submit(evaluate, network.some_state(program).ema, held_out[:1])
        state = network.created(net, train[: config["batch"]], program)
        compiled.result()
    begin = time.time()
    evaluate(state.ema, held_out[:EVALUATION_BATCH])
    calls = math.ceil(len(held_out) / EVALUATION_BATCH)
    reserve = 1.2 * calls * (time.time() - begin) + 2
    if setting.left - reserve < LEAST:
        raise LeftOutError(f"{setting.left:.0f} s are left, and validation takes {reserve:.0f}")
    state, curve = fit(program, state, train, setting, setting.until - reserve)
    nats = -evaluate(state.ema, held_out)
    bits = nats / (net.event.size * math.log(2))
    return {
        **{name: config[name] for name in DEFAULT},
        "data": data,
        "images": len(train),
        "steps": curve[-1]["step"],
        "epochs": curve[-1]["step"] * config["batch"] / len(train),
        "compile_seconds": program.compile_seconds,
        "training_seconds": curve[-1]["training_seconds"],
        "curve": [
            [point[name] for name in ("step", "training_seconds", "loss")] for point in curve
        ],
        "validation_images": len(held_out),
        "validation_bits_per_dim": float(np.mean(bits)),
        "validation_stderr": float(np.std(bits, ddof=1) / np.sqrt(len(bits))),
    }


def best(setting: Setting) -> dict[str, Any]:
    """The best configuration (see the top of this file) of this run, or else of an earlier run on this device."""
    for rows in (setting.rows, setting.earlier):
        rows = [row for row in rows if row["stage"] == "throughput" and "images_per_second" in row]
        rows = [row for row in rows if row["resnets"] == min(row["resnets"] for row in rows)]
        if rows:
            most = max(row["images_per_second"] for row in rows)
            fast = [row for row in rows if row["images_per_second"] >= NEARLY * most]
            return min(fast, key=lambda row: (row["batch"], -row["images_per_second"]))
    return DEFAULT


def fit(
    program: network.Program, state: Any, train: np.ndarray, setting: Setting, end: float
) -> tuple[Any, list[dict[str, Any]]]:
    """Train until `end`; rows report the loss curve as it grows."""
    rng, batch = np.random.default_rng(0), program.batch
    begin, losses, curve, waiting = time.time(), [], [], np.zeros(0, int)
    step = reported = 0
    while True:
        share = min((time.time() - begin) / (end - begin), 1.0)
        over = share == 1.0 or (setting.check and step == CHECK_STEPS)
        if step > reported and (over or share >= (len(curve) + 1) / SAYS):
            loss = float(np.mean([float(value) for value in losses[reported:]]))
            seconds = round(time.time() - begin, 2)
            curve.append({"step": step, "training_seconds": seconds, "loss": loss})
            setting.going_on(curve[-1])
            reported = step
        if over:
            return state, curve
        if len(waiting) < batch:
            waiting = np.concatenate([waiting, rng.permutation(len(train))])
        rows, waiting = waiting[:batch], waiting[batch:]
        rate = PEAK * min((step + 1) / WARMUP, (1 + math.cos(math.pi * share)) / 2)
        state = network.with_rate(state, rate, program.placed)
        state, metrics = program.step(state, network.put(train[rows], program.mesh))
        losses.append(metrics["bits_per_dim"][0])
        step += 1
        if step > AHEAD:
            jax.block_until_ready(losses[step - 1 - AHEAD])


def evaluation(resnets: int, check: bool, mesh: jax.sharding.Mesh) -> Callable:
    """A function that computes log p(x) in nats for any number of images, in float32 at highest precision."""
    net = network.model(resnets, "float32", check)
    log_prob = jax.jit(functional(net).log_prob)

    def evaluate(params: Any, x: np.ndarray) -> np.ndarray:
        parts = []
        for first in range(0, len(x), EVALUATION_BATCH):
            rows = x[first : first + EVALUATION_BATCH].astype(np.int32)
            filled = rows[np.arange(EVALUATION_BATCH) % len(rows)]  # one shape, one program
            with network.precise("float32"):
                nats = log_prob({"params": params}, sharding.put_rows(filled, mesh))
            parts.append(np.asarray(nats, np.float64)[: len(rows)])
        return np.concatenate(parts)

    return evaluate


def split(setting: Setting) -> tuple[np.ndarray, np.ndarray, str]:
    """Training and validation images, and their description; a check without data uses random waves."""
    event = network.model(2, "float32", setting.check).event
    if setting.data:
        x, source = read(setting.data), f"CIFAR-10: {len(setting.data)} file(s)"
        x = x[:, : event.shape[0], : event.shape[1]][: 300 if setting.check else None]
    else:
        x, source = waves(event, 300), "random waves"
    count = min(VALIDATION, len(x) // 5)
    return x[:-count], x[-count:], f"{source}, {len(x)} images, the last {count} for validation"


def read(files: Sequence[str]) -> np.ndarray:
    """The images of all files, concatenated; the docstring of run.py describes the formats."""
    parts = []
    for file in files:
        with np.load(file) as archive:
            if "train_residual" in archive.files:
                p = np.cumsum(archive["train_residual"], axis=2, dtype=np.uint8)
                p = np.cumsum(p, axis=3, dtype=np.uint8)
                parts.append(np.stack([p[0] + p[1], p[1], p[2] + p[1]], axis=-1))
                continue
            arrays = (archive[name] for name in archive.files)
            fitting = [x for x in arrays if x.dtype == np.uint8 and x.shape[1:] == (32, 32, 3)]
            if not fitting:
                raise ValueError(f"{file} has no uint8 images (n, 32, 32, 3)")
            parts.append(fitting[0])
    return np.concatenate(parts)
