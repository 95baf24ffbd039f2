"""The cost of a sample in parallel forward passes of the same batch, and of the naive loop of one pass per site."""

from collections.abc import Callable
from typing import Any

import jax

from gen_jax.bench import record, systems
from gen_jax.bench.timing import ratios, seconds, summary, turns
from gen_jax.conditions import zeros
from gen_jax.density import Autoregressive, Bijective, Chain, functional, root_key
from gen_jax.models.autoregressive import base

NAIVE_SITES = 4
METHOD = (
    "Forward pass and sample of one batch with the same random weights. The naive loop (one full pass per site) is"
    f" timed once, over its first {NAIVE_SITES} sites; every site costs the same, so its time for all sites is in"
    " proportion. The forward pass of a flow gives z and the log-determinant; a flow has no naive loop here."
)
COLUMNS: record.Columns = {
    "system": lambda row: row["system"],
    "batch": lambda row: str(row["batch"]),
    "forward passes": lambda row: f"{row['forward_passes']:.2f}",
    "sample": lambda row: f"{row['sample_seconds']:.3f} s",
    "forward": lambda row: f"{row['forward_seconds']:.3f} s",
    "naive loop": lambda row: (
        f"{row['naive_seconds']:.0f} s, {row['naive_factor']:.0f} times the sample"
        if row["naive_seconds"]
        else "not measured"
    ),
}


def measure(batch: int, naive: bool = True) -> dict[str, Any]:
    """One row per model: forward pass, sampling and naive sampling, seconds for the whole batch."""
    rows = [_row(name, model, batch, naive) for name, model in systems.MODELS.items()]
    return record.record("sampling", METHOD, rows)


def _row(name: str, model: Any, batch: int, naive: bool) -> record.Row:
    key, x, variables = root_key(0), systems.drawn(model, batch), systems.initial(model)
    forward, draw = map(jax.jit, programs(model, batch))
    times = turns(
        {"forward": lambda: forward(variables, x), "sample": lambda: draw(variables, key)}
    )
    sample = summary("sample_seconds", times["sample"])
    loop = None
    if naive and isinstance(model, Autoregressive):
        cond = zeros(model, batch)
        some = jax.jit(lambda v, k: base.naive(model, v, k, batch, cond, upto=NAIVE_SITES))
        some = some.lower(variables, key).compile()
        loop = seconds(some, variables, key) * model.num_sites / NAIVE_SITES
    return {
        "system": name,
        "batch": batch,
        "parameters": systems.size(variables),
        **summary("forward_passes", ratios(times["sample"], times["forward"])),
        **summary("forward_seconds", times["forward"]),
        **sample,
        "naive_seconds": loop,
        "naive_factor": None if loop is None else round(loop / sample["sample_seconds"], 1),
    }


def programs(model: Any, batch: int) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """The forward pass of (variables, x), for a diffusion the loss at one time, and samples of (variables, key)."""
    cond = zeros(model, batch)
    if isinstance(model, Chain):
        forward = lambda v, x: functional(model).loss(v, x, root_key(0), cond)[0]  # noqa: E731
        return forward, lambda v, k: functional(model).sample(v, k, batch, cond)
    if isinstance(model, Bijective):
        module: Any = model
        forward = lambda v, x: module.apply(v, x.astype(float), cond=cond, method="forward")  # noqa: E731
        return forward, lambda v, k: functional(model).sample(v, k, batch, cond)
    forward = lambda v, x: model.apply(v, x, cond)  # noqa: E731
    return forward, lambda v, k: base.ancestral(model, v, k, batch, cond)
