"""The PixelCNN story: PixelCNN, Gated PixelCNN, PixelCNN++ and PixelCNN++ with one change each, on two data sets.

Command: gen-jax train experiments/ablations/pixel_cnn_story.py:no_skips_digits

An experiment is named VARIANT_DATASET. The three networks have about equal cost per step. On a data set the variants
differ only in `model`; `CHANGES` has the difference from PixelCNN++.
"""

from gen_jax import Event, GatedPixelCNN, PixelCNN, PixelCNNPP, image
from gen_jax.experiment import Data, Evaluate, Experiment, replace
from gen_jax.optimizer import Adam, WarmupCosine

DROPOUT = 0.3
DIGITS_STEPS, MNIST_STEPS = 1000, 300
# pixel_cnn: one stack with a blind spot, softmax; gated_pixel_cnn: two gated stacks; pixel_cnn_pp: two streams,
# strides, skips, dropout, mixture of logistics; no_strides: equally many residual networks, all at full resolution.
CHANGES = {
    "pixel_cnn": "model",
    "gated_pixel_cnn": "model",
    "pixel_cnn_pp": "none",
    "softmax": "model.mixtures=None",
    "one_stream": "model.two_streams=False",
    "no_skips": "model.skips=False",
    "no_strides": "model.resnets=4 model.resolutions=1",
    "no_dropout": "model.dropout=0.0",
}
DATASETS = {"digits": image(8, 8, levels=17), "mnist": image(28, 28)}


def experiments() -> dict[str, Experiment]:
    """Every variant on both data sets."""
    return {f"{name}_{data}": variant(name, data) for name in CHANGES for data in DATASETS}


def variant(name: str, dataset: str) -> Experiment:
    """PixelCNN, Gated PixelCNN, or PixelCNN++ with its change."""
    budget, networks = {"digits": digits, "mnist": mnist}[dataset], (pixel_cnn, gated_pixel_cnn)
    if CHANGES[name] == "model":
        return budget({network.__name__: network for network in networks}[name](DATASETS[dataset]))
    experiment = budget(pixel_cnn_pp(DATASETS[dataset]))
    for change in CHANGES[name].split() if CHANGES[name] != "none" else ():
        experiment = replace(experiment, change)
    return experiment


def digits(model: PixelCNN | GatedPixelCNN | PixelCNNPP) -> Experiment:
    """About 15 epochs of 1,079 training images, so that overfitting is visible; validation on all 359 images."""
    return Experiment(
        model=model,
        data=Data("digits"),
        optimizer=Adam(WarmupCosine(3e-3, 50, DIGITS_STEPS), b2=0.99, clip_norm=1.0),
        steps=DIGITS_STEPS,
        batch_size=16,
        ema=0.99,
        evaluate=Evaluate(every=100, batch_size=360),
    )


def mnist(model: PixelCNN | GatedPixelCNN | PixelCNNPP) -> Experiment:
    """Far less than one epoch, to compare what is learnt fast; validation on the first 200 images."""
    return Experiment(
        model=model,
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
    """A network of six gated layers."""
    return GatedPixelCNN(event, depth=6, features=28, head_features=64, dropout=DROPOUT)


def pixel_cnn_pp(event: Event) -> PixelCNNPP:
    """Eight residual networks in three resolutions."""
    return PixelCNNPP(event, features=16, resnets=1, mixtures=5, dropout=DROPOUT)
