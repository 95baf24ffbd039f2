"""Image Transformer on CIFAR-10 (32x32 colour, 256 levels), the paper's network with a softmax.

Command: gen-jax train experiments/configs/image_transformer_cifar10.py
Hardware: accelerators
Published: 2.90 bits/dim on test (Parmar et al. 2018, 1802.05751)
Expected: 2.90 bits/dim, exact; not run here
"""

from gen_jax import ImageTransformer, image
from gen_jax.experiment import Data, Evaluate, Experiment
from gen_jax.optimizer import Adam, InverseSqrt

EPOCH = 45_000 // 16


def experiment() -> Experiment:
    """12 blocks of 512 features, local in one dimension by blocks of 256 values; total steps are ours."""
    return Experiment(
        model=ImageTransformer(image(32, 32, channels=3), remat=True),
        data=Data("cifar10"),
        optimizer=Adam(InverseSqrt(1.0, 512, 4000), b2=0.98),
        steps=100 * EPOCH,
        batch_size=16,
        evaluate=Evaluate(every=10 * EPOCH, batch_size=16),
    )
