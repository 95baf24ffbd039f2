"""Sparse Transformer on MNIST (28x28, 256 levels): eight layers, one strided by a row and three local in turn.

Command: gen-jax train experiments/configs/sparse_transformer_mnist.py
Hardware: 2 CPU cores, about half an hour (72 minutes if shared)
Expected: 0.976 bits/dim on test, exact; the PixelCNN++ of `pixel_cnn_pp_mnist.py` has 1.125
"""

from gen_jax import Local, SparseTransformer, Strided, image
from gen_jax.experiment import Data, Evaluate, Experiment
from gen_jax.optimizer import Adam, WarmupCosine

STEPS = 1500


def experiment() -> Experiment:
    """The published pattern for rows of 28 pixels, but with a first layer of two pixels."""
    return Experiment(
        model=SparseTransformer(
            image(28, 28),
            patterns=(Local(2), Strided(28), Local(28), Local(28)),
            layers=8,
            features=64,
            heads=2,
            key_features=32,
            inner=128,
            dropout=0.0,
        ),
        data=Data("mnist"),
        optimizer=Adam(WarmupCosine(3e-3, 100, STEPS), b2=0.99, clip_norm=1.0),
        steps=STEPS,
        batch_size=16,
        ema=0.99,
        evaluate=Evaluate(every=250, batch_size=100, examples=500),
    )
