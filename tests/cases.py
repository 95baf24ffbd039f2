"""Autoregressive models on events small enough to enumerate, all parameters noisy; a new model adds one line."""

import itertools
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from pixel_transformer import PixelTransformer

from gen_jax import (
    FVSBN,
    GRU,
    LSTM,
    MADE,
    NADE,
    RNN,
    RNNNADE,
    ColourPermutation,
    Dense,
    DiagonalBiLSTM,
    DistAug,
    Fixed,
    FullTable,
    GatedPixelCNN,
    Hilbert,
    ImageGPT,
    ImageTransformer,
    Independent,
    LMConv,
    Local,
    Local1D,
    Local2D,
    MapReader,
    Markov,
    PixelCNN,
    PixelCNNPP,
    PixelSNAIL,
    Reversal,
    Rotation,
    RowLSTM,
    SCurve,
    Shuffled,
    SparseTransformer,
    Strided,
    Uniform,
    WaveNet,
    binary,
    image,
    sound,
    tokens,
)
from gen_jax.conditions import drawn
from gen_jax.density import Functional, functional
from gen_jax.typing import Event

TINY = {"features": 4, "resnets": 1, "mixtures": 2}
TINY_RNN = {"depth": 2, "first_kernel": 3, "head_features": 24}
TINY_SNAIL = {"features": 4, "blocks": 2, "resnets": 1, "key_size": 3, "mixtures": 2}
TINY_WAVE = {"features": 4, "skip_features": 6}
TINY_LOCAL = {"features": 4, "resnets": 0, "mixtures": None}
TINY_IMAGE = {"features": 4, "heads": 2, "inner": 6, "dropout": 0.0}
TINY_SPARSE = {"features": 4, "key_features": 2, "inner": 6, "dropout": 0.0}
SMALL = {"depth": 2, "first_kernel": 3, "head_features": 12}


@dataclass(frozen=True)
class Case:
    model: Any
    wide: Any = None  # a larger event for laws that need no enumeration
    option: bool = (
        False  # a variant of a system above; laws shared by all models run on it only under `slow`
    )

    @property
    def larger(self) -> Any:
        return self.model if self.wide is None else self.wide


CASES = {
    "uniform": Case(Uniform(binary(4)), Uniform(image(2, 3, 1, 3))),
    "independent": Case(Independent(binary(4)), Independent(image(3, 3, 1, 3))),
    "markov": Case(Markov(binary(4)), Markov(image(3, 3, 1, 3))),
    "full_table": Case(FullTable(binary(4)), FullTable(image(2, 3, 1, 3))),
    "fvsbn": Case(FVSBN(binary(6)), FVSBN(image(4, 4, 1, 2))),
    "nade": Case(NADE(binary(6), hidden=5), NADE(image(4, 4, 1, 2), hidden=7, order_seed=0)),
    "nade_levels": Case(
        NADE(image(1, 2, 2, 3), hidden=4), NADE(image(2, 3, 2, 5), hidden=6), option=True
    ),
    "made": Case(
        MADE(binary(6), hidden=(9, 8)), MADE(image(3, 4, 1, 2), hidden=(20, 30), order_seed=1)
    ),
    "made_indirect": Case(
        MADE(image(1, 2, 2, 3), hidden=(12,), direct=False),
        MADE(image(2, 5, 1, 3), hidden=(8, 30), direct=False, order_seed=0, mask_seed=3),
        option=True,
    ),
    "gated_pixel_cnn": Case(
        GatedPixelCNN(image(3, 4, 1, 2), features=6, **SMALL),
        GatedPixelCNN(image(6, 7, 1, 3), features=6, depth=2, first_kernel=5, head_features=4),
    ),
    "gated_pixel_cnn_deep": Case(
        GatedPixelCNN(image(2, 3, 1, 3), features=4, depth=4, head_features=4),
        GatedPixelCNN(
            image(7, 5, 1, 2), features=4, depth=3, first_kernel=3, kernel=5, head_features=4
        ),
        option=True,
    ),
    "gated_pixel_cnn_colour": Case(
        GatedPixelCNN(image(1, 2, 3, 3), features=6, **SMALL),
        GatedPixelCNN(image(3, 4, 3, 4), features=6, **SMALL),
    ),
    "gated_pixel_cnn_embedding": Case(
        GatedPixelCNN(image(1, 2, 2, 3), features=4, embedding=2, **SMALL),
        GatedPixelCNN(image(3, 4, 2, 5), features=4, embedding=3, **SMALL),
        option=True,
    ),
    "gated_pixel_cnn_conditional": Case(
        GatedPixelCNN(image(2, 2, 1, 3), num_classes=3, features=4, **SMALL),
        GatedPixelCNN(image(3, 3, 3, 2), num_classes=3, features=12, **SMALL),
    ),
    "gated_pixel_cnn_given": Case(
        GatedPixelCNN(
            image(2, 2, 1, 3),
            num_classes=2,
            vector=2,
            maps=(image(1, 2, 1, 3),),
            reader=MapReader(4, 1, 1, embedding=2),
            features=4,
            **SMALL,
        ),
        GatedPixelCNN(
            image(2, 4, 2, 3),
            maps=(Event((1, 2, 1), 5), Event((2, 4, 2))),
            reader=MapReader(4, 1, 2),
            features=4,
            **SMALL,
        ),
        option=True,
    ),
    "pixel_cnn": Case(
        PixelCNN(image(3, 4, 1, 2), depth=1, features=6, first_kernel=3, head_features=12),
        PixelCNN(image(7, 8, 1, 3), depth=2, features=6, first_kernel=5, head_features=12),
    ),
    "pixel_cnn_colour": Case(
        PixelCNN(image(1, 2, 3, 3), depth=1, features=6, first_kernel=3, head_features=12),
        PixelCNN(image(4, 4, 3, 4), depth=1, features=6, first_kernel=3, head_features=12),
        option=True,
    ),
    "pixel_rnn_row": Case(
        RowLSTM(image(3, 3, 1, 2), features=3, **TINY_RNN),
        RowLSTM(image(4, 7, 1, 3), features=3, **TINY_RNN),
    ),
    "pixel_rnn_row_colour": Case(
        RowLSTM(image(1, 2, 3, 3), features=3, **TINY_RNN),
        RowLSTM(image(3, 5, 3, 4), features=6, kernel=5, **{**TINY_RNN, "first_kernel": 5}),
        option=True,
    ),
    "pixel_rnn_diagonal": Case(
        DiagonalBiLSTM(image(3, 3, 1, 2), features=3, **TINY_RNN),
        DiagonalBiLSTM(image(4, 5, 1, 3), features=3, **TINY_RNN),
    ),
    "pixel_rnn_diagonal_colour": Case(
        DiagonalBiLSTM(image(1, 2, 3, 3), features=3, **TINY_RNN),
        DiagonalBiLSTM(image(3, 4, 3, 4), features=6, **TINY_RNN),
        option=True,
    ),
    "pixel_cnn_pp": Case(
        PixelCNNPP(image(2, 4, 1, 2), resolutions=2, **TINY),
        PixelCNNPP(image(8, 4, 1, 5), resolutions=3, **TINY),
    ),
    "pixel_cnn_pp_colour": Case(
        PixelCNNPP(image(1, 2, 3, 3), resolutions=1, **TINY),
        PixelCNNPP(image(4, 6, 3, 4), resolutions=2, **TINY),
        option=True,
    ),
    "pixel_cnn_pp_conditional": Case(
        PixelCNNPP(image(2, 2, 1, 3), num_classes=3, resolutions=2, **TINY),
        PixelCNNPP(image(2, 4, 3, 2), num_classes=3, resolutions=2, **TINY),
        option=True,
    ),
    "pixel_cnn_pp_maps": Case(
        PixelCNNPP(
            image(2, 2, 1, 3),
            num_classes=2,
            maps=(image(2, 1, 1, 4),),
            reader=MapReader(4, 1, 2, embedding=2),
            resolutions=1,
            **TINY,
        ),
        PixelCNNPP(
            image(4, 4, 3, 4),
            maps=(image(2, 2, 3, 4), Event((4, 4, 2))),
            reader=MapReader(4, 1, 2),
            resolutions=2,
            **TINY,
        ),
    ),
    "pixel_cnn_pp_softmax": Case(
        PixelCNNPP(image(2, 2, 1, 3), resolutions=2, **{**TINY, "mixtures": None}),
        PixelCNNPP(image(4, 6, 1, 3), resolutions=2, skips=False, **{**TINY, "mixtures": None}),
        option=True,
    ),
    "pixel_cnn_pp_scanned": Case(
        PixelCNNPP(image(2, 2, 1, 3), resolutions=2, scan=True, **{**TINY, "resnets": 2}),
        PixelCNNPP(image(4, 4, 1, 3), resolutions=2, scan=True, **{**TINY, "resnets": 2}),
        option=True,
    ),
    "pixel_cnn_pp_one_stream": Case(
        PixelCNNPP(image(4, 2, 1, 3), resolutions=2, two_streams=False, **TINY),
        PixelCNNPP(image(6, 6, 1, 3), resolutions=2, two_streams=False, **TINY),
        option=True,
    ),
    "pixel_snail": Case(
        PixelSNAIL(image(3, 4, 1, 2), **TINY_SNAIL),
        PixelSNAIL(image(5, 7, 1, 5), **TINY_SNAIL),
    ),
    "pixel_snail_colour": Case(
        PixelSNAIL(image(1, 2, 3, 3), num_classes=3, **{**TINY_SNAIL, "blocks": 1}),
        PixelSNAIL(image(4, 3, 3, 4), num_classes=3, **{**TINY_SNAIL, "blocks": 1}),
        option=True,
    ),
    "pixel_snail_embedding": Case(
        PixelSNAIL(image(2, 2, 1, 3), embedding=2, **{**TINY_SNAIL, "mixtures": None}),
        PixelSNAIL(image(3, 5, 1, 4), embedding=3, **{**TINY_SNAIL, "mixtures": None}),
        option=True,
    ),
    "pixel_transformer": Case(
        PixelTransformer(image(2, 3, 1, 3), 4), PixelTransformer(image(3, 4, 1, 4), 4)
    ),
    "lm_conv": Case(
        LMConv(image(2, 4, 1, 2), order=SCurve(5), **TINY_LOCAL),
        LMConv(image(4, 5, 1, 5), order=Shuffled(0), **TINY_LOCAL),
    ),
    "lm_conv_colour": Case(
        LMConv(image(1, 2, 3, 3), mixtures=2, features=4, resnets=0),
        LMConv(image(4, 4, 3, 4), order=Hilbert(1), mixtures=2, features=4, resnets=0),
        option=True,
    ),
    "sparse_transformer": Case(
        SparseTransformer(image(2, 2, 1, 3), (Strided(2), Local(2)), layers=2, **TINY_SPARSE),
        SparseTransformer(image(3, 2, 2, 4), (Strided(3), Local(3)), layers=4, **TINY_SPARSE),
    ),
    "sparse_transformer_text": Case(
        SparseTransformer(tokens(4, 3), (Fixed(2, 1),), layers=2, **TINY_SPARSE),
        SparseTransformer(tokens(13, 4), (Fixed(4, 2), Dense()), layers=2, **TINY_SPARSE),
        option=True,
    ),
    "image_gpt": Case(
        ImageGPT(image(2, 2, 1, 3), layers=2, features=4, heads=2),
        ImageGPT(image(3, 2, 2, 4), layers=2, features=4, heads=1),
    ),
    "image_transformer": Case(
        ImageTransformer(image(2, 2, 1, 3), Local2D(1, 2, 1, 1), layers=1, **TINY_IMAGE),
        ImageTransformer(image(4, 2, 3, 4), Local1D(2, 2), mixtures=2, layers=1, **TINY_IMAGE),
    ),
    "image_transformer_mixture": Case(
        ImageTransformer(image(1, 2, 3, 2), Local1D(1, 1), mixtures=2, layers=1, **TINY_IMAGE),
        ImageTransformer(image(4, 4, 2, 3), Local2D(2, 2, 1, 1), layers=1, **TINY_IMAGE),
        option=True,
    ),
    "dist_aug": Case(
        DistAug(
            image(2, 2, 1, 3),
            ImageGPT(image(2, 2, 1, 3), layers=1, features=4, heads=1),
            (Rotation(),),
        ),
        DistAug(
            image(2, 3, 2, 3),
            SparseTransformer(image(2, 3, 2, 3), (Local(3),), layers=1, **TINY_SPARSE),
            (ColourPermutation(), Reversal()),
        ),
    ),
    "wavenet": Case(
        WaveNet(sound(4, 3), cycles=1, depth=2, **TINY_WAVE),
        WaveNet(sound(21, 5), cycles=2, depth=3, **TINY_WAVE),
    ),
    "wavenet_mixture_conditional": Case(
        WaveNet(sound(4, 3), num_classes=3, cycles=1, depth=1, kernel=3, mixtures=2, **TINY_WAVE),
        WaveNet(sound(17, 6), num_classes=3, cycles=1, depth=2, kernel=3, mixtures=2, **TINY_WAVE),
    ),
    "wavenet_given": Case(
        WaveNet(sound(4, 3), num_classes=2, codes=(tokens(2, 4),), cycles=1, depth=1, **TINY_WAVE),
        WaveNet(
            sound(12, 5),
            local=2,
            hop=5,
            codes=(tokens(3, 4), Event((6, 2), 3)),
            cycles=1,
            depth=2,
            **TINY_WAVE,
        ),
        option=True,
    ),
    "rnn": Case(RNN(image(2, 2, 1, 3), features=5, depth=1), RNN(image(3, 3, 1, 2), features=6)),
    "rnn_nade": Case(
        RNNNADE(Event((2, 3), 2), features=3, hidden=4),
        RNNNADE(Event((4, 3), 2), features=5, hidden=6, cell="lstm", carry=True),
    ),
    "rnn_nade_levels": Case(
        RNNNADE(Event((2, 2), 3), features=3, hidden=4, cell="gru"),
        RNNNADE(image(3, 2, 2, 4), features=5, hidden=6),
        option=True,
    ),
    "lstm": Case(LSTM(image(1, 2, 3, 2), features=4), LSTM(image(2, 3, 3, 4), features=6, depth=3)),
    "lstm_text": Case(LSTM(tokens(4, 4), features=5, carry=True), option=True),
    "gru": Case(GRU(binary(6), features=4), GRU(image(3, 4, 1, 5), features=6)),
}

FLOAT32 = ("gated_pixel_cnn", "nade", "lstm")


def of_systems(in_float32: bool = False) -> list:
    """Parameters for the laws that all models share; options, and `in_float32` most cases, are marked slow."""
    return [
        pytest.param(
            case,
            id=name,
            marks=[pytest.mark.slow] if case.option or (in_float32 and name not in FLOAT32) else [],
        )
        for name, case in CASES.items()
    ]


def build(model: Any, seed: int = 0, scale: float = 0.4) -> tuple[Functional, dict]:
    """Pure functions and variables of seeded noise, so that no leaf has its initial value; gains lie around 1."""
    pure, rng = functional(model), np.random.default_rng(seed)
    x = jnp.zeros((2, *model.event.shape), jnp.int32)
    shapes = dict(jax.eval_shape(pure.init, jax.random.key(seed), x, cond=conditions(model, 2)))
    shapes.pop("carry", None)  # belongs to the rows of a batch

    def moved(path, leaf):
        names = [entry.key for entry in path]
        noise = scale * rng.normal(size=leaf.shape)
        if names[0] == "counts":
            noise = 10 * np.abs(noise)
        if names[-1] in ("var", "variance", "shares"):
            noise = 0.1 + np.abs(noise)
        if names[0] == "constants":
            noise = np.argsort(noise) if names[-1] == "order" else np.sign(noise)
        return jnp.asarray(noise + (names[-1] == "scale"), jnp.result_type(float))

    return pure, jax.tree_util.tree_map_with_path(moved, shapes)


def conditions(model: Any, n: int) -> Any:
    """All classes in turn, and random values of the model's other conditions; None without any."""
    return jax.tree.map(jnp.asarray, drawn(model, n))


def random_events(model: Any, n: int, seed: int = 0) -> jax.Array:
    return jax.random.randint(jax.random.key(seed), (n, *model.event.shape), 0, model.event.levels)


def all_events(model: Any) -> np.ndarray:
    values = itertools.product(range(model.event.levels), repeat=model.event.size)
    return np.array(list(values), np.int32).reshape(-1, *model.event.shape)
