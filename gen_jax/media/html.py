"""Pieces of HTML with their data inside, so that a page opens offline."""

import base64
import io

from matplotlib.figure import Figure


def embedded(kind: str, content: bytes) -> str:
    """Bytes as a URL, `kind` such as image/png."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def picture(png: bytes, css: str = "") -> str:
    """A PNG; pixels stay sharp unless the class `smooth` is asked for."""
    return f"<p><img class='{css}' alt='' src='{embedded('image/png', png)}'></p>"


def plot(figure: Figure) -> str:
    """A figure of matplotlib."""
    return picture(png(figure, dpi=130), "smooth")


def png(figure: Figure, dpi: int) -> bytes:
    """A figure as PNG."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi)
    return buffer.getvalue()
