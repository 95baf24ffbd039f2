"""The notebooks of examples/ as pages, with the outputs that they store; formulas become MathML."""

import re
from dataclasses import dataclass
from pathlib import Path

import nbformat
from equations import element
from nbconvert import MarkdownExporter

FORMULA = re.compile(r"\$\$(?P<block>.+?)\$\$|\$(?P<inline>[^$\n]+)\$", re.DOTALL)


@dataclass(frozen=True)
class Notebook:
    """Its path in the tree, its page, and the pictures beside the page by name."""

    path: str
    page: str
    text: str
    pictures: dict[str, bytes]


def notebooks(root: Path) -> list[Notebook]:
    """The pages of all notebooks."""
    return [_notebook(path, root) for path in sorted((root / "examples").glob("*.ipynb"))]


def _notebook(path: Path, root: Path) -> Notebook:
    content = nbformat.read(path, as_version=4)
    for cell in content.cells:
        if cell.cell_type == "markdown":
            cell.source = FORMULA.sub(_mathml, cell.source)
    names = {"unique_key": path.stem}
    text, resources = MarkdownExporter().from_notebook_node(content, names)
    text = text.replace("![png](", "![What the code draws](")
    place = path.relative_to(root)
    page = str(place.with_suffix(".md"))
    return Notebook(str(place), page, text, resources.get("outputs", {}))


def _mathml(formula: re.Match[str]) -> str:
    """A formula of a cell as an element of the page."""
    if formula["block"]:
        return f"\n\n{element(formula['block'], display=True)}\n\n"
    return element(formula["inline"])
