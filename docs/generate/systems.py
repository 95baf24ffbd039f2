"""The pages of systems and families: from docstrings, fields, configs and result files, nothing stored twice."""

import ast
import html
import inspect
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from equations import formulas, links, mathml, typeset

import gen_jax
from gen_jax.evaluate import catalogue
from gen_jax.experiment import load_config
from gen_jax.included import SOURCE as ROOT
from gen_jax.included import config_paths
from gen_jax.registry import MODULES

FAMILIES = (
    "baseline",
    "autoregressive",
    "latent",
    "flow",
    "diffusion",
    "adversarial",
    "discriminative",
)
RELATION = re.compile(r"[=~<>]")


@dataclass(frozen=True)
class System:
    """A system: its id, file, first class, the docstrings of file and class, and all its public classes."""

    id: str
    path: Path
    name: str
    about: str
    own: str
    classes: tuple[type, ...]
    shares_file: bool

    @property
    def family(self) -> str:
        """The folder of its file."""
        return self.path.parent.name

    @property
    def title(self) -> str:
        """What the docstring calls it, or its class."""
        first = self.about.partition(":")[0]
        return self.name if self.shares_file or len(first) > 45 else first

    @property
    def page(self) -> str:
        """The address of its page."""
        return f"systems/{self.id}.md"

    def equations(self) -> list[str]:
        """The law of the file and, where the file has several systems, the first equation of the class."""
        law, own = equation(self.about), equation(self.own) if self.shares_file else None
        if own and own.startswith("L = "):  # a loss, of a class without a likelihood
            law = None
        return [one for one in (law, own) if one]


def systems() -> list[System]:
    """Every system, in the order of the families and then of the files."""
    return [system for family in FAMILIES for system in _of(family)]


def _of(family: str) -> list[System]:
    found: list[System] = []
    for path in sorted((catalogue.MODELS / family).glob("*.py")):
        tree = ast.parse(path.read_text())
        classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
        named = {name: catalogue.system_id(node) for name, node in classes.items()}
        first = {system: name for name, system in reversed([*named.items()]) if system}
        for system, name in reversed([*first.items()]):
            about, own = ast.get_docstring(tree) or "", ast.get_docstring(classes[name]) or ""
            public = [getattr(gen_jax, cls) for cls in classes if cls in MODULES]
            own_classes = tuple(cls for cls in public if getattr(cls, "system", None) == system)
            found.append(System(system, path, name, about, own, own_classes, len(first) > 1))
    return found


def _fields(cls: type) -> list[tuple[str, str, str]]:
    """The fields of a class and of its bases in gen_jax: name, type and default, as in the source."""
    fields: dict[str, tuple[str, str, str]] = {}
    for base in reversed(cls.__mro__):
        if not base.__module__.startswith("gen_jax."):
            continue
        [node] = ast.parse(inspect.getsource(base)).body
        for line in getattr(node, "body", []):
            if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name):
                kind, name = ast.unparse(line.annotation), line.target.id
                default = "required" if line.value is None else ast.unparse(line.value)
                if not kind.startswith("ClassVar"):
                    fields[name] = (name, kind, default)
                else:
                    fields.pop(name, None)  # a subclass fixes it
    return [*fields.values()]


def equation(text: str) -> str | None:
    """The formula to show first: the first one about log p, or else the first with a relation."""
    flat = " ".join(text.split())
    found = [flat[start:end] for start, end in formulas(flat)]
    found = [formula for formula in found if RELATION.search(formula) and len(formula) > 8]
    about_p = [formula for formula in found if re.search(r"log (p\([xv]|NADE)", formula)]
    if not found:
        return None
    chosen = (about_p or found)[0]
    parts = [""]
    for part in chosen.split(", "):  # at commas outside brackets
        whole = parts[-1].count("(") + parts[-1].count("[") == parts[-1].count(")") + parts[
            -1
        ].count("]")
        parts[-1:] = (
            [parts[-1], part]
            if whole and parts[-1]
            else [", ".join(filter(None, (parts[-1], part)))]
        )
    while len(parts) > 1 and not RELATION.search(parts[-1]):
        parts.pop()
    return ", ".join(parts)


def prose(text: str) -> str:
    """A docstring as Markdown: paragraphs with typeset formulas, and indented lines as displayed equations."""
    out: list[str] = []
    for paragraph in text.split("\n\n"):
        lines: list[str] = []
        for line in paragraph.splitlines():
            if line.startswith("    "):
                if lines:
                    out.append(typeset(" ".join(lines)))
                    lines = []
                out.append(_displayed(line))
            else:
                lines.append(line)
        if lines:
            out.append(typeset(" ".join(lines)))
    return "\n\n".join(out)


def _displayed(line: str) -> str:
    """An indented line of a docstring: a formula and, after a gap, its name."""
    words = re.split(r"\s{3,}", line.strip())
    if len(words) > 1 and RELATION.match(words[1]):  # columns of equal signs
        words = [f"{words[0]} {words[1]}", *words[2:]]
    return f'<div class="equation">{mathml(words[0], display=True)}<span>{" ".join(words[1:])}</span></div>'


def configs() -> dict[str, list[dict[str, Any]]]:
    """The rows of `gen-jax list` about configs, by the system of the config's model."""
    rows: dict[str, list[dict[str, Any]]] = {}
    for path, row in zip(config_paths().values(), catalogue.configs(), strict=True):
        experiment = load_config(path)
        measured = dict.fromkeys(filter(None, (row["measured"], row["zoo"])))
        row |= {"data": experiment.data.name, "measured": "; ".join(measured) or None}
        row["file"] = row["config"].partition(":")[0]
        rows.setdefault(experiment.model.system, []).append(row)
    return rows


def page(system: System, rows: list[dict[str, Any]], figure: str) -> str:
    """The page of one system."""
    shown = "\n\n".join(
        f'<div class="law">{mathml(law, display=True)}</div>' for law in system.equations()
    )
    family = f"[{system.family}](../families/{system.family}.md)"
    source = system.path.relative_to(ROOT)
    parts = [
        f"---\ntitle: {system.title}\n---\n\n# {system.title}",
        f"`{system.id}` in the family {family}; class `gen_jax.{system.name}`; code: [{source}](../{source}.md)",
        shown,
        figure,
        prose(system.about),
        numbers(rows),
    ]
    parts += [fields(cls) for cls in system.classes]
    return "\n\n".join(part for part in parts if part) + "\n"


def numbers(rows: list[dict[str, Any]]) -> str:
    """Every config of a system with its published and its measured number."""
    if not rows:
        return ""
    table = [
        "## Numbers",
        "",
        "| config | data | published | measured here |",
        "| --- | --- | --- | --- |",
    ]
    rows = sorted(rows, key=lambda row: (row["measured"] is None, row["published"] is None))
    for row in rows:
        config = f"[`{row['name']}`](../{row['file']}.md)"
        cells = (row["published"] or "-", row["measured"] or "not yet")
        table.append(f"| {config} | {row['data']} | " + " | ".join(map(links, cells)) + " |")
    small = [row for row in rows if row["data"] == "digits"] or rows
    command = f"gen-jax train {small[0]['name']}"
    return "\n".join([*table, "", f"```\n{command}\n```"])


def fields(cls: type) -> str:
    """The table of a class's fields."""
    lines = [f"## Fields of `{cls.__name__}`", "", prose(inspect.getdoc(cls) or "")]
    found = _fields(cls)
    if found:
        lines += ["", "| field | type | default |", "| --- | --- | --- |"]
    for name, kind, default in found:
        kind, default = (code(kind), default if default == "required" else code(default))
        lines.append(f"| `{name}` | {kind} | {default} |")
    return "\n".join(lines)


def code(text: str) -> str:
    """Source text in a cell of a table."""
    return f"<code>{html.escape(text).replace('|', '&#124;')}</code>"


def family_table(family: str, found: list[System]) -> str:
    """The systems of a family, each with its law; and what they share."""
    base = catalogue.MODELS / family / "base.py"
    out = []
    if base.exists():
        about = ast.get_docstring(ast.parse(base.read_text())) or ""
        out += ["## What the systems share", "", prose(about), ""]
        out += [f"Code: [{base.relative_to(ROOT)}](../{base.relative_to(ROOT)}.md)", ""]
    out += ["## Pages of the systems", "", "| system | | law |", "| --- | --- | --- |"]
    for system in found:
        laws = system.equations()[:1]
        law = mathml(laws[0]).replace("|", "&#124;") if laws else ""
        out.append(f"| [`{system.id}`](../{system.page}) | {system.title} | {law} |")
    return "\n".join(out)
