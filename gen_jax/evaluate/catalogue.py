"""What there is: systems (files of `models/`), configs (files of `experiments/configs/`) and measured results.

Read from docstrings and JSON files without importing jax. A config's docstring has a line `Published: ...`.
"""

import ast
import json
import math
from pathlib import Path
from typing import Any

SOURCE = Path(__file__).resolve().parents[2]
MODELS = SOURCE / "gen_jax" / "models"
CONFIGS = SOURCE / "experiments" / "configs"
RESULTS = SOURCE / "experiments" / "results"
SIGN = {"exact": "", "bound": "<= ", "estimate": "~ "}
FAR = 2.0  # times the bits of the uniform distribution
NO_SYSTEMS = """
    __init__ base chain_bound change_of_variables counts evidence kl_term pixelwise recurrent schedules staged
""".split()  # noqa: SIM905  a list to read


def systems() -> list[dict[str, str]]:
    """Id, family and first docstring line of every system."""
    files = sorted(path for path in MODELS.rglob("*.py") if path.stem not in NO_SYSTEMS)
    return [
        {"system": path.stem, "family": path.parent.name, "is": docstring(path)[0]}
        for path in files
    ]


def configs() -> list[dict[str, Any]]:
    """Every config with its published number and the measured one: of its result file, else of the zoo."""
    rows, zoo = [], _zoo()
    for path in sorted(CONFIGS.glob("*.py")):
        published = [
            line.partition(":")[2].strip()
            for line in docstring(path)
            if line.startswith("Published:")
        ]
        result = RESULTS / f"{path.stem}.json"
        measured = zoo.get(path.stem)
        if result.exists():
            measured = summary(json.loads(result.read_text()))
        rows.append(
            {
                "config": str(path.relative_to(SOURCE)),
                "is": docstring(path)[0],
                "published": published[0] if published else None,
                "measured": measured,
            }
        )
    return rows


def _zoo() -> dict[str, str]:
    """By config, what `make zoo` measured of it: a mean over seeds, whose deviation follows the ±."""
    measured = {}
    for path in sorted(RESULTS.glob("zoo_*.json")):
        found = json.loads(path.read_text())
        where = f"{found['num_examples']} examples of {found['zoo']} test"
        seeds = f"mean of {len(found['seeds'])} seeds of the zoo"
        for row in found["rows"]:
            said = distances({"dataset": found["zoo"], "split": "test", **row})
            if row["mean"] is not None:
                mean = (
                    f"{SIGN[row['value']]}{row['mean']:.4f} ± {row['seed_deviation']:.4f} bits/dim"
                )
                said = f"{mean}, {row['value']}, {seeds}, {where}"
            measured[f"{row['system']}_{found['zoo']}"] = said
    return measured


def summary(result: dict[str, Any]) -> str:
    """One result in one phrase, with its sign; its distances where it has no likelihood."""
    if result["nats"] is None:
        return distances(result)
    value, nats, bits, stderr = (result[n] for n in ("value", "nats", "bits_per_dim", "stderr"))
    number = figure(value, nats, bits, stderr, result.get("unit", "bits/dim"))
    where = f"{result['num_examples']} examples of {result['dataset']} {result['split']}"
    return f"{number}, {result['value']}, {where}"


def figure(
    value: str, nats: float, bits_per_dim: float | None, stderr: float | None, unit: str
) -> str:
    """A number with its sign and standard error, which one example has none of, in its unit: nats where no bits."""
    sign, known = SIGN[value], stderr is not None and not math.isnan(stderr)
    error = f"± {stderr:.4f}" if known else "(standard error not known)"
    if bits_per_dim is None:
        return f"{sign}{nats:.4f} {error} {unit}"
    return f"{sign}{bits_per_dim:.4f} {error} {unit} ({sign}{nats:.2f} nats)"


def divergence(bits_per_dim: float | None, levels: int | None, unit: str) -> str | None:
    """A finding where a number is more than twice the uniform distribution's, log2 of the levels; else None."""
    if bits_per_dim is None or levels is None or bits_per_dim <= FAR * math.log2(levels):
        return None
    return (
        f"{bits_per_dim:.4g} {unit} is far worse than a uniform distribution ({math.log2(levels):.2f}): the training"
        " diverged, or has hardly begun"
    )


def distances(result: dict[str, Any]) -> str:
    """Both distances of a result, each beside that of training examples, and on whose features."""
    found = result["distances"]
    frechet, kernel, stderr = (found[name] for name in ("frechet", "kernel", "kernel_stderr"))
    train = found["train"]
    return (
        f"Frechet distance {frechet:.3f} (of training examples {train['frechet']:.3f}), kernel distance {kernel:.4f} ±"
        f" {stderr:.4f} ({train['kernel']:.4f} ± {train['kernel_stderr']:.4f}), on {found['features']} features,"
        f" {found['samples']:,} samples against {found['examples']:,} of {result['dataset']} {result['split']}"
    )


def docstring(path: Path) -> list[str]:
    """Lines of a file's docstring."""
    return (ast.get_docstring(ast.parse(path.read_text())) or path.stem).splitlines()
