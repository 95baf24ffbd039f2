"""Gated PixelCNN on dynamically binarised MNIST (28x28, 2 levels), with the size of a public reproduction.

Command: gen-jax train experiments/configs/gated_pixel_cnn_dynamic_mnist.py
Hardware: one accelerator, hours
Published: 81.50 nats, 457 epochs (EugenHotaj/pytorch-generative); the paper has no number on MNIST
Expected: 81.5 nats, exact; not run here

Deviations from github.com/EugenHotaj/pytorch-generative: no 1x1 convolution of a layer's input is added to its vertical
convolution; weights are averaged; the best checkpoint is chosen on 10,000 of the 60,000 training images (all are
trained on there).
"""

from gen_jax import GatedPixelCNN, image
from gen_jax.experiment import Data, Evaluate, Experiment
from gen_jax.optimizer import Adam, ExponentialDecay

EPOCH = 50_000 // 128


def experiment() -> Experiment:
    """10 layers of 128 features, 32 in the head; learning rate 1e-3, times 0.9999 per step; unit nats per example."""
    return Experiment(
        model=GatedPixelCNN(image(28, 28, levels=2), depth=10, features=128, head_features=32),
        data=Data("dynamic_mnist"),
        optimizer=Adam(ExponentialDecay(1e-3, 0.9999), unit="example"),
        steps=457 * EPOCH,
        batch_size=128,
        evaluate=Evaluate(every=10 * EPOCH, batch_size=128),
    )
