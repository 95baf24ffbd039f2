"""PixelCNN pyramid of 8x8, 16x16 and 32x32 pixels, averaged, on CIFAR-10 (32x32 colour, 256 levels).

Command: gen-jax train experiments/configs/pixel_cnn_pyramid_cifar10.py
Hardware: one accelerator, about a day
Published: no number for these images; the paper's pyramid is of 128x128 faces (Kolesnikov and Lampert 2017, 1612.08185)
Expected: a bound above 2.98 bits/dim; not run here

25,224,800 parameters by our count. 100 features, three residual networks on each way and ten logistics, as in the
authors' code; the smallest image has the same network. Optimiser of PixelCNN++. 45,000 of the 50,000 training images.
"""

import dataclasses

from pixel_cnn_pp_cifar10 import experiment as in_one_part

from gen_jax import MapReader, PixelCNNPP, PixelCNNPyramid, image
from gen_jax.experiment import Experiment


def experiment() -> Experiment:
    """The networks have one resolution; those that read an image have three."""
    small, middle, event = (image(side, side, 3) for side in (8, 16, 32))
    sizes = {"features": 100, "resnets": 3, "resolutions": 1}
    reader = MapReader(features=100, resnets=2)
    networks = (
        PixelCNNPP(small, **sizes),
        PixelCNNPP(middle, maps=(small,), reader=reader, **sizes),
        PixelCNNPP(event, maps=(middle,), reader=reader, **sizes),
    )
    return dataclasses.replace(in_one_part(), model=PixelCNNPyramid(event, networks))
