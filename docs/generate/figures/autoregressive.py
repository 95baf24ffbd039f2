"""Figures of tables and autoregressive systems: what a site reads, by the models' own declarations and masks."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Arc

from gen_jax import (
    Dense,
    DiagonalBiLSTM,
    Fixed,
    Full,
    GatedPixelCNN,
    Hilbert,
    ImageTransformer,
    Local,
    Local1D,
    Local2D,
    PixelCNN,
    PixelCNNPP,
    PixelSNAIL,
    Raster,
    Rotation,
    RowLSTM,
    SCurve,
    Strided,
    Transposition,
    image,
)
from gen_jax.models.autoregressive.made import draw
from gen_jax.ops.masks import degree_mask

from . import drawing
from .drawing import INK, LATER, READ, SITE

EVENT, PLACE = image(12, 12, levels=2), (7, 5)


def contexts(*models: tuple[str, object]) -> Figure:
    """What a pixel may read in each of some models."""
    figure, axes = drawing.canvas(2.7 * len(models), 2.7, len(models))
    for axis, (title, model) in zip(axes, models, strict=True):
        drawing.context(axis, model, PLACE, title)
    return figure


def uniform() -> Figure:
    """p(x_i) of 16 levels: the same for every value and every position."""
    figure, [axes] = drawing.plot(3.6, 1.6)
    axes.bar(np.arange(16), np.full(16, 1 / 16), color=READ)
    axes.set(xlabel="value", ylabel="p", ylim=(0, 0.1), xticks=(0, 15))
    return figure


def chain(arrows: list[tuple[int, int]]) -> Figure:
    """Four variables and what each is given."""
    figure, [axes] = drawing.canvas(4.4, 1.7)
    drawing.bare(axes)
    for i in range(4):
        axes.add_patch(Arc((i, 0), 0.5, 0.5, color=READ, linewidth=1.6))
        axes.text(i, -0.01, f"$x_{i + 1}$", ha="center", va="center")
    for first, last in arrows:
        bend = 0 if last == first + 1 else -0.35
        style = {"arrowstyle": "-|>", "color": INK, "connectionstyle": f"arc3,rad={bend}"}
        style |= {"shrinkA": 15, "shrinkB": 15}
        axes.annotate("", (last, 0), (first, 0), arrowprops=style)
    axes.set(xlim=(-0.4, 3.4), ylim=(-0.4, 0.8))
    return figure


def independent() -> Figure:
    """Four values without arrows: no value tells anything about another."""
    return chain([])


def markov() -> Figure:
    """Each value is given the one before it, and nothing else."""
    return chain([(0, 1), (1, 2), (2, 3)])


def fvsbn() -> Figure:
    """Each value is given all earlier ones by a logistic unit: one weight for each arrow."""
    return chain([(i, j) for j in range(4) for i in range(j)])


def full_table() -> Figure:
    """A probability for each of 2^3 events, from their counts (the counts are made up)."""
    figure, [axes] = drawing.plot(4.4, 1.7)
    events = [f"{k:03b}" for k in range(8)]
    counts = np.array([5, 1, 2, 7, 1, 1, 3, 8])
    axes.bar(events, (counts + 1) / (counts + 1).sum(), color=READ)
    axes.set(xlabel="event of three bits", ylabel="p")
    return figure


def nade() -> Figure:
    """The hidden units of x_d are those of the value before, plus one column of W: a step costs O(H)."""
    nodes, arrows = {}, []
    for d in range(4):
        nodes[f"h{d}"] = (d * 1.7, 0.9, f"$\\sigma(a_{d + 1})$", "net")
        nodes[f"p{d}"] = (d * 1.7, 1.8, f"$p(x_{d + 1}|x_{{<{d + 1}}})$", "loss")
        arrows.append((f"h{d}", f"p{d}", f"$V_{d + 1}$"))
        if d < 3:
            nodes[f"x{d}"] = (d * 1.7 + 0.85, 0, f"$x_{d + 1}$", "data")
            arrows += [(f"h{d}", f"h{d + 1}"), (f"x{d}", f"h{d + 1}", f"$W_{d + 1}$")]
    return drawing.diagram(nodes, arrows, (6.4, 2.6))


def made() -> Figure:
    """The masks of MADE(binary(6), hidden=(9, 8)), hidden units sorted by degree; blue weights are kept. No path leads
    from a value to its own output or an earlier one.
    """
    degrees = draw(6, (9, 8), (None,), 0)
    first, *hidden = (degrees.position[0], *(layer[0] for layer in degrees.hidden))
    hidden = [np.sort(layer) for layer in hidden]
    figure, axes = drawing.canvas(6.4, 2.4, 3)
    pairs = ((first, hidden[0], False), (*hidden, False), (hidden[1], first, True))
    titles = ("inputs to hidden 1", "hidden 1 to hidden 2", "hidden 2 to outputs")
    for axis, (source, target, strict), title in zip(axes, pairs, titles, strict=True):
        drawing.matrix(axis, np.asarray(degree_mask(source, target, strict)).T, title)
    return figure


def recurrent(cell: str) -> Figure:
    """A recurrent network at three times."""
    nodes, arrows = {}, []
    for t in range(1, 4):
        x = "0" if t == 1 else f"$x_{t - 1}$"
        nodes |= {f"x{t}": (t * 1.9, 0, x, "data"), f"h{t}": (t * 1.9, 0.9, cell, "net")}
        nodes[f"p{t}"] = (t * 1.9, 1.8, f"$p(x_{t}|x_{{<{t}}})$", "loss")
        arrows += [(f"x{t}", f"h{t}"), (f"h{t}", f"p{t}", f"$h_{t}$")]
        arrows += [(f"h{t - 1}", f"h{t}")] if t > 1 else []
    return drawing.diagram(nodes, arrows, (5.2, 2.6))


def rnn() -> Figure:
    """A cell reads the value before and the state before, and its state gives the distribution."""
    return recurrent("tanh")


def lstm() -> Figure:
    """The state from one time to the next is the pair (h_t, c_t); gates decide what c_t keeps."""
    return recurrent("LSTM")


def gru() -> Figure:
    """One state h_t, which the gate z_t mixes from the state before and a new one."""
    return recurrent("GRU")


def rnn_nade() -> Figure:
    """The state h_t shifts the biases of a NADE over the values of step t."""
    nodes, arrows = {}, []
    for t in range(1, 4):
        nodes |= {f"h{t}": (t * 2.1, 0, f"$h_{t}$", "net"), f"n{t}": (t * 2.1, 0.9, "NADE", "net")}
        nodes[f"v{t}"] = (t * 2.1, 1.8, f"$p(v_{t}|v_{{<{t}}})$", "loss")
        arrows += [(f"h{t}", f"n{t}", "biases"), (f"n{t}", f"v{t}")]
        arrows += [(f"h{t - 1}", f"h{t}", f"$v_{t - 1}$")] if t > 1 else []
    return drawing.diagram(nodes, arrows, (5.6, 2.6))


def pixel_cnn() -> Figure:
    """{legend} The cone to the upper right stays unread, however deep the network."""
    models = [(f"depth {n}", PixelCNN(EVENT, depth=n, first_kernel=5)) for n in (1, 4)]
    return contexts(*models)


def gated_pixel_cnn() -> Figure:
    """{legend} The vertical stack reads the rows above, also to the right."""
    models = [(f"depth {n}", GatedPixelCNN(EVENT, depth=n, first_kernel=5)) for n in (1, 4)]
    return contexts(*models)


def pixel_cnn_pp() -> Figure:
    """{legend} One network at each of two resolutions."""
    return contexts(("", PixelCNNPP(EVENT, resnets=1, resolutions=2)))


def pixel_snail() -> Figure:
    """{legend} Attention reaches every earlier pixel in one layer."""
    return contexts(("", PixelSNAIL(EVENT)))


def pixel_rnn_row() -> Figure:
    """{legend} The states of a layer see a triangle above."""
    return contexts(("", RowLSTM(EVENT, first_kernel=3, depth=1)))


def pixel_rnn_diagonal() -> Figure:
    """{legend} The states along both diagonals see all earlier pixels but one."""
    return contexts(("", DiagonalBiLSTM(EVENT, first_kernel=3, depth=1)))


def image_transformer() -> Figure:
    """{legend} One layer. With tiles the order is tile by tile. A position reads the value of the position before it,
    so all is shifted by one.
    """
    models = [
        ("Local1D(block=24, before=12)", ImageTransformer(EVENT, local=Local1D(24, 12), layers=1)),
        (
            "Local2D(4, 4, above=3, side=2)",
            ImageTransformer(EVENT, local=Local2D(4, 4, 3, 2), layers=1),
        ),
    ]
    return contexts(*models)


def patterns(*named: tuple[str, object]) -> Figure:
    """Matrices of attention: row t reads the columns in blue."""
    figure, axes = drawing.canvas(2.3 * len(named), 2.5, len(named))
    for axis, (title, pattern) in zip(axes, named, strict=True):
        drawing.matrix(axis, np.asarray(pattern.allowed(16)), title)
    return figure


def sparse_transformer() -> Figure:
    """Row t: the positions that t reads in one layer, of 16. A local and a strided layer together reach all earlier
    ones.
    """
    named = (("Local(4)", Local(4)), ("Strided(4)", Strided(4)), ("Fixed(4, 1)", Fixed(4, 1)))
    return patterns(*named)


def image_gpt() -> Figure:
    """Row t: token t reads itself and all earlier tokens of the shifted input."""
    return patterns(("", Dense()))


def image_bert() -> Figure:
    """Every token reads all tokens, before and after: no order, and no distribution."""
    return patterns(("", Full()))


def lm_conv() -> Figure:
    """Orders of generation of an 8x8 image, from the red pixel. The masks follow the order, the weights do not."""
    orders = (("Raster()", Raster()), ("SCurve()", SCurve()), ("Hilbert()", Hilbert()))
    figure, axes = drawing.canvas(6.6, 2.3, 3)
    for axis, (title, order) in zip(axes, orders, strict=True):
        rows, columns = np.divmod(order.places(8, 8), 8)
        drawing.bare(axis, title).plot(columns, rows, color=READ, linewidth=1.4)
        axis.plot(columns[0], rows[0], "o", color=SITE)
        axis.set_ylim(7.5, -0.5)
    return figure


def dist_aug() -> Figure:
    """One network learns a digit under each transformation t, and is told t. log p(x) is that of the identity."""
    x = drawing.digit()[:, :, None]
    shown = [*Rotation().moved(x), Transposition().moved(x)[1]]
    figure, axes = drawing.canvas(6.4, 1.6, len(shown))
    titles = ("identity", "90°", "180°", "270°", "transposed")
    for axis, moved, title in zip(axes, shown, titles, strict=True):
        drawing.picture(axis, moved[..., 0], title)
    return figure


def wavenet() -> Figure:
    """Causal convolutions with dilations 1, 2, 4, 8: four layers of two weights see 16 samples."""
    figure, [axes] = drawing.canvas(6.4, 2.2)
    drawing.bare(axes).set_aspect("auto")
    reached = {15}
    for layer, dilation in reversed([*enumerate((1, 2, 4, 8))]):
        for t in range(dilation, 16):
            used = t in reached
            for source in (t, t - dilation):
                style = {"color": READ if used else LATER, "linewidth": 1.4 if used else 0.3}
                axes.plot((source, t), (layer, layer + 1), zorder=2 if used else 1, **style)
        reached |= {t - dilation for t in reached}
    for layer in range(5):
        axes.plot(range(16), np.full(16, layer), "o", color=LATER, markersize=4)
        axes.text(-0.4, layer, ("input", "1", "2", "4", "8")[layer], ha="right", va="center")
    axes.plot(15, 4, "o", color=SITE, markersize=7)
    axes.set_xlim(-2, 15.5)
    return figure


def pixel_cnn_gray() -> Figure:
    """Two parts, each by an autoregressive network: a view v of few grey levels, then the image given it."""
    x = drawing.digit()
    figure, axes = drawing.canvas(3.6, 1.9, 2)
    drawing.picture(axes[0], x // 4, "v: few levels", 4)
    drawing.picture(axes[1], x, "x given v")
    return figure


def pixel_cnn_pyramid() -> Figure:
    """The image at the smallest sides, then again and again at twice the sides, given the part before."""
    x = drawing.digit()
    figure, axes = drawing.canvas(4.8, 1.9, 3)
    for axis, side in zip(axes, (2, 4, 8), strict=True):
        coarse = x.reshape(side, 8 // side, side, 8 // side).mean(axis=(1, 3))
        drawing.picture(axis, np.rint(coarse), f"{side}x{side}")
    return figure
