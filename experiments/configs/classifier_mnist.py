"""Classifier of MNIST (28x28, 256 levels), on whose features distances are taken.

Command: gen-jax train experiments/configs/classifier_mnist.py
Hardware: 2 CPU cores
"""

from gen_jax import Classifier, image
from gen_jax.experiment import Data, Evaluate, Experiment
from gen_jax.nn.encoders import ConvEncoder
from gen_jax.optimizer import Adam, WarmupCosine

STEPS = 3000


def experiment() -> Experiment:
    """About three passes over the training images."""
    return Experiment(
        model=Classifier(image(28, 28), 10, ConvEncoder((16, 32)), hidden=64),
        data=Data("mnist"),
        optimizer=Adam(WarmupCosine(2e-3, 50, STEPS)),
        steps=STEPS,
        batch_size=64,
        ema=0.99,
        evaluate=Evaluate(every=500, batch_size=500, examples=2000),
    )
