"""Classifier of scikit-learn's digits (8x8, 17 levels), on whose features distances are taken.

Command: gen-jax train experiments/configs/classifier_digits.py
Hardware: 2 CPU cores, about 15 seconds
Expected: 98 % of the validation images correct
"""

from gen_jax import Classifier, image
from gen_jax.experiment import Data, Evaluate, Experiment
from gen_jax.nn.encoders import ConvEncoder
from gen_jax.optimizer import Adam, WarmupCosine

STEPS = 2000


def experiment() -> Experiment:
    """With only 1,079 images, dropout guards against overfitting."""
    return Experiment(
        model=Classifier(image(8, 8, levels=17), 10, ConvEncoder((16, 32)), hidden=64),
        data=Data("digits"),
        optimizer=Adam(WarmupCosine(2e-3, 50, STEPS)),
        steps=STEPS,
        batch_size=64,
        ema=0.99,
        evaluate=Evaluate(every=200, batch_size=360),
    )
