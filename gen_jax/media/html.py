"""Pieces of HTML with embedded data, so that a page opens offline."""

import base64
import io
from collections.abc import Sequence

from markupsafe import Markup
from matplotlib.figure import Figure


def embedded(kind: str, content: bytes) -> str:
    """Bytes as a data URL; `kind` is a media type such as image/png."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def paragraph(text: str) -> Markup:
    """A paragraph of escaped text."""
    return Markup("<p>{}</p>").format(text)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Markup:
    """A table of escaped text."""
    head = Markup("").join(map(Markup("<th>{}</th>").format, header))
    cells = [Markup("").join(map(Markup("<td>{}</td>").format, row)) for row in rows]
    lines = Markup("").join(map(Markup("<tr>{}</tr>\n").format, (head, *cells)))
    return Markup("<table>\n{}</table>\n").format(lines)


def block(text: str, css: str = "") -> Markup:
    """Escaped text that keeps its line breaks."""
    return Markup('<pre style="{}">{}</pre>').format(css, text)


def picture(png: bytes, css: str = "") -> Markup:
    """A PNG; its pixels stay sharp unless `css` is the class `smooth`."""
    url = embedded("image/png", png)
    return Markup('<p><img class="{}" alt="" src="{}"></p>').format(css, url)


def literal(text: str) -> str:
    """Text that matplotlib does not take for a formula."""
    return text.replace("$", r"\$")


def plot(figure: Figure) -> Markup:
    """A matplotlib figure as a picture in a page."""
    return picture(png(figure, dpi=130), "smooth")


def png(figure: Figure, dpi: int) -> bytes:
    """A matplotlib figure as PNG bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi)
    return buffer.getvalue()
