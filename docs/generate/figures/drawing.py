"""What the figures share: a figure of matplotlib as SVG inside the page, grids of pixels, and diagrams of boxes.

Ink is the page's text colour, in light and in dark; the other colours are readable on both.
"""

import html
import io
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, PathPatch
from matplotlib.path import Path
from sklearn.datasets import load_digits

INK, SITE, READ, UNREAD, LATER = "#000000", "#e4572e", "#4c8dd6", "#e9b44c", "#9aa0a6"
SQUARE = np.array([(0, 0), (1, 0), (1, 1), (0, 1), (0, 0)])
CODES = (Path.MOVETO, Path.LINETO, Path.LINETO, Path.LINETO, Path.CLOSEPOLY)
LEGEND = "Red: the pixel x_i. Blue: pixels that p(x_i | x_<i) may read. Yellow: earlier, not read. Grey: later."
KINDS = {"net": READ, "data": LATER, "latent": SITE, "loss": UNREAD, "code": "#3aa57a"}
STYLE = {
    "svg.fonttype": "path",
    "svg.hashsalt": "gen_jax",
    "mathtext.fontset": "stix",
    "font.size": 10,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def canvas(width: float, height: float, columns: int = 1) -> tuple[Figure, list[Axes]]:
    """A figure of this size in inches, and its axes side by side."""
    figure = Figure(figsize=(width, height))
    axes = list(np.atleast_1d(figure.subplots(1, columns)))
    figure.subplots_adjust(
        left=0.01, right=0.99, bottom=0.01, top=0.9 if columns > 1 else 0.99, wspace=0.08
    )
    return figure, axes


def svg(figure: Figure, name: str, about: str) -> str:
    """The figure as an element of a page; `about` is its text for those who do not see it."""
    out = io.StringIO()
    figure.savefig(out, format="svg", transparent=True, metadata={"Date": None})
    text = out.getvalue()
    text = re.sub(r"\s*<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    text = re.sub(
        r'(id="|url\(#|href="#)', rf"\1{name}_", text
    )  # one page may have several figures
    text = re.sub(r"\s*\n\s*", " ", text).replace(INK, "currentColor")
    opening = f'<svg role="img" aria-label="{html.escape(about)}" fill="currentColor" '
    return text.replace("<svg ", opening, 1)


def plot(width: float, height: float, columns: int = 1) -> tuple[Figure, list[Axes]]:
    """The same with room for labels on the axes."""
    figure, axes = canvas(width, height, columns)
    figure.subplots_adjust(left=0.6 / width, right=0.98, bottom=0.5 / height, top=0.95, wspace=0.3)
    return figure, axes


def bare(axes: Axes, title: str = "") -> Axes:
    """Axes without a frame, of equal units."""
    axes.set_axis_off()
    axes.set_aspect("equal", anchor="N")
    axes.set_title(title, fontsize=10)
    return axes


def cells(
    axes: Axes, colours: np.ndarray, texts: np.ndarray | None = None, title: str = ""
) -> None:
    """A grid of squares, row 0 on top."""
    bare(axes, title)
    height, width = colours.shape
    for colour in dict.fromkeys(colours.flat):
        corners = np.argwhere(colours == colour)[:, ::-1, None]  # x, y
        squares = (corners + 0.92 * SQUARE.T).swapaxes(1, 2).reshape(-1, 2)
        shape = Path(squares, np.tile(CODES, len(corners)))
        faint = 0.25 if colour == LATER else 1.0
        axes.add_patch(PathPatch(shape, facecolor=colour, linewidth=0, alpha=faint))
    if texts is not None:
        for (row, column), text in np.ndenumerate(texts):
            place = (column + 0.46, row + 0.48)
            axes.text(*place, str(text), ha="center", va="center", fontsize=7)
    axes.set_xlim(-0.1, width + 0.1)
    axes.set_ylim(height + 0.1, -0.1)


def matrix(axes: Axes, on: np.ndarray, title: str) -> None:
    """A matrix of zeros and ones."""
    cells(axes, np.where(on, READ, LATER).astype(object), title=title)


def context(axes: Axes, model: Any, place: tuple[int, int], title: str = "") -> None:
    """What the distribution of a pixel may read, as the model declares it: read, earlier but unread, later."""
    height, width = model.event.shape[:2]
    places = model.sites[:, 0]
    site = int(np.flatnonzero(places == place[0] * width + place[1])[0])
    colours = np.full(height * width, LATER, object)
    colours[places[:site]] = UNREAD
    colours[places[model.context(site)]] = READ
    colours[places[site]] = SITE
    cells(axes, colours.reshape(height, width), title=title)


def picture(axes: Axes, x: np.ndarray, title: str = "", levels: float = 16) -> None:
    """A grey image."""
    axes.imshow(x, cmap="gray", vmin=0, vmax=levels, interpolation="nearest")
    bare(axes, title)


Node = tuple[float, float, str, str]  # x, y, text, kind
DASHED = "-"  # the label of a dashed arrow


def diagram(
    nodes: dict[str, Node],
    arrows: Sequence[tuple[str, ...]],
    size: tuple[float, float] = (6.4, 1.6),
) -> Figure:
    """Boxes and arrows between them; an arrow's third part is its label, or DASHED."""
    figure, [axes] = canvas(*size)
    bare(axes)
    for x, y, text, kind in nodes.values():
        width, height = extent(text)
        rounding = 0.05 if kind == "net" else 0.2
        shape = f"round,pad=0,rounding_size={rounding}"
        corner = (x - width / 2, y - height / 2)
        box = FancyBboxPatch(corner, width, height, boxstyle=shape, facecolor="none", linewidth=1.6)
        box.set_edgecolor(KINDS[kind])
        axes.add_patch(box)
        axes.text(x, y, text, ha="center", va="center", fontsize=10)
    for first, second, *label in arrows:
        start, end = edge(nodes[first], nodes[second]), edge(nodes[second], nodes[first])
        dashed = label == [DASHED]
        style = {"arrowstyle": "-|>", "mutation_scale": 10, "shrinkA": 1, "shrinkB": 1}
        arrow = FancyArrowPatch(start, end, linewidth=1.1, color=INK, **style)
        arrow.set_linestyle((0, (4, 3)) if dashed else "-")
        axes.add_patch(arrow)
        if label and not dashed:
            flat = start[1] == end[1]
            place = (
                (start[0] + end[0]) / 2 + (0 if flat else 0.1),
                (start[1] + end[1]) / 2 + 0.07 * flat,
            )
            align = {"ha": "center", "va": "bottom"} if flat else {"ha": "left", "va": "center"}
            axes.text(*place, label[0], fontsize=9, **align)
    corners = [(x, y, *extent(text)) for x, y, text, _ in nodes.values()]
    axes.set_xlim(
        min(x - w / 2 for x, _, w, _ in corners) - 0.1,
        max(x + w / 2 for x, _, w, _ in corners) + 0.1,
    )
    axes.set_ylim(
        min(y - h / 2 for _, y, _, h in corners) - 0.1,
        max(y + h / 2 for _, y, _, h in corners) + 0.1,
    )
    return figure


def extent(text: str) -> tuple[float, float]:
    """Width and height of the box around a text."""
    plain = re.sub(r"\\[a-z]+|[${}^_\\]", lambda found: "x" if len(found[0]) > 1 else "", text)
    lines = plain.split("\n")
    return 0.36 + 0.092 * max(map(len, lines)), 0.3 + 0.19 * len(lines)


def edge(node: Node, other: Node) -> tuple[float, float]:
    """Where the line from the middle of a box to that of another leaves it."""
    (x, y, text, _), (to_x, to_y, *_) = node, other
    width, height = extent(text)
    across, up = to_x - x, to_y - y
    reach = min(width / 2 / abs(across) if across else 9, height / 2 / abs(up) if up else 9)
    return x + across * reach, y + up * reach


def digit(index: int = 7) -> np.ndarray:
    """An image of the digits, 8x8, levels 0 to 16."""
    return load_digits().images[index].astype(int)
