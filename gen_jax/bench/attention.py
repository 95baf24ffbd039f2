"""Memory and time of attention by number of positions, with the exponents of power laws."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gen_jax.bench import record
from gen_jax.bench.scaling import fit, fitted
from gen_jax.bench.timing import rounded, turns
from gen_jax.density import root_key
from gen_jax.ops.patterns import Dense, Fixed, Local, Pattern, Strided

HEADS, KEY, VALUE, SUMMARY = 2, 64, 128, 8
LENGTHS = (384, 768, 1536, 3072, 6144)
METHOD = (
    "Value and gradient of a sum over the output of one attention layer, as a function of queries, keys and values:"
    f" one example, {HEADS} heads with {KEY} features for queries and keys and {VALUE} for values, float32, no"
    " projections. There are L positions. The length l of local and fixed attention and the stride of strided"
    f" attention are the multiple of 8 nearest to the root of L; a summary of fixed attention has {SUMMARY} positions."
    " Memory is that of the compiled program besides arguments and results. The exponent b of L^b is fitted by least"
    " squares on logarithms; `miss` is the largest factor by which the fit is off."
)
PATTERNS: dict[str, Callable[[int], Pattern]] = {
    "dense": lambda size: Dense(),
    "local": Local,
    "strided": Strided,
    "fixed": lambda size: Fixed(size, min(SUMMARY, size)),
}
COLUMNS: record.Columns = {
    "attention": lambda row: row["pattern"],
    "L": lambda row: ", ".join(f"{length:,}" for length in row["lengths"]),
    "l": lambda row: ", ".join(map(str, row["sizes"])) if row["sizes"] else "-",
    "memory": lambda row: ", ".join(map(record.megabytes, row["bytes"])),
    "exponent of memory": lambda row: fit(row, "bytes"),
    "time": lambda row: ", ".join(f"{1e3 * t:.3g}" for t in row["seconds"]) + " ms",
    "exponent": lambda row: fit(row, "seconds"),
}


def measure() -> dict[str, Any]:
    """Measure one row for each pattern."""
    sizes = [8 * round(length**0.5 / 8) for length in LENGTHS]
    programs, memory = {}, {}
    for name, pattern in PATTERNS.items():
        for length, size in zip(LENGTHS, sizes, strict=True):
            compiled, arrays = _program(pattern(size), length)
            programs[name, length] = lambda run=compiled, arrays=arrays: run(*arrays)
            memory[name, length] = record.temporary_bytes(compiled)
    times = turns(programs)
    rows = []
    for name in PATTERNS:
        seconds = [rounded(float(np.median(times[name, length]))) for length in LENGTHS]
        rows.append(
            {
                "pattern": name,
                "lengths": list(LENGTHS),
                "sizes": None if name == "dense" else sizes,
                **fitted("bytes", LENGTHS, [memory[name, length] for length in LENGTHS]),
                **fitted("seconds", LENGTHS, seconds),
            }
        )
    return record.record("attention", METHOD, rows)


def _program(pattern: Pattern, length: int) -> tuple[jax.stages.Compiled, list[jax.Array]]:
    """The compiled value and gradient, and its arguments."""
    keys = jax.random.split(root_key(0), 3)
    arrays = [
        jax.random.normal(key, (1, HEADS, length, size))
        for key, size in zip(keys, (KEY, KEY, VALUE), strict=True)
    ]

    def total(query: jax.Array, key: jax.Array, value: jax.Array) -> jax.Array:
        return jnp.sum(jnp.sin(pattern.read(query, key, value)))

    return jax.jit(jax.value_and_grad(total, (0, 1, 2))).lower(*arrays).compile(), arrays
