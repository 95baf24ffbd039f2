"""What a train step costs: in forward passes, by jit and by pmap, in memory and operations as the compiler counts."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import PartitionSpec as P

from gen_jax import sharding
from gen_jax.bench import record, systems
from gen_jax.bench.timing import ratios, summary, turns
from gen_jax.density import Functional, functional, root_key
from gen_jax.optimizer import Adam
from gen_jax.runs.state import TrainState, create_state
from gen_jax.train.pmap import pmapped
from gen_jax.train.step import jitted, train_step

METHOD = (
    "One train step (loss with dropout, gradient, Adam, average of the weights) by jit and by pmap on all devices,"
    " beside the loss alone on the same batch. Operations and temporary memory (beside arguments and results) are what"
    " the compiler says of the program on one device; it counts the body of a loop once, so that NADE, the recurrent"
    " cells and, on a CPU, the weight gradients of convolutions do many times more."
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
    """One row a model; InputError where the devices do not divide the batch."""
    rows = [_row(name, model, batch) for name, model in systems.MODELS.items()]
    return record.record("training", METHOD, rows)


class Training(NamedTuple):
    """Programs of one model: `step`(state, batches) donates a state, `create`() makes one; `loss`(state, batch)."""

    create: Callable[[], TrainState]
    step: Callable[..., Any]
    placed: TrainState
    batch: Any
    batches: Any
    loss: Callable[..., Any]
    mesh: jax.sharding.Mesh


def training(model: Any, batch: int) -> Training:
    """The programs of the train loop for a model on noise, one step a call."""
    return training_of(functional(model), np.asarray(systems.drawn(model, batch)))


def training_of(pure: Functional, x: Any) -> Training:
    """The same for a loss on a given batch, an array or a tree of arrays."""
    key, mesh = root_key(0), sharding.data_mesh(len(jax.tree.leaves(x)[0]))
    optimizer = Adam().build()
    rows = {"x": x, "cond": None}
    first = sharding.put(rows, mesh, P("data"))
    create = functools.partial(create_state, pure, optimizer, key)
    placed = sharding.state_sharding(jax.eval_shape(create, first), mesh)
    created = jax.jit(create, out_shardings=placed)

    def loss(state: TrainState, batch: Any) -> jax.Array:
        variables = {"params": state.params, **state.collections}
        return pure.loss(variables, batch["x"], key)[0]

    return Training(
        create=lambda: created(first),
        step=functools.partial(train_step, model=pure, optimizer=optimizer, key=key, ema=0.9995),
        placed=placed,
        batch=first,
        batches=sharding.put(jax.tree.map(lambda x: x[None], rows), mesh, P(None, "data")),
        loss=loss,
        mesh=mesh,
    )


def _row(name: str, model: Any, batch: int) -> record.Row:
    of = training(model, batch)
    state = of.create()
    forward = jax.jit(of.loss).lower(state, of.batch).compile()
    by_jit = jitted(of.step, of.mesh, of.placed).lower(state, of.batches).compile()
    by_pmap = pmapped(of.step, of.mesh, of.placed)
    found = turns(
        {
            "forward": lambda: forward(state, of.batch),
            "step": repeated(by_jit, of),
            "pmap": repeated(by_pmap, of),
        }
    )
    return {
        "system": name,
        "batch": batch,
        "parameters": systems.size(state.params),
        **summary("images_per_second", [batch / t for t in found["step"]]),
        **summary("forward_seconds", found["forward"]),
        **summary("step_seconds", found["step"]),
        **summary("pmap_seconds", found["pmap"]),
        **summary("step_forwards", ratios(found["step"], found["forward"])),
        **summary("pmap_jit", ratios(found["pmap"], found["step"])),
        "forward_flops": flops(forward),
        "step_flops": flops(by_jit),
        "forward_bytes": record.temporary_bytes(forward),
        "step_bytes": record.temporary_bytes(by_jit),
    }


def repeated(step: Callable[..., Any], of: Training) -> Callable[[], Any]:
    """One step after the other on the same batch, each from the state before."""
    state = of.create()

    def run() -> Any:
        nonlocal state
        state, metrics = step(state, of.batches)
        return state, metrics

    return run


def flops(compiled: jax.stages.Compiled) -> float | None:
    """Floating-point operations, where the compiler counts them."""
    return (compiled.cost_analysis() or {}).get("flops")
