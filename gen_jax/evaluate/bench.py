"""Timings as ratios within one run: what a sample costs in parallel forward passes of the same batch.

Method: every program is compiled and run once before it is timed; a row gives the median of the repeats, each waited
for to the end. The naive loop (one full pass a site) is timed once, it is the longest by far.
"""

import statistics
import time
from collections.abc import Callable
from typing import Any

import jax

from gen_jax import sampling
from gen_jax.density import functional
from gen_jax.evaluate.results import cpu_name
from gen_jax.models.autoregressive.gated_pixel_cnn import GatedPixelCNN
from gen_jax.typing import image

REPEATS = 5
MODELS = {
    "gated_pixel_cnn 28x28 grey, 2 levels": GatedPixelCNN(
        image(28, 28, 1, 2), depth=5, features=64
    ),
    "gated_pixel_cnn 28x28 grey, 256 levels": GatedPixelCNN(
        image(28, 28, 1, 256), depth=5, features=64
    ),
}


def sampling_costs(batch: int, naive: bool = True) -> dict[str, Any]:
    """One row a model: forward, sampling and naive sampling, seconds for the whole batch."""
    rows = [_row(name, model, batch, naive) for name, model in MODELS.items()]
    return {
        "bench": "sampling",
        "device": jax.devices()[0].device_kind,
        "cpu": cpu_name(),
        "rows": rows,
    }


def _row(name: str, model: Any, batch: int, naive: bool) -> dict[str, Any]:
    pure, key = functional(model), jax.random.key(0)
    x = jax.random.randint(key, (batch, *model.event.shape), 0, model.event.levels)
    variables = pure.init(key, x)
    forward = seconds(jax.jit(model.apply), variables, x)
    sample = seconds(jax.jit(lambda v, k: sampling.ancestral(model, v, k, batch)), variables, key)
    loop = None
    if naive:
        slow = (
            jax.jit(lambda v, k: sampling.naive(model, v, k, batch)).lower(variables, key).compile()
        )
        loop = seconds(slow, variables, key, repeats=1, warm_up=False)["median"]
    return {
        "system": name,
        "batch": batch,
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(variables)),
        "forward_passes": round(sample["median"] / forward["median"], 3),
        "forward_seconds": forward["median"],
        "forward_range": [forward["min"], forward["max"]],
        "sample_seconds": sample["median"],
        "sample_range": [sample["min"], sample["max"]],
        "naive_seconds": loop,
        "naive_factor": None if loop is None else round(loop / sample["median"], 1),
    }


def seconds(
    program: Callable, *args: Any, repeats: int = REPEATS, warm_up: bool = True
) -> dict[str, float]:
    """Minimum, median and maximum wall time of a call."""
    if warm_up:
        jax.block_until_ready(program(*args))
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        jax.block_until_ready(program(*args))
        times.append(time.perf_counter() - begin)
    return {"min": min(times), "median": statistics.median(times), "max": max(times)}


def table(bench: dict[str, Any]) -> str:
    """The rows as text."""
    lines = [
        f"sampling cost on {bench['device']} ({bench['cpu']}), batch {bench['rows'][0]['batch']}"
    ]
    for row in bench["rows"]:
        line = f"{row['system']}: {row['forward_passes']:.2f} forward passes"
        line += f" ({row['sample_seconds']:.3f} s, a forward pass {row['forward_seconds']:.3f} s"
        if row["naive_seconds"] is not None:
            line += f"; naive loop {row['naive_seconds']:.1f} s, {row['naive_factor']:.0f} times as long"
        lines.append(line + ")")
    return "\n".join(lines)
