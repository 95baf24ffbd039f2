"""Memory of attention by number of positions, with the exponents of power laws."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from gen_jax.bench import record
from gen_jax.bench.growth import fit, fitted
from gen_jax.ops.patterns import Dense, Fixed, Local, Pattern, Strided

HEADS, KEY, VALUE, SUMMARY = 2, 64, 128, 8
LENGTHS = (384, 768, 1536, 3072, 6144)
METHOD = (
    "Value and gradient of a sum over the output of one attention layer, as a function of queries, keys and values:"
    f" one example, {HEADS} heads with {KEY} features for queries and keys and {VALUE} for values, float32, no"
    " projections. There are L positions. The length l of local and fixed attention and the stride of strided"
    f" attention are the multiple of 8 nearest to the root of L; a summary of fixed attention has {SUMMARY} positions."
    " Memory is that of the compiled program, which is not run, besides arguments and results. The exponent b of L^b is"
    " fitted by least squares on logarithms; `miss` is the largest factor by which the fit is off."
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
}


def measure() -> dict[str, Any]:
    """Compile each pattern at each length; one row for each pattern."""
    sizes = [8 * round(length**0.5 / 8) for length in LENGTHS]
    rows = []
    for name, pattern in PATTERNS.items():
        both = zip(LENGTHS, sizes, strict=True)
        memory = [_memory(pattern(size), length) for length, size in both]
        rows.append(
            {
                "pattern": name,
                "lengths": list(LENGTHS),
                "sizes": None if name == "dense" else sizes,
                **fitted("bytes", LENGTHS, memory),
            }
        )
    return record.record("attention", METHOD, rows, timed=False)


def _memory(pattern: Pattern, length: int) -> int | None:
    """Temporary bytes of value and gradient."""
    arrays = [
        jax.ShapeDtypeStruct((1, HEADS, length, size), jnp.float32) for size in (KEY, KEY, VALUE)
    ]

    def total(query: jax.Array, key: jax.Array, value: jax.Array) -> jax.Array:
        return jnp.sum(jnp.sin(pattern.read(query, key, value)))

    program = jax.jit(jax.value_and_grad(total, (0, 1, 2)))
    return record.temporary_bytes(program.lower(*arrays).compile())
