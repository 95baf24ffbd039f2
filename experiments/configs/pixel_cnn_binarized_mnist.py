"""PixelCNN on fixed-binarised MNIST (28x28, 2 levels), with the paper's protocol and the size of reproductions.

Command: gen-jax train experiments/configs/pixel_cnn_binarized_mnist.py
Hardware: one accelerator, hours
Published: 81.30 nats (van den Oord et al. 2016, 1601.06759, table 4)
Expected: 81.3 nats, exact; not run here

The paper gives no sizes for MNIST, and neither rate nor epsilon of RMSProp: those and the averaged weights are ours.
"""

from gen_jax import PixelCNN, image
from gen_jax.experiment import Data, Evaluate, Experiment
from gen_jax.optimizer import RMSProp

EPOCH = 50_000 // 16


def experiment() -> Experiment:
    """15 blocks of 16 features (32 in the residual stream), 32 in the head, RMSProp, batch 16."""
    return Experiment(
        model=PixelCNN(image(28, 28, levels=2), depth=15, features=16, head_features=32),
        data=Data("binarized_mnist"),
        optimizer=RMSProp(1e-3),
        steps=100 * EPOCH,
        batch_size=16,
        evaluate=Evaluate(every=5 * EPOCH, batch_size=100),
    )
