"""Gated PixelCNN on fixed-binarised MNIST (28x28, 2 levels).

Command: gen-jax train experiments/configs/gated_pixel_cnn_binarized_mnist.py
Hardware: 2 CPU cores, about 15 minutes
Published: 81.30 nats, PixelCNN (van den Oord et al. 2016, 1601.06759), with a far larger network and budget
Expected: <= 90 nats on test, exact; independent pixels need about 206
"""

from gen_jax import GatedPixelCNN, image
from gen_jax.experiment import Data, Evaluate, Experiment
from gen_jax.optimizer import Adam, WarmupCosine

STEPS = 6000


def experiment() -> Experiment:
    """Six layers of 32 features: each pixel sees 8 rows above and 8 pixels to either side."""
    return Experiment(
        model=GatedPixelCNN(image(28, 28, levels=2), depth=6, features=32, head_features=64),
        data=Data("binarized_mnist"),
        optimizer=Adam(WarmupCosine(2e-3, 100, STEPS), clip_norm=1.0),
        steps=STEPS,
        batch_size=16,
        ema=0.995,
        evaluate=Evaluate(every=1000, batch_size=100, examples=2000),
    )
