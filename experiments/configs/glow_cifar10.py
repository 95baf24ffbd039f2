"""Glow on CIFAR-10 (32x32 colour, 256 levels), the paper's network: 44,603,604 parameters.

Command: gen-jax train experiments/configs/glow_cifar10.py
Hardware: several accelerators, days; the authors' eight GPUs took about a week
Published: 3.35 bits/dim on test (Kingma and Dhariwal 2018, 1807.03039, table 2), a bound with one draw
Expected: <= 3.35 bits/dim; not run here

Differences from github.com/openai/glow: 1x1 convolutions by LU factors (the matrix itself there, and the determinant in
float64); translations by whole pixels, up to 3 (by 10 % of the side there, also with repeated edges); 45,000 of the
50,000 training images; averaged weights are evaluated (the released loop tests the last ones). There the learning rate
has a further factor sqrt(1 - b2^t), which is 1 after the first epochs, and b2 is 1 - 1 / (steps of an epoch), as here.
Actnorm starts from the first 256 images of the first batch.
"""

from gen_jax import Glow, Translation, image
from gen_jax.experiment import Data, Evaluate, Experiment
from gen_jax.optimizer import Adamax, WarmupConstant

BATCH = 512
EPOCH = 45_000 // BATCH


def experiment() -> Experiment:
    """Three scales of 32 steps with affine couplings of width 512; constant learning rate after ten epochs."""
    return Experiment(
        model=Glow(image(32, 32, channels=3)),
        data=Data("cifar10"),
        optimizer=Adamax(WarmupConstant(1e-3, 10 * EPOCH), b2=1 - 1 / EPOCH),
        steps=1800 * EPOCH,
        batch_size=BATCH,
        init_examples=256,
        augment=(Translation(3),),
        ema=1 - 1 / EPOCH,
        evaluate=Evaluate(every=10 * EPOCH, batch_size=128),
    )
