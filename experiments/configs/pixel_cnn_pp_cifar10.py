"""PixelCNN++ on CIFAR-10 (32x32 colour, 256 levels), the paper's network: 53,659,080 parameters.

Command: gen-jax train experiments/configs/pixel_cnn_pp_cifar10.py
Hardware: 8 accelerators; the authors' 8 Titan X took 10 hours to 3.0 bits/dim and 5 days to 2.92
Published: 2.92 bits/dim on test (Salimans et al. 2017, 1701.05517)
Expected: 2.92 bits/dim, exact; not run here

Deviations from github.com/openai/pixel-cnn: 45,000 of the 50,000 training images, the rest is validation; weights are
initialised on 128 images (16 there); transposed convolutions are normalised after cropping (before cropping there); the
average of the weights warms up.
"""

from gen_jax import PixelCNNPP, image
from gen_jax.experiment import Data, Evaluate, Experiment
from gen_jax.optimizer import Adam, ExponentialDecay

EPOCH = 45_000 // 128


def experiment() -> Experiment:
    """Batch 16 on each of 8 devices, dropout 0.5, no augmentation, learning rate times 0.999995 per step; 1,000 epochs.

    The authors' loss is the sum of nats over the batch, and Adam's epsilon is inside the root.
    """
    return Experiment(
        model=PixelCNNPP(image(32, 32, channels=3)),
        data=Data("cifar10"),
        optimizer=Adam(
            ExponentialDecay(1e-3, 0.999995),
            b1=0.95,
            b2=0.9995,
            eps=0.0,
            eps_root=1e-8,
            unit="batch",
        ),
        steps=1000 * EPOCH,
        batch_size=128,
        ema=0.9995,
        evaluate=Evaluate(every=10 * EPOCH, batch_size=128),
    )
