"""A stored config as a config file: Python whose `experiment()` returns it, with the fields that are not defaults."""

import json
import math
from typing import Any

from gen_jax.classes import PACKAGE, current, names

WIDTH, STEP = 100, "    "


def to_python(identity: Any) -> str:
    """The text of a config file for the tree that `config_tree.identity` gives.

    Classes from outside gen_jax are imported from their modules, which must be importable where the file is run.
    """
    body = _wrapped(identity, STEP, len("return "))
    return f"{_imports(identity)}\n\n\ndef experiment():\n{STEP}return {body}\n"


def _imports(tree: Any) -> str:
    modules: dict[str, set[str]] = {}
    for name in names(tree):
        module, _, qualname = current(name).partition(":")
        modules.setdefault(module, set()).add(qualname.partition(".")[0])
    if _any_image(tree):
        modules[PACKAGE].add("image")
        if not _any_other_event(tree):
            modules[PACKAGE].discard("Event")
    return "\n".join(_import(module, sorted(modules[module])) for module in sorted(modules))


def _import(module: str, wanted: list[str]) -> str:
    line = f"from {module} import {', '.join(wanted)}"
    if len(line) <= WIDTH:
        return line
    return "\n".join([f"from {module} import (", *(f"{STEP}{name}," for name in wanted), ")"])


def _wrapped(tree: Any, indent: str, taken: int) -> str:
    """A value, on one line if it fits after what the line holds already, otherwise a line for each part."""
    flat = expression(tree)
    parts = _parts(tree)
    if parts is None or len(indent) + taken + len(flat) <= WIDTH:
        return flat
    opening, named, closing = parts
    inner = indent + STEP
    lines = [
        f"{inner}{prefix}{_wrapped(value, inner, len(prefix) + 1)}," for prefix, value in named
    ]
    return "\n".join([opening, *lines, f"{indent}{closing}"])


def expression(tree: Any) -> str:
    """A value of a config as a Python expression on one line."""
    parts = _parts(tree)
    if parts is None:
        return _literal(tree)
    opening, named, closing = parts
    single = "," if opening == "(" and len(named) == 1 else ""
    inside = ", ".join(prefix + expression(value) for prefix, value in named)
    return f"{opening}{inside}{single}{closing}"


def _parts(tree: Any) -> tuple[str, list[tuple[str, Any]], str] | None:
    """The opening, the values with the text before each, and the closing; None for a number or a string."""
    if isinstance(tree, list):
        return "(", [("", item) for item in tree], ")"
    if not isinstance(tree, dict):
        return None
    if _is_image(tree):
        sides, levels = tree["fields"]["shape"], tree["fields"]["levels"]
        return "image(", [*(("", side) for side in sides), ("levels=", levels)], ")"
    _, _, qualname = current(tree["type"]).partition(":")
    fields = tree["fields"].items()
    return f"{qualname}(", [(f"{name}=", value) for name, value in fields], ")"


def _literal(value: Any) -> str:
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    finite = not isinstance(value, float) or math.isfinite(value)
    return repr(value) if finite else f'float("{value}")'


def _is_image(tree: Any) -> bool:
    """Whether a node is an event that `gen_jax.image` makes."""
    fields = tree.get("fields", {}) if isinstance(tree, dict) else {}
    event = tree["type"] == f"{PACKAGE}:Event" if fields else False
    return event and len(fields["shape"]) == 3 and fields.get("levels") is not None


def _nodes(tree: Any) -> list[dict[str, Any]]:
    """All classes with their fields, from the outside in."""
    if isinstance(tree, dict):
        return [tree, *(node for value in tree["fields"].values() for node in _nodes(value))]
    return [node for item in tree for node in _nodes(item)] if isinstance(tree, list) else []


def _any_image(tree: Any) -> bool:
    return any(map(_is_image, _nodes(tree)))


def _any_other_event(tree: Any) -> bool:
    return any(node["type"] == f"{PACKAGE}:Event" and not _is_image(node) for node in _nodes(tree))
