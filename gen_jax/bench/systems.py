"""The networks that the benchmarks measure.

They have 64 features (66 if three channels share them), NADE 500 hidden units, MADE 8,000, recurrent networks two
layers of 128 cells; images have 256 levels unless the name says otherwise.
"""

from typing import Any

import jax
from jaxtyping import Array, Int

from gen_jax.conditions import zeros
from gen_jax.density import functional, root_key
from gen_jax.models.autoregressive.gated_pixel_cnn import GatedPixelCNN
from gen_jax.models.autoregressive.image_gpt import ImageGPT
from gen_jax.models.autoregressive.image_transformer import ImageTransformer, Local1D, Local2D
from gen_jax.models.autoregressive.lm_conv import LMConv
from gen_jax.models.autoregressive.made import MADE
from gen_jax.models.autoregressive.nade import NADE
from gen_jax.models.autoregressive.pixel_cnn import PixelCNN
from gen_jax.models.autoregressive.pixel_cnn_pp import PixelCNNPP
from gen_jax.models.autoregressive.pixel_rnn import DiagonalBiLSTM, RowLSTM
from gen_jax.models.autoregressive.pixel_snail import PixelSNAIL
from gen_jax.models.autoregressive.recurrent import GRU, LSTM, RNN
from gen_jax.models.autoregressive.rnn_nade import RNNNADE
from gen_jax.models.autoregressive.sparse_transformer import SparseTransformer
from gen_jax.models.autoregressive.wavenet import WaveNet
from gen_jax.models.diffusion.vdm import VDM, VDMSampler
from gen_jax.models.flow.dequantizers import UniformDequantizer
from gen_jax.models.flow.ffjord import ImageFFJORD
from gen_jax.models.flow.flow_pp import FlowPP
from gen_jax.models.flow.glow import Glow
from gen_jax.models.flow.tar_flow import TarFlow
from gen_jax.nn.conditioning import MapReader
from gen_jax.nn.unet import UNet
from gen_jax.ops.orders import Shuffled
from gen_jax.ops.patterns import Dense, Local, Strided
from gen_jax.typing import Event, Variables, image, sound, tokens

GREY, COLOUR = image(28, 28), image(32, 32, channels=3)
MODELS = {
    "gated_pixel_cnn 28x28 grey, 2 levels": GatedPixelCNN(image(28, 28, levels=2), depth=5),
    "gated_pixel_cnn 28x28 grey": GatedPixelCNN(GREY, depth=5),
    "gated_pixel_cnn 32x32 colour": GatedPixelCNN(COLOUR, features=66, head_features=66, depth=5),
    "pixel_cnn 28x28 grey": PixelCNN(GREY, features=64, head_features=64, depth=5),
    "pixel_cnn 32x32 colour": PixelCNN(COLOUR, features=66, head_features=66, depth=5),
    "nade 28x28 grey, 2 levels": NADE(image(28, 28, levels=2), order_seed=0),
    "made 28x28 grey, 2 levels": MADE(image(28, 28, levels=2), hidden=(8000,), order_seed=0),
    "pixel_cnn_pp 28x28 grey": PixelCNNPP(GREY, features=64, resnets=2),
    "pixel_cnn_pp 32x32 colour": PixelCNNPP(COLOUR, features=64, resnets=2),
    "pixel_cnn_pp 32x32 colour, given a grey image": PixelCNNPP(
        COLOUR, features=64, resnets=2, maps=(image(32, 32, 1, 16),), reader=MapReader(embedding=16)
    ),
    "pixel_rnn_row 28x28 grey": RowLSTM(GREY, features=64, head_features=64, depth=3),
    "pixel_rnn_row 32x32 colour": RowLSTM(COLOUR, features=66, head_features=66, depth=3),
    "pixel_rnn_diagonal 28x28 grey": DiagonalBiLSTM(GREY, features=64, head_features=64, depth=3),
    "pixel_snail 28x28 grey": PixelSNAIL(GREY, features=64, blocks=2),
    "lm_conv 28x28 grey, S-curve": LMConv(GREY, features=64, resnets=2),
    "lm_conv 28x28 grey, random order": LMConv(GREY, features=64, resnets=2, order=Shuffled(0)),
    "sparse_transformer 28x28 grey": SparseTransformer(
        GREY, (Strided(28), Local(28)), layers=4, features=64, key_features=32, inner=128
    ),
    "sparse_transformer 32x32 colour": SparseTransformer(
        COLOUR, (Strided(96), Local(96)), layers=4, features=64, key_features=32, inner=128
    ),
    "sparse_transformer 28x28 grey, dense": SparseTransformer(
        GREY, (Dense(),), layers=4, features=64, key_features=32, inner=128
    ),
    "image_gpt 28x28 grey": ImageGPT(GREY, layers=4, features=64, heads=2),
    "image_transformer 28x28 grey, 2D": ImageTransformer(
        GREY, Local2D(7, 14, above=7, side=7), layers=4, features=64, heads=2, inner=128
    ),
    "image_transformer 32x32 colour, 1D, mixture": ImageTransformer(
        COLOUR, Local1D(128, 128), mixtures=10, layers=4, features=64, heads=2, inner=128
    ),
    "wavenet 1,024 samples": WaveNet(sound(1024), cycles=2, depth=9, features=64),
    "wavenet 1,024 samples, given 64 codes": WaveNet(
        sound(1024), cycles=2, depth=9, features=64, codes=(tokens(64, 512),)
    ),
    "rnn 28x28 grey": RNN(GREY),
    "lstm 28x28 grey": LSTM(GREY),
    "gru 28x28 grey": GRU(GREY),
    "rnn_nade 64 steps of 88 notes": RNNNADE(Event((64, 88), 2)),
    "glow 28x28 grey": Glow(GREY, scales=2, depth=4, width=64),
    "vdm 28x28 grey, 50 steps": VDM(
        GREY,
        UNet(64, (1,), blocks=4, attention=(), dropout=0.0, zero_time=True),
        sampler=VDMSampler(50),
    ),
    "tar_flow 28x28 grey": TarFlow(GREY, blocks=4, layers=2, features=64, heads=2),
    "ffjord 28x28 grey": ImageFFJORD(GREY, hidden=(64, 64)),
    "flow_pp 28x28 grey": FlowPP(
        GREY, features=32, blocks=2, components=8, dequantizer=UniformDequantizer()
    ),
}


def drawn(model: Any, batch: int) -> Int[Array, "batch *event"]:
    """A batch of uniform noise."""
    return jax.random.randint(root_key(0), (batch, *model.event.shape), 0, model.event.levels)


def initial(model: Any) -> Variables:
    """The initial variables of a model."""
    return jax.jit(functional(model).init)(root_key(0), drawn(model, 2), zeros(model, 2))


def size(variables: Variables) -> int:
    """The number of parameters in the variables."""
    return sum(leaf.size for leaf in jax.tree.leaves(variables))
