"""Pieces of HTML with embedded data, so that a page opens offline."""

import base64
import io
import re
from collections.abc import Sequence
from typing import Any

import matplotlib
from markupsafe import Markup
from matplotlib.figure import Figure

# Inches of a plot: text stays readable on a narrow page; of one with more to show, which scrolls there.
SIZE, TALL, WIDE = (4.8, 2.7), (5.2, 4.3), (9.0, 3.2)
READABLE = 0.7  # the least scale of a plot: text of 10 points is 9 pixels high then
SHARP = 130  # dots per inch of what a plot holds as pixels: images, and clouds of points
# The colours of a plot that follow the page (`report/style.css`): text, paper, lines, areas without data, series.
COLOURS = {
    "#000000": "currentColor",
    "#ffffff": "var(--paper)",
    "#cccccc": "var(--line)",
    "#e4e4e4": "var(--blind)",
    "#1f77b4": "var(--first)",
    "#ff7f0e": "var(--second)",
}


def embedded(kind: str, content: bytes) -> str:
    """Bytes as a data URL; `kind` is a media type such as image/png."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def paragraph(text: str) -> Markup:
    """A paragraph of escaped text."""
    return Markup("<p>{}</p>").format(text)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Markup:
    """A table of escaped text."""
    head = Markup("").join(map(Markup('<th scope="col">{}</th>').format, header))
    cells = [Markup("").join(map(Markup("<td>{}</td>").format, row)) for row in rows]
    lines = Markup("").join(map(Markup("<tr>{}</tr>\n").format, (head, *cells)))
    return Markup("<table>\n{}</table>\n").format(lines)


def block(text: str, css: str = "") -> Markup:
    """Escaped text that keeps its line breaks."""
    return Markup('<pre style="{}">{}</pre>').format(css, text)


def picture(png: bytes, alt: str) -> Markup:
    """A PNG whose pixels stay sharp; `alt` says what it shows to those who cannot see it."""
    url = embedded("image/png", png)
    return Markup('<p><img alt="{}" src="{}"></p>').format(alt, url)


def literal(text: str) -> str:
    """Text that matplotlib does not take for a formula."""
    return text.replace("$", r"\$")


def beside(*pieces: Markup) -> Markup:
    """Pieces beside each other, or below each other where the page is narrow."""
    return Markup('<div class="beside">{}</div>').format(Markup("").join(pieces))


def plot(figure: Figure, alt: str) -> Markup:
    """A matplotlib figure as SVG, whose text and lines have the colours of the page; `alt` as in `picture`."""
    buffer = io.BytesIO()
    settings: Any = {"svg.fonttype": "none", "svg.hashsalt": alt}
    nothing: dict[str, Any] = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with matplotlib.rc_context(settings):
        figure.savefig(buffer, format="svg", dpi=SHARP, facecolor="none", metadata=nothing)
    svg = buffer.getvalue().decode()
    width = figure.get_size_inches()[0] * 6  # rem: an inch is 96 pixels, a rem 16
    box = re.search(r'viewBox="[\d. ]+"', svg)
    inner = svg[svg.index(">", svg.index("<svg")) + 1 :]
    inner = re.sub(r"<style.*?</style>|<!--.*?-->|<metadata>.*?</metadata>", "", inner, flags=re.S)
    inner = re.sub(r"; font-family: [^;\"]*", "", inner)  # that of the page
    referred = set(re.findall(r"#([\w-]+)", inner))
    inner = re.sub(r' id="([^"]*)"', lambda match: match[0] if match[1] in referred else "", inner)
    for colour, of_page in COLOURS.items():
        inner = inner.replace(f": {colour}", f": {of_page}")
    inner = re.sub(r">\s+<(?!/text|/tspan)", "><", inner.replace("base64,\n", "base64,"))
    assert box is not None  # matplotlib writes one
    opening = Markup(
        '<svg role="img" aria-label="{}" fill="currentColor" style="width: {:.4g}rem; min-width: {:.4g}rem" {}'
    ).format(alt, width, READABLE * width, Markup(box[0]))
    return Markup('<div class="plot">{}>{}</div>').format(opening, Markup(inner.rstrip()))


def png(figure: Figure, dpi: int) -> bytes:
    """A matplotlib figure as PNG bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi)
    return buffer.getvalue()
