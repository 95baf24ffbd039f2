"""Gated PixelCNN on CIFAR-10 (32x32 colour, 256 levels).

Command: gen-jax train experiments/configs/gated_pixel_cnn_cifar10.py
Hardware: one accelerator, days; the paper's ImageNet network took 32 GPUs for 60 hours
Published: 3.03 bits/dim on test (van den Oord et al. 2016, 1606.05328, table 1)
Expected: 3.03 bits/dim, exact; not run here

10,839,006 parameters. The paper gives sizes for ImageNet only (20 layers, 384 features, 5x5), and neither optimiser nor
epsilon. Depth, features and head are those of PixelCNN on CIFAR-10; learning rate, clipping norm (for nats per
dimension) and averaged weights are ours. 45,000 of the 50,000 training images.
"""

from gen_jax import GatedPixelCNN, image
from gen_jax.experiment import Data, Evaluate, Experiment
from gen_jax.optimizer import Adam

EPOCH = 45_000 // 32


def experiment() -> Experiment:
    """15 layers of 129 features with 5x5 kernels, 1,023 features in the head."""
    return Experiment(
        model=GatedPixelCNN(
            image(32, 32, channels=3), depth=15, features=129, kernel=5, head_features=1023
        ),
        data=Data("cifar10"),
        optimizer=Adam(3e-4, clip_norm=1.0),
        steps=200 * EPOCH,
        batch_size=32,
        ema=0.9995,
        evaluate=Evaluate(every=5 * EPOCH, batch_size=128),
    )
