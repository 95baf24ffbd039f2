"""Samples per second of PixelCNN++, in one process per choice of XLA flags; float32 with TF32 products."""

import time
from typing import Any

import jax
import network
from stage import LeftOutError, Setting, drawn, seconds_a_call

from gen_jax.density import functional
from gen_jax.models.autoregressive.base import ancestral

GROWS = 1.1


def run(case: str, setting: Setting) -> dict[str, Any]:
    """images_per_second at this batch size, unless it hardly grew between the two largest smaller ones."""
    batch = int(case.removeprefix("batch "))
    before = sorted(
        (row["batch"], row["images_per_second"])
        for row in setting.rows
        if (row["stage"], row["variant"]) == ("drawing", setting.variant)
        and row.get("images_per_second")
    )
    if len(before) > 1 and batch > before[-1][0] and before[-1][1] < GROWS * before[-2][1]:
        raise LeftOutError("images per second no longer grow")
    net = network.model(2, "tensorfloat32", setting.check)
    x = jax.ShapeDtypeStruct((2, *net.event.shape), "int32")
    shapes = jax.eval_shape(functional(net).init, jax.random.key(0), x)
    variables = jax.device_put(drawn(shapes))
    with network.precise("tensorfloat32"):
        draw = jax.jit(lambda variables, key: ancestral(net, variables, key, batch))
        lowered = draw.lower(variables, jax.random.key(0))
    begin = time.perf_counter()
    compiled = lowered.compile()
    compile_seconds = time.perf_counter() - begin
    seconds = seconds_a_call(lambda: compiled(variables, jax.random.key(1)), 0.0)
    return {
        "batch": batch,
        "sites": net.num_sites,
        "sample_seconds": seconds,
        "site_seconds": seconds / net.num_sites,
        "images_per_second": batch / seconds,
        "compile_seconds": compile_seconds,
    }
