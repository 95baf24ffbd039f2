"""The tables of `faults.py`, `compile.py`, `scaling.py` and `../streaming/run.py` for RESULTS.md."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gen_jax.bench.record import table
from gen_jax.bench.scaling import COLUMNS

ENDS = {0: "finished", 143: "stopped", -6: "aborted", -9: "killed"}


def text(path: Path, hardware: Callable[[dict[str, Any]], str]) -> str:
    """Faults of two processes, rates of data on disk, compilations, large models; nothing of what has no file."""
    del hardware  # counts and memory are those of any machine
    compiled = compiling(path.with_name("compile.json"))
    split = large(path.with_name("scaling.json"))
    return faults(path) + streaming(path.with_name("streaming.json")) + compiled + split


def faults(path: Path) -> str:
    """One row per kind of fault."""
    if not path.exists():
        return ""
    record = json.loads(path.read_text())
    rows, kinds = record["rows"], dict.fromkeys(row["fault"] for row in record["rows"])
    good = sum(not row["problems"] for row in rows)
    head = [
        "fault",
        "number",
        "how the processes ended",
        "steps lost",
        "seconds to the end",
        "then equal",
    ]
    lines = [
        f"Faults of a run in two processes (`python experiments/cluster/faults.py`): {len(rows)}, by a seed, each of a"
        f" tiny run of {record['steps']} steps with a checkpoint every {record['every']}. {good} were survived: no"
        f" process hung longer than the heartbeat of {record['heartbeat']} s allows, every error was one sentence, and"
        " the same command then finished with the parameters of an undisturbed run, bit for bit (`then equal`).",
        "",
        "| " + " | ".join(head) + " |",
        "|" + " --- |" * len(head),
    ]
    for kind in kinds:
        of = [row for row in rows if row["fault"] == kind]
        lost, seconds = ([row[name] for row in of] for name in ("steps_lost", "seconds_to_end"))
        cells = [
            kind,
            str(len(of)),
            ends(of),
            f"{min(lost)} to {max(lost)}",
            f"{max(seconds):.0f} at most",
            f"{sum(row['equal'] for row in of)}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", ""])


def ends(rows: list[dict[str, Any]]) -> str:
    """How often each pair of processes ended in which way."""
    named = Counter(
        ", ".join(ENDS.get(status, f"status {status}") for status in row["statuses"])
        for row in rows
    )
    return "; ".join(f"{count} x {how}" for how, count in named.most_common())


def large(path: Path) -> str:
    """Shares of the state on eight devices, and the train steps compiled for a TPU."""
    if not path.exists():
        return ""
    found = json.loads(path.read_text())
    states = ", ".join(
        f"{row['state_share']:.3f} of {row['state_bytes'] / 2**20:,.0f} MiB ({row['name']},"
        f" {row['parameters']:,} parameters)"
        for row in found["states"]
    )
    [devices] = {row["devices"] for row in found["states"]}
    return (
        f"Large models (`python experiments/cluster/scaling.py`): with `--fsdp {devices}` each of {devices} devices"
        f" holds {states} of weights, averages and moments. Train steps for a TPU {found['topology']} of 16 GiB a chip"
        " (`gen-jax bench scaling --topology`), where libtpu compiles them but nothing is run:\n\n"
        f"{table(COLUMNS, found['rows'])}\n\n{found['method']}\n\n"
    )


def streaming(path: Path) -> str:
    """The figures of a data set that is larger than memory."""
    if not path.exists():
        return ""
    record = json.loads(path.read_text())
    rates, training = record["images_read_per_second"], record["training"]
    shape = "x".join(map(str, record["shape"]))
    return (
        f"Data larger than memory (`python experiments/streaming/run.py`): {record['images']:,} pictures of {shape},"
        f" {record['gib_in_memory']:.1f} GiB, as {record['gib_on_disk']:.1f} GiB of records. A training with batches of"
        f" 256 and its evaluation took at most {training['peak_memory_gib']:.2f} GiB of memory. One thread reads"
        f" {rates['one_thread_a_cpu_second']:,} pictures per second of a core; on a core shared with other runs"
        f" {rates['one_thread']:,} a second were read, and {training['images_per_second']:,} trained on by a table of"
        " independent values.\n\n"
    )


def compiling(path: Path) -> str:
    """One row per program: seconds of a core to compile it, and its memory."""
    if not path.exists():
        return ""
    record = json.loads(path.read_text())
    head = ["config", "parameters", "blocks", "seconds", "temporaries", "arguments"]
    lines = [
        f"Train steps compiled for {record['devices']} simulated CPU devices (`python experiments/cluster/compile.py`),"
        " at the batch of the config: seconds of one core to trace and compile, and memory of the program on a device.",
        "",
        "| " + " | ".join(head) + " |",
        "|" + " --- |" * len(head),
    ]
    for row in record["rows"]:
        cells = [
            row["config"],
            f"{row['parameters']:,}",
            row["form"],
            f"{row['trace_cpu_seconds'] + row['compile_cpu_seconds']:.0f}",
            f"{row['temporary_bytes_a_device'] / 1e9:.2f} GB",
            f"{row['argument_bytes_a_device'] / 1e9:.2f} GB",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", ""])
