"""The cost of a train step: in forward passes, with jit and pmap, and in memory and operations."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from gen_jax import sharding
from gen_jax.bench import record, systems
from gen_jax.bench.timing import ratios, summary, turns
from gen_jax.conditions import zeros
from gen_jax.density import Functional, functional, root_key
from gen_jax.optimizer import Adam
from gen_jax.runs.state import TrainState, create_state
from gen_jax.train.pmap import pmapped
from gen_jax.train.step import jitted, train_step

METHOD = (
    "One train step (loss with dropout, gradient, Adam, average of the weights) with jit and with pmap on all devices,"
    " compared with the loss alone on the same batch. Operations and temporary memory (besides arguments and results)"
    " are the compiler's numbers for the program on one device. It counts the body of a loop once, so NADE, the"
    " recurrent cells and, on a CPU, the weight gradients of convolutions really do many times more."
)
COLUMNS: record.Columns = {
    "system": lambda row: row["system"],
    "batch": lambda row: str(row["batch"]),
    "images": lambda row: f"{row['images_per_second']:.1f}/s",
    "train step": lambda row: f"{row['step_seconds']:.3f} s",
    "in forward passes": lambda row: f"{row['step_forwards']:.2f}",
    "pmap / jit": lambda row: f"{row['pmap_jit']:.2f}",
    "operations, step / forward": lambda row: (
        f"{row['step_flops'] / 1e9:,.1f} / {row['forward_flops'] / 1e9:,.1f} GFLOP"
        if row["step_flops"] and row["forward_flops"]
        else "-"
    ),
    "memory, step / forward": lambda row: (
        f"{record.megabytes(row['step_bytes'])} / {record.megabytes(row['forward_bytes'])}"
    ),
    "parameters": lambda row: f"{row['parameters']:,}",
}


def measure(batch: int) -> dict[str, Any]:
    """One row per model; InputError if the devices do not divide the batch."""
    rows = [_row(name, model, batch) for name, model in systems.MODELS.items()]
    return record.record("training", METHOD, rows)


class Training(NamedTuple):
    """The programs of a model: `create`() makes a state, `step`(state, batches) donates it, `loss`(state, batch)."""

    create: Callable[[], TrainState]
    step: Callable[..., Any]
    placed: TrainState
    batch: Any
    batches: Any
    loss: Callable[..., Any]
    mesh: jax.sharding.Mesh


def training(model: Any, batch: int) -> Training:
    """The programs of the train loop for a model on noise, with one step per call."""
    x = np.asarray(systems.drawn(model, batch))
    return training_of(functional(model), x, zeros(model, batch))


def training_of(pure: Functional, x: Any, cond: Any = None) -> Training:
    """The same for a loss on a batch x, an array or a tree of arrays, under a condition."""
    key, mesh = root_key(0), sharding.device_mesh(len(jax.tree.leaves(x)[0]))
    optimizer = Adam().build()
    rows = {"x": x, "cond": cond}
    first = sharding.put(rows, mesh, sharding.ROWS)
    create = functools.partial(create_state, pure, optimizer, key)
    placed = sharding.state_sharding(jax.eval_shape(create, first), mesh)
    created = jax.jit(create, out_shardings=placed)

    def loss(state: TrainState, batch: Any) -> jax.Array:
        variables = {"params": state.params, **state.collections}
        return pure.loss(variables, batch["x"], key, batch["cond"])[0]

    return Training(
        create=lambda: created(first),
        step=functools.partial(train_step, model=pure, optimizer=optimizer, key=key, ema=0.9995),
        placed=placed,
        batch=first,
        batches=sharding.put(jax.tree.map(lambda x: x[None], rows), mesh, sharding.STEPS),
        loss=loss,
        mesh=mesh,
    )


def _row(name: str, model: Any, batch: int) -> record.Row:
    setup = training(model, batch)
    state = setup.create()
    forward = jax.jit(setup.loss).lower(state, setup.batch).compile()
    by_jit = jitted(setup.step, setup.mesh, setup.placed).lower(state, setup.batches).compile()
    by_pmap = pmapped(setup.step, setup.mesh, setup.placed)
    times = turns(
        {
            "forward": lambda: forward(state, setup.batch),
            "step": repeated(by_jit, setup),
            "pmap": repeated(by_pmap, setup),
        }
    )
    return {
        "system": name,
        "batch": batch,
        "parameters": systems.size(state.params),
        **summary("images_per_second", [batch / t for t in times["step"]]),
        **summary("forward_seconds", times["forward"]),
        **summary("step_seconds", times["step"]),
        **summary("pmap_seconds", times["pmap"]),
        **summary("step_forwards", ratios(times["step"], times["forward"])),
        **summary("pmap_jit", ratios(times["pmap"], times["step"])),
        "forward_flops": flops(forward),
        "step_flops": flops(by_jit),
        "forward_bytes": record.temporary_bytes(forward),
        "step_bytes": record.temporary_bytes(by_jit),
    }


def repeated(step: Callable[..., Any], setup: Training) -> Callable[[], Any]:
    """A function that takes one step after another on the same batch, each from the previous state."""
    state = setup.create()

    def run() -> Any:
        nonlocal state
        state, metrics = step(state, setup.batches)
        return state, metrics

    return run


def flops(compiled: jax.stages.Compiled) -> float | None:
    """The number of floating-point operations by the compiler's count, or None."""
    return (compiled.cost_analysis() or {}).get("flops")
