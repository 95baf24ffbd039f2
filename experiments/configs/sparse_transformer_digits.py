"""Sparse Transformer on scikit-learn's digits (8x8, 17 levels), strided and local attention in turn.

Command: gen-jax train experiments/configs/sparse_transformer_digits.py
Hardware: 2 CPU cores, about three minutes
Expected: 1.804 bits/dim on test, exact (mean of three seeds)
"""

from gen_jax import Local, SparseTransformer, Strided, image
from gen_jax.experiment import Data, Evaluate, Experiment
from gen_jax.optimizer import Adam, WarmupCosine

STEPS = 2000


def experiment() -> Experiment:
    """A window of two rows and a stride of one row; dropout and weight decay against overfitting to 1,079 images."""
    return Experiment(
        model=SparseTransformer(
            image(8, 8, levels=17),
            patterns=(Local(16), Strided(8)),
            layers=8,
            features=48,
            heads=4,
            key_features=48,
            inner=96,
            dropout=0.1,
        ),
        data=Data("digits"),
        optimizer=Adam(
            WarmupCosine(4e-3, 100, STEPS),
            b2=0.99,
            clip_norm=1.0,
            weight_decay=0.2,
            decay="matrices",
        ),
        steps=STEPS,
        batch_size=16,
        ema=0.99,
        evaluate=Evaluate(every=100, batch_size=360),
    )
