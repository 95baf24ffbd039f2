"""Timings as ratios within one run: what a sample costs in parallel forward passes of the same batch.

Method: every program is compiled and run once before it is timed, and waited for to the end. Forward pass and sample
take turns, so that a change of the machine's speed meets both; `forward_passes` is the median of the ratios turn by
turn, the times are medians. The naive loop (one full pass a site) is timed over its first four sites, each of which
costs the same, and its time for all of them is that times their number.
"""

import statistics
import time
from collections.abc import Callable
from typing import Any

import jax

from gen_jax import sampling
from gen_jax.density import functional
from gen_jax.evaluate.machine import cpu_name
from gen_jax.models.autoregressive.gated_pixel_cnn import GatedPixelCNN
from gen_jax.models.autoregressive.made import MADE
from gen_jax.models.autoregressive.nade import NADE
from gen_jax.models.autoregressive.pixel_cnn import PixelCNN
from gen_jax.models.autoregressive.pixel_cnn_pp import PixelCNNPP
from gen_jax.models.autoregressive.pixel_snail import PixelSNAIL
from gen_jax.typing import image

REPEATS = 5
NAIVE_SITES = 4
GREY, COLOUR = image(28, 28), image(32, 32, channels=3)
MODELS = {
    "gated_pixel_cnn 28x28 grey, 2 levels": GatedPixelCNN(image(28, 28, levels=2), depth=5),
    "gated_pixel_cnn 28x28 grey": GatedPixelCNN(GREY, depth=5),
    "gated_pixel_cnn 32x32 colour": GatedPixelCNN(COLOUR, features=66, head_features=66, depth=5),
    "pixel_cnn 28x28 grey": PixelCNN(GREY, features=64, head_features=64, depth=5),
    "pixel_cnn 32x32 colour": PixelCNN(COLOUR, features=66, head_features=66, depth=5),
    "nade 28x28 grey, 2 levels": NADE(image(28, 28, levels=2), order_seed=0),
    "made 28x28 grey, 2 levels": MADE(image(28, 28, levels=2), hidden=(8000,), order_seed=0),
    "pixel_cnn_pp 28x28 grey": PixelCNNPP(GREY, features=64, resnets=2),
    "pixel_cnn_pp 32x32 colour": PixelCNNPP(COLOUR, features=64, resnets=2),
    "pixel_snail 28x28 grey": PixelSNAIL(GREY, features=64, blocks=2),
}  # 64 features, 66 where three channels share them, NADE 500, MADE 8,000; 256 levels where nothing is said


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
    variables = jax.jit(pure.init)(key, x[:2])
    forward = jax.jit(model.apply)
    draw = jax.jit(lambda v, k: sampling.ancestral(model, v, k, batch))
    jax.block_until_ready((forward(variables, x), draw(variables, key)))
    turns = [
        (seconds(forward, variables, x), seconds(draw, variables, key)) for _ in range(REPEATS)
    ]
    forward_times, sample_times = zip(*turns, strict=True)
    sample = statistics.median(sample_times)
    loop = None
    if naive:
        some = jax.jit(lambda v, k: sampling.naive(model, v, k, batch, upto=NAIVE_SITES))
        some = some.lower(variables, key).compile()
        loop = seconds(some, variables, key) * model.num_sites / NAIVE_SITES
    return {
        "system": name,
        "batch": batch,
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(variables)),
        "forward_passes": round(statistics.median(s / f for f, s in turns), 3),
        "forward_passes_range": [
            round(min(s / f for f, s in turns), 3),
            round(max(s / f for f, s in turns), 3),
        ],
        "forward_seconds": statistics.median(forward_times),
        "sample_seconds": sample,
        "naive_seconds": loop,
        "naive_factor": None if loop is None else round(loop / sample, 1),
    }


def seconds(program: Callable, *args: Any) -> float:
    """Wall time of one call, waited for."""
    begin = time.perf_counter()
    jax.block_until_ready(program(*args))
    return time.perf_counter() - begin


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
