"""The lists of `gen-jax list`: systems (classes in `models/` with an id), configs and results (`gen_jax/included.py`).

They are read from source text and JSON files without importing jax. A config's docstring has a line `Published: ...`.
"""

import ast
import json
from typing import Any

from gen_jax.included import PACKAGE, RESULTS, config_paths, docstring, variants
from gen_jax.runs.summary import SIGN, distances, kind_of, summary
from gen_jax.runs.trained import TRAINED, names

MODELS = PACKAGE / "models"
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
            if isinstance(node, ast.ClassDef) and (system := system_id(node)):
                ids.setdefault(system, node)
        lines = docstring(path)
        for system, node in ids.items():
            line = lines[0] if len(ids) == 1 else (ast.get_docstring(node) or "").partition("\n")[0]
            rows.append({"system": system, "family": path.parent.name, "is": line})
    return rows


def system_id(node: ast.ClassDef) -> str | None:
    """The id that a class declares with `system: ClassVar[str] = "..."`."""
    for line in node.body:
        match line:
            case ast.AnnAssign(target=ast.Name(id="system"), value=ast.Constant(value=str(system))):
                return system
    return None


def configs() -> list[dict[str, Any]]:
    """Every config with its published number, the measured one of its result file or else of the zoo, and the zoo's.

    `config` is its file in the repository, `name` what `gen-jax train` takes.
    """
    rows, zoo = [], _zoo()
    for name, path in config_paths().items():
        source = path.with_name(path.name.partition(":")[0])
        lines = variants(source).get(name) or docstring(source)
        published = [line.partition(":")[2].strip() for line in lines if "Published:" in line]
        result = RESULTS / f"{name}.json"
        rows.append(
            {
                "config": f"experiments/configs/{path.name}",
                "name": name,
                "is": lines[0],
                "published": published[0] if published else None,
                "measured": summary(json.loads(result.read_text()))
                if result.exists()
                else zoo.get(name),
                "zoo": zoo.get(name),
            }
        )
    return rows


def trained() -> list[dict[str, Any]]:
    """Every trained model that comes with the package, by name, with its number and the size of its weights."""
    rows = []
    for name in names():
        result = json.loads((TRAINED / name / "result.json").read_text())
        weights = (TRAINED / name / "weights.npz").stat().st_size
        rows.append(
            {
                "name": name,
                "system": result["system"],
                "measured": summary(result),
                "certified": result["certified"],
                "bytes": weights,
            }
        )
    return rows


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
