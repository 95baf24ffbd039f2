"""Pieces of HTML with their data inside, so that a page opens offline."""

import base64
import io

from markupsafe import Markup
from matplotlib.figure import Figure


def embedded(kind: str, content: bytes) -> str:
    """Bytes as a URL, `kind` such as image/png."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def paragraph(text: str) -> Markup:
    """A paragraph of escaped text."""
    return Markup("<p>{}</p>").format(text)


def block(text: str, css: str = "") -> Markup:
    """A text whose lines stay as they are, escaped."""
    return Markup('<pre style="{}">{}</pre>').format(css, text)


def picture(png: bytes, css: str = "") -> Markup:
    """A PNG; pixels stay sharp unless the class `smooth` is asked for."""
    url = embedded("image/png", png)
    return Markup('<p><img class="{}" alt="" src="{}"></p>').format(css, url)


def literal(text: str) -> str:
    """A text as matplotlib shows it and does not take it for a formula."""
    return text.replace("$", r"\$")


def plot(figure: Figure) -> Markup:
    """A figure of matplotlib."""
    return picture(png(figure, dpi=130), "smooth")


def png(figure: Figure, dpi: int) -> bytes:
    """A figure as PNG."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi)
    return buffer.getvalue()
