"""The train step of PixelCNN++ by depth, precision and batch size, and one layer in two forms."""

import re
from typing import Any

import jax
import jax.numpy as jnp
import network
import numpy as np
from jaxtyping import Array
from stage import LeftOutError, Setting, seconds_a_call

from gen_jax.bench.record import temporary_bytes
from gen_jax.ops.shifted_conv import shifted_conv

STAGE = "throughput"
TOO_LONG = 60.0  # seconds of compilation after which the deeper network is skipped
SPARE = 6.0


def run(case: str, setting: Setting) -> dict[str, Any]:
    """images_per_second and fractions of the ceilings (of the same precision and of bfloat16), or a layer's times."""
    if case == "one layer":
        return layer(setting)
    resnets, precision, batch = parsed(case)
    worth(resnets, setting)
    net = network.model(resnets, precision, setting.check)
    program = network.program(net, batch, precision)
    state = network.some_state(program)
    rng = np.random.default_rng(0)
    batches = network.put(rng.integers(256, size=(batch, *net.event.shape)), program.mesh)

    def call():
        nonlocal state
        state, metrics = program.step(state, batches)
        return metrics

    seconds = seconds_a_call(call, 0.1 if setting.check else 2.0)
    stats = jax.devices()[0].memory_stats() or {}
    return {
        "resnets": resnets,
        "precision": precision,
        "batch": batch,
        "step_seconds": seconds,
        "images_per_second": batch / seconds,
        "compile_seconds": program.compile_seconds,
        "flops": program.flops,
        **shares(program.flops, seconds, precision, setting),
        "temporary_bytes": temporary_bytes(program.step),
        "peak_bytes": stats.get("peak_bytes_in_use"),
        "parameters": sum(int(np.prod(p.shape)) for p in jax.tree.leaves(program.shapes.params)),
    }


def parsed(case: str) -> tuple[int, str, int]:
    """Depth, precision and batch size of a case."""
    match = re.fullmatch(r"resnets (\d+), (\w+), batch (\d+)", case)
    if not match:
        raise ValueError(f"no such case: {case}")
    return int(match[1]), match[2], int(match[3])


def measured(setting: Setting) -> list[dict[str, Any]]:
    """Rows of this stage that have a time."""
    return [row for row in setting.rows if row["stage"] == STAGE and row.get("images_per_second")]


def worth(resnets: int, setting: Setting) -> None:
    """LeftOutError if a program of this depth takes too long to compile, or longer than the time left."""
    took = {row["resnets"]: row["compile_seconds"] for row in measured(setting)}
    before = [took[n] for n in took if n < resnets]
    if resnets > 2 and (not before or max(before) > TOO_LONG):
        raise LeftOutError(f"the shallower network did not compile within {TOO_LONG:.0f} s")
    expected = took.get(resnets, max(before, default=0.0) * resnets / 2)
    if setting.left < expected + SPARE:
        raise LeftOutError(f"{setting.left:.0f} s are left, compiling takes about {expected:.0f}")


def shares(flops: float | None, seconds: float, precision: str, setting: Setting) -> dict[str, Any]:
    """Operations per second and device, relative to those of the matrix products."""
    ceilings = {
        "share_of_ceiling": setting.row("ceilings", f"{precision} product"),
        "share_of_bfloat16": setting.row("ceilings", "bfloat16 product"),
    }
    if not flops:
        return dict.fromkeys(ceilings)
    rate = flops / seconds / jax.device_count()
    return {
        name: rate / row["flops_per_second"] if row.get("flops_per_second") else None
        for name, row in ceilings.items()
    }


def layer(setting: Setting) -> dict[str, Any]:
    """A 2x3 convolution of the stream of rows above, with gradients: as a convolution, and as six shifted products."""
    batch, side, features = (2, 8, 8) if setting.check else (64, 32, 320)
    fields: dict[str, Any] = {"batch": batch, "side": side, "features": features}
    flops = 2 * 6 * features**2 * batch * side**2
    for precision in ("bfloat16", "tensorfloat32"):
        dtype = jnp.bfloat16 if precision == "bfloat16" else jnp.float32
        keys = jax.random.split(jax.random.key(0), 3)
        x, y = (jax.random.normal(k, (batch, side, side, features), dtype) for k in keys[:2])
        kernel = jax.random.normal(keys[2], (2, 3, features, features), dtype)
        for form in (convolution, products):
            with network.precise(precision):
                forward = jax.jit(form).lower(x, kernel).compile()
                backward = jax.jit(lambda x, k, y, f=form: jax.vjp(f, x, k)[1](y))
                backward = backward.lower(x, kernel, y).compile()
            name = f"{form.__name__}_{precision}"
            times = (
                seconds_a_call(lambda run=forward, args=(x, kernel): run(*args), 0.5),
                seconds_a_call(lambda run=backward, args=(x, kernel, y): run(*args), 0.5),
            )
            fields[f"{name}_seconds"], fields[f"{name}_gradient_seconds"] = times
            fields[f"{name}_flops_per_second"] = flops / times[0]
    return fields


def convolution(x: Array, kernel: Array) -> Array:
    """The convolution as in the models."""
    return shifted_conv(x, kernel, 1)


def products(x: Array, kernel: Array) -> Array:
    """One matrix product per kernel tap."""
    height, width = x.shape[1:3]
    padded = jnp.pad(x, ((0, 0), (1, 0), (1, 1), (0, 0)))
    taps = (
        padded[:, i : i + height, j : j + width] @ kernel[i, j] for i in range(2) for j in range(3)
    )
    return sum(taps, start=jnp.zeros((), x.dtype))
