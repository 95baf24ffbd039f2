"""PixelCNN with a grey image of 16 levels as auxiliary variable, on CIFAR-10 (32x32 colour, 256 levels).

Command: gen-jax train experiments/configs/pixel_cnn_gray_cifar10.py
Hardware: 8 accelerators, days; the paper does not say how long
Published: <= 2.98 bits/dim on test (Kolesnikov and Lampert 2017, 1612.08185, table 1)
Expected: 2.98 bits/dim, a bound; not run here

127,411,048 parameters by our count; the paper gives neither it nor the depths. Both parts have the network and the
settings of PixelCNN++, as the paper says; the network that reads the grey image has the depth of the authors' pyramid.
45,000 of the 50,000 training images.
"""

import dataclasses

from pixel_cnn_pp_cifar10 import experiment as in_one_part

from gen_jax import MapReader, PixelCNNGray, PixelCNNPP, image
from gen_jax.experiment import Experiment


def experiment() -> Experiment:
    """The second part embeds the levels of the first."""
    whole = in_one_part()
    view, event = image(32, 32, levels=16), whole.model.event
    reader = MapReader(features=160, resnets=2, embedding=16)
    networks = (
        PixelCNNPP(view, mixtures=None),
        PixelCNNPP(event, maps=(view,), reader=reader),
    )
    return dataclasses.replace(whole, model=PixelCNNGray(event, networks))
