"""Sparse Transformer on CIFAR-10 (32x32 colour, 256 levels), the network of the paper: 59,196,928 parameters.

Command: gen-jax train experiments/configs/sparse_transformer_cifar10.py
Hardware: 8 accelerators, two images on each
Published: 2.80 bits/dim on test (Child et al. 2019, 1904.10509, table 1)
Expected: 2.80 bits/dim, exact; not run here

The paper's training code is not public, so sizes and optimiser are those of later code by some of the authors.
Deviations from github.com/openai/distribution_augmentation: float32 (half precision with a scaled loss there); 45,000
training images (48,000 there, the others for validation); the average of the weights warms up.
"""

from gen_jax import Local, SparseTransformer, Strided, image
from gen_jax.experiment import Data, Evaluate, Experiment
from gen_jax.optimizer import Adam, WarmupCosine

EPOCH = 45_000 // 16


def experiment() -> Experiment:
    """One strided and three local layers in turn, l = 96 sub-pixels (a row); 120 epochs, batch 16, dropout 0.25."""
    return Experiment(
        model=SparseTransformer(
            image(32, 32, channels=3),
            patterns=(Strided(96), Local(96), Local(96), Local(96)),
            layers=128,
            features=256,
            heads=2,
            key_features=128,
            inner=512,
            dropout=0.25,
            remat=True,
        ),
        data=Data("cifar10"),
        optimizer=Adam(
            WarmupCosine(3.5e-4, 15_000, 120 * EPOCH),
            clip_norm=1.0,
            weight_decay=0.01,
            decay="matrices",
        ),
        steps=120 * EPOCH,
        batch_size=16,
        ema=0.999,
        evaluate=Evaluate(every=5 * EPOCH, batch_size=16),
    )
