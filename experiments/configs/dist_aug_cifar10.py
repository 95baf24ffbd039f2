"""Distribution augmentation on CIFAR-10 (32x32 colour, 256 levels), the paper's large network: 151,630,336 parameters.

Command: gen-jax train experiments/configs/dist_aug_cifar10.py
Hardware: accelerators
Published: 2.56 bits/dim on test (Jun et al. 2020)
Expected: 2.56 bits/dim, exact; not run here
"""

from gen_jax import DistAug, Local, SparseTransformer, Strided, image
from gen_jax.experiment import Data, Evaluate, Experiment
from gen_jax.optimizer import Adam, WarmupCosine

EPOCH = 45_000 // 128


def experiment() -> Experiment:
    """Rotation, transposition, colours and jigsaw; 151,612,416 parameters are the network's with one start vector."""
    event, steps = image(32, 32, channels=3), 500 * EPOCH
    base = SparseTransformer(
        event,
        patterns=(Local(96), Strided(96), Local(96), Local(96)),
        layers=48,
        features=512,
        heads=16,
        key_features=512,
        inner=2048,
        dropout=0.05,
        remat=True,
    )
    return Experiment(
        model=DistAug(event, base),
        data=Data("cifar10"),
        optimizer=Adam(
            WarmupCosine(4e-4, 5 * EPOCH, steps), clip_norm=1.0, weight_decay=0.01, decay="matrices"
        ),
        steps=steps,
        batch_size=128,
        ema=0.999,
        evaluate=Evaluate(every=10 * EPOCH, batch_size=64),
    )
