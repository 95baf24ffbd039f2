"""Figures of systems with latent variables or codes, of adversarial ones and of the classifier: parts and arrows."""

from itertools import pairwise

from matplotlib.figure import Figure

from . import drawing
from .drawing import DASHED, Node


def row(*parts: tuple[str, str]) -> dict[str, Node]:
    """Boxes in a row, named a, b, c, ...; each a text and a kind."""
    nodes, x = {}, 0.0
    for name, (text, kind) in zip("abcdefgh", parts, strict=False):
        width = drawing.extent(text)[0]
        x += width / 2
        nodes[name] = (x, 0.0, text, kind)
        x += width / 2 + 0.5
    return nodes


def line(
    *parts: tuple[str, str], more: dict[str, Node] | None = None, arrows: tuple = ()
) -> Figure:
    """A row of boxes, each with an arrow to the next, and others."""
    nodes = row(*parts)
    names = [*nodes]
    height = 0.9 + 0.75 * len({node[1] for node in (more or {}).values()})
    nodes |= more or {}
    ahead = [*pairwise(names)]
    return drawing.diagram(nodes, [*ahead, *arrows], (6.6, height))


X, Z = ("$x$", "data"), ("$z$", "latent")
QZ, XZ = ("$q(z|x)$", "latent"), ("$p(x|z)$", "loss")
ENCODER, DECODER = ("encoder", "net"), ("decoder", "net")


def autoencoder() -> Figure:
    """A code z and its reconstruction x'. There is no distribution of z and none of x."""
    return line(X, ENCODER, ("$z$", "code"), DECODER, ("$x'$", "data"))


def vae() -> Figure:
    """Solid: training and the bound, with z from q(z | x). Dashed: sampling, with z from the prior."""
    more = {"p": (3.05, 0.75, "$p(z)=N(0,I)$", "loss")}
    return line(X, ENCODER, QZ, Z, DECODER, XZ, more=more, arrows=(("p", "d", DASHED),))


def iwae() -> Figure:
    """K draws of z for one x. Their weights w_k = p(x, z_k) / q(z_k | x) are averaged inside the logarithm."""
    draws = ("$z_1,\\ldots,z_K$", "latent")
    weights = ("$\\log\\frac{1}{K}\\sum_k w_k$", "loss")
    return line(X, ENCODER, QZ, draws, DECODER, weights)


def vimco() -> Figure:
    """z is discrete, so no gradient passes through its draw: that of q is a score function with baselines."""
    bits = ("bits or\ncategories", "code")
    return line(X, ENCODER, QZ, bits, DECODER, XZ)


def pixel_vae() -> Figure:
    """The decoder reads z in every gate, and the earlier pixels."""
    more = {"x": (5.2, 0.75, "$x_{<i}$", "data")}
    parts = (X, ENCODER, QZ, Z, ("Gated PixelCNN", "net"), ("$p(x_i|x_{<i},z)$", "loss"))
    return line(*parts, more=more, arrows=(("x", "e"),))


def vd_vae() -> Figure:
    """Up: activations of x at each resolution. Down: one group of latents in each block, each given those before it."""
    nodes: dict[str, Node] = {"x": (0, 0, "$x$", "data")}
    arrows = []
    for k, side in enumerate(("8x8", "4x4", "1x1")):
        nodes[f"u{k}"] = (1.6 + 1.6 * k, 0, f"up {side}", "net")
        nodes[f"d{k}"] = (1.6 + 1.6 * k, -1.6, f"down {side}", "net")
        nodes[f"z{k}"] = (1.6 + 1.6 * k, -0.8, f"$z_{3 - k}$", "latent")
        arrows += [(f"u{k}", f"z{k}"), (f"z{k}", f"d{k}")]
        arrows += [(f"u{k - 1}", f"u{k}"), (f"d{k}", f"d{k - 1}")] if k else [("x", "u0")]
    nodes["p"] = (-0.25, -1.6, "$p(x|z)$", "loss")
    arrows.append(("d0", "p"))
    return drawing.diagram(nodes, arrows, (6.4, 2.8))


def vq_vae() -> Figure:
    """Each output of the encoder is replaced by the nearest vector of the codebook; its index is the code."""
    nearest = ("nearest of\nK vectors", "code")
    return line(X, ENCODER, ("$z_e(x)$", "latent"), nearest, DECODER, XZ)


def vq_vae_prior() -> Figure:
    """Second stage: encoder, codebook and decoder are kept, and an autoregressive model learns the codes."""
    more = {"p": (3.9, 0.75, "learned prior $p(z)$", "loss")}
    parts = (X, ENCODER, ("codes $z(x)$", "code"), DECODER, XZ)
    return line(*parts, more=more, arrows=(("p", "c"),))


def two_grids(prior: bool) -> Figure:
    """The two grids of codes of a VQ-VAE-2, with their priors or without."""
    nodes: dict[str, Node] = {
        "x": (0, 0, "$x$", "data"),
        "b": (1.7, 0, "bottom features", "net"),
        "t": (1.7, 0.85, "top features", "net"),
        "tc": (4.0, 0.85, "top codes $t$", "code"),
        "bc": (4.0, 0, "bottom codes $b$", "code"),
        "d": (6.0, 0.42, "decoder", "net"),
        "p": (7.5, 0.42, "$p(x|t,b)$", "loss"),
    }
    arrows = [
        ("x", "b"),
        ("b", "t"),
        ("t", "tc"),
        ("b", "bc"),
        ("tc", "bc"),
        ("tc", "d"),
        ("bc", "d"),
        ("d", "p"),
    ]
    if prior:
        nodes |= {
            "pt": (4.0, 1.7, "prior $p(t)$", "loss"),
            "pb": (4.0, -0.85, "prior $p(b|t)$", "loss"),
        }
        arrows += [("pt", "tc"), ("pb", "bc")]
    return drawing.diagram(nodes, arrows, (6.8, 2.6 if prior else 1.5))


def vq_vae_2() -> Figure:
    """The top codes are chosen first; the bottom codes depend on x and on the decoded top codes."""
    return two_grids(False)


def vq_vae_2_prior() -> Figure:
    """Two autoregressive priors: of the top codes, and of the bottom codes given the top codes."""
    return two_grids(True)


def gan() -> Figure:
    """D tells data from samples; G learns from the gradient of D."""
    nodes = row(
        ("$z$", "latent"),
        ("generator", "net"),
        ("$G(z)$", "data"),
        ("discriminator", "net"),
        ("$D$", "loss"),
    )
    nodes["x"] = (nodes["d"][0], 0.75, "data $x$", "data")
    arrows = [("a", "b"), ("b", "c"), ("c", "d"), ("d", "e"), ("x", "d")]
    return drawing.diagram(nodes, arrows, (6.4, 1.6))


def classifier() -> Figure:
    """Distances between sets of images are computed from the features before the softmax."""
    return line(
        X, ("convolutions", "net"), ("features", "latent"), ("softmax", "net"), ("$p(y|x)$", "loss")
    )
