"""A config's train step over several devices: memory, what the devices send each other, and predicted efficiency.

The program is compiled, not run: for simulated CPU devices, or for the chips of a TPU that need not be there.
"""

import importlib.util
import os
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
from jax.sharding import NamedSharding

from gen_jax import sharding, target
from gen_jax.bench import chips, record
from gen_jax.bench.collectives import collectives, totals
from gen_jax.bench.operations import operations
from gen_jax.bench.timing import rounded
from gen_jax.density import functional, num_parameters
from gen_jax.errors import InputError, first_line
from gen_jax.experiment import Experiment
from gen_jax.runs.run import batch_shapes, state_shapes
from gen_jax.train.program import step_of
from gen_jax.train.step import jitted

UTILISATION = 0.3  # of a chip's peak rate, in products and convolutions: assumed
METHOD = (
    "The train step of a config (loss, gradient, optimiser, average of the weights), compiled for these devices and not"
    " run. Memory is the compiler's, on each device: arguments (state and batch), temporaries, and the sum of all that"
    " is there at once. Collectives are those of one step, each as often as its loop runs it, with the bytes of whole"
    " arrays; `sent` is what each device sends if its group is a ring. XLA for CPU makes no reduce-scatter, so there"
    " the gradients of split arrays count twice; its temporaries are those of a CPU as well. The prediction takes the"
    f" makers' rates of a chip (gen_jax/bench/chips.py), {UTILISATION:.0%} of the peak in products and convolutions,"
    " all memory read and written once, and nothing sent while anything is computed: efficiency = time of the products"
    " / (the longer of the times of products and memory + time of sending)."
)
COLUMNS: record.Columns = {
    "config": lambda row: row["config"],
    "batch": lambda row: str(row["batch"]),
    "devices": lambda row: f"{row['devices']} {row['platform']}, fsdp {row['fsdp']}",
    "state": lambda row: (
        f"{record.megabytes(row['state_device_bytes'])} ({row['state_share']:.3f})"
    ),
    "arguments": lambda row: record.megabytes(row["argument_bytes"]),
    "temporaries": lambda row: record.megabytes(row["temporary_bytes"]),
    "all": lambda row: (
        f"does not fit {row['chip']}" if row["refused"] else record.megabytes(row["device_bytes"])
    ),
    "collectives": lambda row: _listed(row["collectives"]),
    "sent": lambda row: record.megabytes(row["sent_bytes"]),
    "predicted": lambda row: (
        "-" if row["efficiency"] is None else f"{row['efficiency']:.0%} on {row['chip']}"
    ),
}
# What a row has only if the compiler does not refuse the program.
FOUND = (
    *("argument_bytes", "temporary_bytes", "device_bytes", "fits", "collectives", "sent_bytes"),
    *(
        "flops",
        "compute_seconds",
        "memory_seconds",
        "sending_seconds",
        "efficiency",
        "compile_seconds",
    ),
)
Devices = Sequence[Any]
# libtpu asks no server which TPU this machine has, and does not mind that another process has loaded it.
LIBTPU = {
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_ACCELERATOR_TYPE": "v5litepod-8",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
}


def simulated(counts: Sequence[int]) -> list[Devices]:
    """The first devices of a CPU that JAX presents as several (`runtime.simulate`); InputError if it has fewer."""
    there = jax.devices("cpu")
    if max(counts) > len(there):
        raise InputError(
            f"JAX presents {len(there)} CPU devices, fewer than {max(counts)}; unset XLA_FLAGS"
        )
    return [there[:count] for count in counts]


def chips_of(topology: str) -> Devices:
    """The chips of a TPU such as v5e:2x4, for which libtpu compiles; InputError without libtpu, or if it knows none."""
    from jax.experimental import topologies

    if not importlib.util.find_spec("libtpu"):
        raise InputError(
            "--topology compiles with libtpu, which is not installed; try `pip install libtpu`"
        )
    for name, value in LIBTPU.items():
        os.environ.setdefault(name, value)
    try:
        return topologies.get_topology_desc(topology, platform="tpu").devices
    except Exception as error:
        raise InputError(
            f"libtpu knows no topology {topology!r}, such as v5e:2x4: {first_line(error)}"
        ) from error


def measure(
    experiments: dict[str, Experiment],
    places: Sequence[Devices],
    chip: str,
    fsdp: int = 1,
) -> dict[str, Any]:
    """One row for each config and group of devices, of which `fsdp`, or all if they are fewer, split the state."""
    rows = [
        row_of(name, experiment, devices, chip, min(fsdp, len(devices)))
        for name, experiment in experiments.items()
        for devices in places
    ]
    return record.record("scaling", METHOD, rows, timed=False)


class Step(NamedTuple):
    """A train step over a mesh before it is compiled, and the shapes of its arguments, with their shardings."""

    program: Any
    state: Any
    batch: Any


def step(experiment: Experiment, devices: Devices, fsdp: int) -> Step:
    """The step, one in a call; InputError if the devices do not divide the batch, or `fsdp` not them."""
    rows = experiment.batch_size // experiment.optimizer.accumulate
    mesh = sharding.device_mesh(rows, fsdp, devices)
    model, optimizer = functional(experiment.model), experiment.transformation()
    shapes = state_shapes(experiment, optimizer)
    placed = sharding.state_sharding(shapes, mesh)
    where = NamedSharding(mesh, sharding.STEPS)
    batch = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct((1, *x.shape), x.dtype, sharding=where),
        batch_shapes(experiment),
    )
    program = jitted(step_of(experiment, model, optimizer), mesh, placed)
    return Step(program, sharding.shaped(shapes, placed), batch)


def row_of(name: str, experiment: Experiment, devices: Devices, chip: str, fsdp: int) -> record.Row:
    """Memory, collectives and prediction of a config on these devices."""
    rates, platform = chips.named(chip), devices[0].platform
    with target.compiling_for(platform):
        of = step(experiment, devices, fsdp)
        held = sharding.held(of.state)
        row = {
            "config": name,
            "system": experiment.system,
            "batch": experiment.batch_size,
            "parameters": num_parameters(experiment.model, {"params": of.state.params}),
            "platform": platform,
            "devices": len(devices),
            "fsdp": fsdp,
            "state_bytes": held.total,
            "state_device_bytes": held.device,
            "state_share": rounded(held.device / held.total),
            "chip": chip,
        }
        traced = of.program.trace(of.state, of.batch)
        begin = time.perf_counter()
        try:
            compiled = traced.lower().compile()
        except jax.errors.JaxRuntimeError as error:
            if "RESOURCE_EXHAUSTED" not in str(error):
                raise
            return {**row, **dict.fromkeys(FOUND), "refused": first_line(error)}
        seconds = time.perf_counter() - begin
    memory = compiled.memory_analysis()
    arguments, temporaries = memory.argument_size_in_bytes, memory.temp_size_in_bytes
    fresh = memory.output_size_in_bytes - memory.alias_size_in_bytes
    kinds = totals(collectives(compiled.as_text(), len(devices)))
    sent = sum(kind["sent"] for kind in kinds.values())
    flops = operations(traced.jaxpr.jaxpr) / len(devices)
    times = {
        "compute_seconds": flops / (UTILISATION * rates.peak),
        "memory_seconds": (arguments + memory.output_size_in_bytes + 2 * temporaries)
        / rates.memory_rate,
        "sending_seconds": sent / rates.ring_rate,
    }
    compute, moving, sending = times.values()
    found = {
        "argument_bytes": arguments,
        "temporary_bytes": temporaries,
        "device_bytes": arguments + fresh + temporaries,
        "fits": arguments + fresh + temporaries <= rates.memory,
        "collectives": kinds,
        "sent_bytes": sent,
        "flops": flops,
        **{key: rounded(value) for key, value in times.items()},
        "efficiency": rounded(compute / (max(compute, moving) + sending)),
        "compile_seconds": rounded(seconds),
    }
    return {**row, **found, "refused": None}


def _listed(kinds: dict[str, dict[str, int]] | None) -> str:
    """Number and bytes of each kind of collective."""
    if not kinds:
        return "-" if kinds is None else "none"
    return ", ".join(
        f"{row['count']:,} {kind} {record.megabytes(row['bytes'])}" for kind, row in kinds.items()
    )
