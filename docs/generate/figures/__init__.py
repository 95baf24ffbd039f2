"""A figure of each system, drawn at build time; `figure` gives it with its caption as an element of a page.

The functions of the three modules are named as the systems. A docstring is the caption.
"""

import matplotlib as mpl
from equations import typeset

from . import autoregressive, continuous, drawing, latent


def figure(system: str) -> str:
    """The figure of a system; AttributeError if there is none."""
    module = next(m for m in (autoregressive, latent, continuous) if hasattr(m, system))
    with mpl.rc_context(drawing.STYLE):
        draw = getattr(module, system)
        caption = " ".join((draw.__doc__ or "").format(legend=drawing.LEGEND).split())
        element = drawing.svg(draw(), system, caption)
    return f'<figure class="figure">{element}<figcaption>{typeset(caption)}</figcaption></figure>'
