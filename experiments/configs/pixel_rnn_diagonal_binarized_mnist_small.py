"""Diagonal BiLSTM on fixed-binarised MNIST (28x28, 2 levels), small enough for a quarter of an hour on two cores.

Command: gen-jax train experiments/configs/pixel_rnn_diagonal_binarized_mnist_small.py
Hardware: 2 CPU cores, about 15 minutes (25 if shared)
Published: 79.20 nats (van den Oord et al. 2016, 1601.06759, table 4), of seven layers and a budget far larger
Expected: 86.36 nats on test, exact; independent pixels need about 206
"""

from gen_jax import DiagonalBiLSTM, image
from gen_jax.experiment import Data, Evaluate, Experiment
from gen_jax.optimizer import Adam, WarmupCosine

STEPS = 3000


def experiment() -> Experiment:
    """Three layers of 16 features (the stream has 32), 32 in the head."""
    return Experiment(
        model=DiagonalBiLSTM(image(28, 28, levels=2), depth=3, features=16, head_features=32),
        data=Data("binarized_mnist"),
        optimizer=Adam(WarmupCosine(5e-3, 100, STEPS), clip_norm=1.0),
        steps=STEPS,
        batch_size=16,
        ema=0.995,
        evaluate=Evaluate(every=500, batch_size=100, examples=2000),
    )
