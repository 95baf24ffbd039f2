"""PixelCNN with a grey image of 16 levels first, on CIFAR-10 (32x32 colour), small: half an hour on two cores.

Command: gen-jax train experiments/configs/pixel_cnn_gray_cifar10_small.py
Hardware: 2 CPU cores, about half an hour
Published: <= 2.98 bits/dim on test (Kolesnikov and Lampert 2017, 1612.08185, table 1), with a large network
Expected: a bound on validation (the last 5,000 training images); not run yet
"""

import dataclasses

from pixel_cnn_pp_cifar10_small import experiment as in_one_part

from gen_jax import GatedPixelCNN, MapReader, PixelCNNGray, image
from gen_jax.experiment import Experiment


def experiment() -> Experiment:
    """A gated PixelCNN of the grey image; given it, the network of pixel_cnn_pp_cifar10_small."""
    whole = in_one_part()
    view = image(32, 32, levels=16)
    grey = GatedPixelCNN(view, depth=4, features=32, head_features=64)
    reader = MapReader(features=24, resnets=1, embedding=8)
    colour = whole.model.clone(maps=(view,), reader=reader)
    model = PixelCNNGray(whole.model.event, (grey, colour))
    return dataclasses.replace(whole, model=model)
