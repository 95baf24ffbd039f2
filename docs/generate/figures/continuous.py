"""Figures of flows and diffusions: masks, orders, curves and noise, from the functions that the systems use."""

import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from gen_jax import CosineSchedule, LinearGamma, LinearSchedule
from gen_jax.models.diffusion.ddpm import alpha_bar
from gen_jax.ops import masks
from gen_jax.ops.mixture_cdf import Mixture, logit_cdf

from . import drawing
from .drawing import LATER, READ, SITE, UNREAD, Node


def real_nvp() -> Figure:
    """Masks of the couplings. Blue: kept, and read by s and t. Yellow: scaled and shifted."""
    panels = [np.asarray(masks.checkerboard((6, 6, 1), parity))[..., 0] for parity in (0, 1)]
    half = np.asarray(masks.channel_half((1, 1, 4), 0))[0, 0][None].repeat(2, axis=0)
    figure, axes = drawing.canvas(6.4, 2.2, 3)
    titles = ("checkerboard", "the other half", "channels, after a squeeze")
    for axis, kept, title in zip(axes, [*panels, half], titles, strict=True):
        drawing.cells(axis, np.where(kept, READ, UNREAD).astype(object), title=title)
    return figure


def glow() -> Figure:
    """After each scale half of the channels leaves as part of z. A step: actnorm, invertible 1x1 convolution,
    coupling.
    """
    nodes: dict[str, Node] = {"x": (0, 0, "$x$", "data")}
    arrows = []
    for k in range(3):
        text = "squeeze,\n$K$ steps of $f$"
        nodes[f"f{k}"] = (1.7 + 2.2 * k, 0, text, "net")
        nodes[f"z{k}"] = (1.7 + 2.2 * k, -1.0, f"$z_{k + 1}$", "latent")
        arrows += [("x" if k == 0 else f"f{k - 1}", f"f{k}"), (f"f{k}", f"z{k}")]
    return drawing.diagram(nodes, arrows, (6.4, 2.0))


def tar_flow() -> Figure:
    """Patches of an image in the order of a block. Red: patch 9, moved and scaled by what the blue ones say."""
    order = np.arange(16).reshape(4, 4)
    figure, axes = drawing.canvas(4.8, 2.4, 2)
    for axis, numbers, title in zip(axes, (order, 15 - order), ("block 1", "block 2"), strict=True):
        colours = np.where(numbers < 9, READ, LATER).astype(object)
        colours[numbers == 9] = SITE
        drawing.cells(axis, colours, numbers, title)
    return figure


def flow_pp() -> Figure:
    """The map of a coupling for a mixture of three logistics, and its slope, whose logarithm enters log |det|."""
    mixture = Mixture(jnp.zeros(3), jnp.array([-2.0, 0.0, 2.5]), jnp.array([-1.2, -0.8, -1.6]))
    x = np.linspace(-4, 4, 161)
    y, log_slope = logit_cdf(
        jnp.asarray(x), Mixture(*(jnp.broadcast_to(part, (161, 3)) for part in mixture))
    )
    figure, axes = drawing.plot(5.6, 2.2, 2)
    axes[0].plot(x, y, color=READ)
    axes[0].set(xlabel="$b$", ylabel="logit $F(b)$")
    axes[1].plot(x, np.exp(log_slope), color=SITE)
    axes[1].set(xlabel="$b$", ylabel="slope", ylim=(0, None))
    return figure


def ffjord() -> Figure:
    """Sketch: paths of points from data in two clusters to noise. Where paths spread, tr(df/dx) > 0 and the density
    falls.
    """
    figure, [axes] = drawing.plot(5.2, 2.4)
    time = np.linspace(0, 1, 40)
    for start in np.linspace(-1.8, 1.8, 13):
        side = np.sign(start) * 0.9 if start else 0.0
        path = (1 - time) * (side + 0.35 * (start - side)) + time * start
        axes.plot(time, path, color=READ, linewidth=1.1)
    axes.plot(np.full(13, 1.0), np.linspace(-1.8, 1.8, 13), "o", color=SITE, markersize=3)
    axes.set(xlabel="time", ylabel="$x(t)$", xticks=(0, 1), xticklabels=("data, 0", "noise, T"))
    return figure


def ddpm() -> Figure:
    """Left: the share of x_0 in the variance of x_t. Right: a digit at t = 0, 200, 500, 800 and 1000, cosine."""
    figure, axes = drawing.plot(6.4, 2.3, 2)
    times = np.arange(1001)
    for schedule, colour in ((LinearSchedule(), READ), (CosineSchedule(), SITE)):
        axes[0].plot(
            times, alpha_bar(schedule.betas(1000)), color=colour, label=type(schedule).__name__
        )
    axes[0].set(xlabel="$t$", ylabel="$\\bar{\\alpha}_t$")
    axes[0].legend(frameon=False, fontsize=8)
    noised(axes[1], np.sqrt(alpha_bar(CosineSchedule().betas(1000))[[0, 200, 500, 800, 1000]]))
    return figure


def vdm() -> Figure:
    """Left: the ratio of signal to noise with which training begins. Right: a digit at t = 0, 0.5, 0.7, 0.85 and 1."""
    figure, axes = drawing.plot(6.4, 2.3, 2)
    time = jnp.linspace(0, 1, 101)
    gamma = np.asarray(LinearGamma().apply(LinearGamma().init(jnp.zeros(2, "uint32"), time), time))
    axes[0].plot(time, -gamma, color=READ)
    axes[0].set(xlabel="$t$", ylabel="log SNR$(t)$")
    noised(axes[1], np.sqrt(1 / (1 + np.exp(gamma[[0, 50, 70, 85, 100]]))))
    return figure


def noised(axes, signals: np.ndarray) -> None:
    """A digit with more and more noise."""
    x = drawing.digit() / 8 - 1
    noise = np.random.default_rng(0).normal(size=(len(signals), 8, 8))
    rows = [s * x + np.sqrt(1 - s**2) * n for s, n in zip(signals, noise, strict=True)]
    strip = np.concatenate([np.pad(part, (0, 1), constant_values=np.nan) for part in rows], axis=1)
    axes.imshow(strip, cmap="gray", vmin=-1.5, vmax=1.5, interpolation="nearest")
    drawing.bare(axes)
