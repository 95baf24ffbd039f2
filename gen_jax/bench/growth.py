"""How time and memory grow with image side, depth and batch: exponents of power laws."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from gen_jax.bench import record
from gen_jax.bench.timing import rounded, turns
from gen_jax.bench.training import repeated, training
from gen_jax.density import root_key
from gen_jax.models.autoregressive.base import ancestral
from gen_jax.models.autoregressive.gated_pixel_cnn import GatedPixelCNN
from gen_jax.models.autoregressive.pixel_cnn_pp import PixelCNNPP
from gen_jax.train.step import jitted
from gen_jax.typing import image

METHOD = (
    "Forward pass, train step and sample of small models (grey, 16 levels, 32 features); side, depth and batch change"
    " one at a time, and all sizes of an axis take turns. `step` is the time of a sample divided by its number of"
    " sites; its memory is that of the whole loop. Memory is that of the compiled program besides arguments and"
    " results. The exponent b of size^b is fitted by least squares on logarithms; `miss` is the largest factor between"
    " fit and measurement. An exponent of 2 in the side is linear in the number of pixels; costs that do not depend on"
    " a size lower its exponent."
)
BASE = {"side": 16, "depth": 2, "batch": 8}
AXES = {"side": (8, 16, 32, 64), "depth": (1, 2, 4), "batch": (4, 8, 16, 32)}
SYSTEMS: dict[str, Callable[[int, int], Any]] = {
    "gated_pixel_cnn": lambda side, depth: GatedPixelCNN(
        image(side, side, levels=16), features=32, head_features=32, depth=depth
    ),
    "pixel_cnn_pp": lambda side, depth: PixelCNNPP(
        image(side, side, levels=16), features=32, resnets=depth
    ),
}
Number = int | float | None  # None if unknown
COLUMNS: record.Columns = {
    "system": lambda row: row["system"],
    "program": lambda row: row["program"],
    "axis": lambda row: f"{row['axis']} {', '.join(map(str, row['sizes']))}",
    "time": lambda row: ", ".join(f"{1e3 * t:.3g}" for t in row["seconds"]) + " ms",
    "exponent": lambda row: fit(row, "seconds"),
    "memory": lambda row: ", ".join(map(record.megabytes, row["bytes"])),
    "exponent of memory": lambda row: fit(row, "bytes"),
}


def measure() -> dict[str, Any]:
    """One row for each system, axis and program."""
    rows = [row for system in SYSTEMS for axis in AXES for row in _rows(system, axis)]
    return record.record("growth", METHOD, rows)


def exponent(sizes: Sequence[int], values: Sequence[Number]) -> tuple[float, float] | None:
    """b of the least-squares line log v = a + b log s, and the largest factor between the line and a value.

    None if a value is unknown.
    """
    known = [value for value in values if value]
    if len(known) < len(sizes):
        return None
    x, y = np.log(sizes), np.log(known)
    line = np.polyfit(x, y, 1)
    return float(line[0]), float(np.exp(np.abs(y - np.polyval(line, x)).max()))


def _rows(system: str, axis: str) -> list[record.Row]:
    programs, memory, sites = {}, {}, {}
    for size in AXES[axis]:
        sizes = {**BASE, axis: size}
        model = SYSTEMS[system](sizes["side"], sizes["depth"])
        sites[size] = model.num_sites
        for program, (run, compiled) in _programs(model, sizes["batch"]).items():
            programs[program, size] = run
            memory[program, size] = record.temporary_bytes(compiled)
    measured = turns(programs)
    rows = []
    for program in ("forward", "train step", "step"):
        times = {size: float(np.median(measured[program, size])) for size in AXES[axis]}
        if program == "step":
            times = {size: seconds / sites[size] for size, seconds in times.items()}
        used = [memory[program, size] for size in AXES[axis]]
        rows.append(
            {
                "system": system,
                "axis": axis,
                "sizes": list(AXES[axis]),
                "fixed": {name: size for name, size in BASE.items() if name != axis},
                "program": program,
                **fitted("seconds", AXES[axis], [rounded(t) for t in times.values()]),
                **fitted("bytes", AXES[axis], used),
            }
        )
    return rows


def _programs(model: Any, batch: int) -> dict[str, tuple[Callable[[], Any], jax.stages.Compiled]]:
    """For each program what runs, and the compiled program in it."""
    setup = training(model, batch)
    state, key = setup.create(), root_key(0)
    variables = {"params": state.params, **state.collections}
    draw = jax.jit(lambda variables: ancestral(model, variables, key, batch))
    forward = jax.jit(setup.loss).lower(state, setup.batch).compile()
    step = jitted(setup.step, setup.mesh, setup.placed).lower(state, setup.batches).compile()
    sample = draw.lower(variables).compile()
    return {
        "forward": (lambda: forward(state, setup.batch), forward),
        "train step": (repeated(step, setup), step),
        "step": (lambda: sample(variables), sample),
    }


def fitted(name: str, sizes: Sequence[int], values: Sequence[Number]) -> dict[str, Any]:
    """The fields of a row: the values at these sizes, the exponent of their growth and the error of the fit."""
    line = exponent(sizes, values)
    power, miss = (None, None) if line is None else map(rounded, line)
    return {name: list(values), f"{name}_exponent": power, f"{name}_miss": miss}


def fit(row: record.Row, name: str) -> str:
    """A cell with the exponent and the miss; a dash if a value is not known."""
    if row[f"{name}_exponent"] is None:
        return "-"
    return f"{row[f'{name}_exponent']:.2f} (miss {row[f'{name}_miss']:.2f})"
