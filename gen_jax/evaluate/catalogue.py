"""The lists of `gen-jax list`: systems (classes in `models/` with an id), configs (`experiments/configs/`) and results.

They are read from source text and JSON files without importing jax. A config's docstring has a line `Published: ...`.
"""

import ast
import json
import re
from pathlib import Path
from typing import Any

from gen_jax.runs.summary import SIGN, distances, kind_of, summary

SOURCE = Path(__file__).resolve().parents[2]
MODELS = SOURCE / "gen_jax" / "models"
CONFIGS = SOURCE / "experiments" / "configs"
RESULTS = SOURCE / "experiments" / "results"
ID = "system: ClassVar[str]"  # the declaration of a system's id in its class


def systems() -> list[dict[str, str]]:
    """Id, family and first docstring line of every system: the file's line, or the class's if a file has several."""
    rows = []
    for path in sorted(MODELS.rglob("*.py")):
        text = path.read_text()
        if ID not in text:
            continue
        ids: dict[str, ast.ClassDef] = {}
        for node in ast.parse(text).body:
            if isinstance(node, ast.ClassDef) and (system := _system(node)):
                ids.setdefault(system, node)
        lines = docstring(path)
        for system, node in ids.items():
            line = lines[0] if len(ids) == 1 else (ast.get_docstring(node) or "").partition("\n")[0]
            rows.append({"system": system, "family": path.parent.name, "is": line})
    return rows


def _system(node: ast.ClassDef) -> str | None:
    """The id that a class declares with `system: ClassVar[str] = "..."`."""
    for line in node.body:
        match line:
            case ast.AnnAssign(target=ast.Name(id="system"), value=ast.Constant(value=str(system))):
                return system
    return None


def configs() -> list[dict[str, Any]]:
    """Every config with its published number and the measured one, from its result file or else from the zoo."""
    rows, zoo = [], _zoo()
    for path in config_paths():
        name, lines = _described(path)
        published = [line.partition(":")[2].strip() for line in lines if "Published:" in line]
        result = RESULTS / f"{name}.json"
        measured = zoo.get(name)
        if result.exists():
            measured = summary(json.loads(result.read_text()))
        rows.append(
            {
                "config": str(path.relative_to(SOURCE)),
                "name": name,
                "is": lines[0],
                "published": published[0] if published else None,
                "measured": measured,
            }
        )
    return rows


def config_paths() -> list[Path]:
    """Every config as an argument of `train`: FILE.py, or FILE.py:NAME for each line `- NAME: ...` of its docstring."""
    paths = {
        variant or path.stem: path.with_name(f"{path.name}:{variant}") if variant else path
        for path in CONFIGS.glob("*.py")
        for variant in _variants(path) or [""]
    }
    return [paths[name] for name in sorted(paths)]


def _described(config: Path) -> tuple[str, list[str]]:
    """The name of a config and of its result file, and its lines of the docstring."""
    name, colon, variant = config.name.partition(".py:")
    if not colon:
        return config.stem, docstring(config)
    return variant, _variants(config.with_name(f"{name}.py"))[variant]


def _variants(path: Path) -> dict[str, list[str]]:
    """The docstring lines of each experiment, by name, in a file that defines several."""
    variants: dict[str, list[str]] = {}
    for line in docstring(path):
        if named := re.fullmatch(r"- (\w+): (.*)", line):
            variants[named[1]] = [named[2]]
        elif variants:
            [*variants.values()][-1].append(line.strip())
    return variants


def _zoo() -> dict[str, str]:
    """What `make zoo` measured, by config: a mean over seeds ± the deviation between seeds."""
    measured = {}
    for path in sorted(RESULTS.glob("zoo_*.json")):
        zoo = json.loads(path.read_text())
        where = f"{zoo['num_examples']} examples of {zoo['zoo']} test"
        seeds = f"mean of {len(zoo['seeds'])} seeds of the zoo"
        for row in zoo["rows"]:
            phrase = distances({"dataset": zoo["zoo"], "split": "test", **row})
            if row["mean"] is not None:
                mean = (
                    f"{SIGN[row['value']]}{row['mean']:.4f} ± {row['seed_deviation']:.4f} bits/dim"
                )
                phrase = f"{mean}, {kind_of(row)}, {seeds}, {where}"
            measured[f"{row['system']}_{zoo['zoo']}"] = phrase
    return measured


def docstring(path: Path) -> list[str]:
    """The lines of a file's docstring, or its name."""
    return (ast.get_docstring(ast.parse(path.read_text())) or path.stem).splitlines()
