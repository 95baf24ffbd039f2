"""Configs and results that come with the package, found by name, without importing jax.

In a clone `configs` and `results` are links to `experiments/configs` and `experiments/results`; a wheel holds copies.
"""

import ast
import re
from pathlib import Path

from gen_jax.errors import InputError, near

PACKAGE = Path(__file__).resolve().parent
SOURCE = PACKAGE.parent  # the clone, if the package is not installed
CONFIGS, RESULTS = PACKAGE / "configs", PACKAGE / "results"


def config_paths() -> dict[str, Path]:
    """Every config by name: FILE.py, or FILE.py:NAME for each line `- NAME: ...` of the file's docstring."""
    paths = {
        variant or path.stem: path.with_name(f"{path.name}:{variant}") if variant else path
        for path in CONFIGS.glob("*.py")
        for variant in variants(path) or [""]
    }
    return {name: paths[name] for name in sorted(paths)}


def is_name(text: str) -> bool:
    """Whether a text can be the name of a config, not its path."""
    return re.fullmatch(r"\w+", text) is not None


def config_path(name: str) -> Path:
    """The config with this name, as an argument of `load_config`; InputError if there is none."""
    plain = CONFIGS / f"{name}.py"
    if plain.is_file() and not variants(plain):
        return plain
    paths = config_paths()
    if name not in paths:
        raise InputError(
            f"there is no config {name!r}{near(name, paths)}; `gen-jax list` lists them, and a file ends in .py"
        )
    return paths[name]


def variants(path: Path) -> dict[str, list[str]]:
    """The docstring lines of each experiment, by name, in a file that defines several."""
    found: dict[str, list[str]] = {}
    for line in docstring(path):
        if named := re.fullmatch(r"- (\w+): (.*)", line):
            found[named[1]] = [named[2]]
        elif found:
            [*found.values()][-1].append(line.strip())
    return found


def docstring(path: Path) -> list[str]:
    """The lines of a file's docstring, or its name."""
    return (ast.get_docstring(ast.parse(path.read_text())) or path.stem).splitlines()
