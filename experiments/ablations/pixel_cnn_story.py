"""What the ablations have in common: two data sets with their budgets, three networks of about equal cost a step.

Every config of this folder puts one of the networks on one of the data sets, so that only `model` differs.
"""

from collections.abc import Callable
from typing import Any

from gen_jax import Event, GatedPixelCNN, PixelCNN, PixelCNNPP, image
from gen_jax.experiment import Data, Evaluate, Experiment
from gen_jax.train.optimizer import Adam, WarmupCosine

DROPOUT = 0.3
DIGITS_STEPS, MNIST_STEPS = 1000, 300


def digits(network: Callable[..., Any], **changes: Any) -> Experiment:
    """1,079 training images: about 15 epochs, so that overfitting shows; validation on all of its 359."""
    return Experiment(
        model=network(image(8, 8, levels=17), **changes),
        data=Data("digits"),
        optimizer=Adam(WarmupCosine(3e-3, 50, DIGITS_STEPS), b2=0.99, clip_norm=1.0),
        steps=DIGITS_STEPS,
        batch_size=16,
        ema=0.99,
        evaluate=Evaluate(every=100, batch_size=360),
    )


def mnist(network: Callable[..., Any], **changes: Any) -> Experiment:
    """Far less than one epoch: what is learnt fast; validation on the first 200 images."""
    return Experiment(
        model=network(image(28, 28), **changes),
        data=Data("mnist"),
        optimizer=Adam(WarmupCosine(3e-3, 50, MNIST_STEPS), b2=0.99, clip_norm=1.0),
        steps=MNIST_STEPS,
        batch_size=8,
        ema=0.99,
        evaluate=Evaluate(every=100, batch_size=100, examples=200),
    )


def pixel_cnn(event: Event) -> PixelCNN:
    """Seven residual blocks; the model has no dropout."""
    return PixelCNN(event, depth=7, features=28, head_features=64)


def gated_pixel_cnn(event: Event) -> GatedPixelCNN:
    """Six gated layers."""
    return GatedPixelCNN(event, depth=6, features=28, head_features=64, dropout=DROPOUT)


def pixel_cnn_pp(event: Event, **changes: Any) -> PixelCNNPP:
    """Eight residual networks in three resolutions, unless the changes say otherwise."""
    fields = {"features": 16, "resnets": 1, "mixtures": 5, "dropout": DROPOUT}
    return PixelCNNPP(event, **(fields | changes))
