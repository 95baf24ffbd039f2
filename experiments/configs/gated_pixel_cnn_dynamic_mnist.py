"""Gated PixelCNN on dynamically binarised MNIST (28x28, 2 levels), the size of a public reproduction.

Command: gen-jax train experiments/configs/gated_pixel_cnn_dynamic_mnist.py
Hardware: one accelerator, hours
Published: 81.50 nats, 457 epochs (EugenHotaj/pytorch-generative); the paper has no number on MNIST
Expected: 81.5 nats, exact; not run here

Deviations from github.com/EugenHotaj/pytorch-generative: no 1x1 of a layer's input beside its vertical convolution; the
weights are averaged and the best checkpoint is chosen on 10,000 training images (there all 60,000 are trained on).
"""

from gen_jax import GatedPixelCNN, image
from gen_jax.experiment import Data, Evaluate, Experiment
from gen_jax.optimizer import Adam, ExponentialDecay

EPOCH = 50_000 // 128


def experiment() -> Experiment:
    """10 layers of 128 features, 32 in the head, rate 1e-3 with a decay of 0.9999 a step, of nats an example."""
    return Experiment(
        model=GatedPixelCNN(image(28, 28, levels=2), depth=10, features=128, head_features=32),
        data=Data("dynamic_mnist"),
        optimizer=Adam(ExponentialDecay(1e-3, 0.9999), unit="example"),
        steps=457 * EPOCH,
        batch_size=128,
        evaluate=Evaluate(every=10 * EPOCH, batch_size=128),
    )
