"""PixelSNAIL on CIFAR-10 (32x32 colour, 256 levels), the paper's network: 46,021,908 parameters.

Command: gen-jax train experiments/configs/pixel_snail_cifar10.py
Hardware: 8 accelerators, batch 8 on each
Published: 2.85 bits/dim on test (Chen et al. 2017, 1712.09763)
Expected: 2.85 bits/dim, exact; not run here

Deviations from github.com/neocxi/pixelsnail-public: it repeats the two coordinate maps for each colour (46,180,788
parameters, without more information); adds 1e-6 to the denominator of the attention's softmax; trains on all 50,000
images (here 45,000, the rest is validation); initialises on 8 images (here 64); its average of the weights does not
warm up.
"""

from gen_jax import PixelSNAIL, image
from gen_jax.experiment import Data, Evaluate, Experiment
from gen_jax.optimizer import Adam, ExponentialDecay

EPOCH = 45_000 // 64


def experiment() -> Experiment:
    """Batch 8 on each of 8 devices, dropout 0.5, no augmentation, learning rate times 0.999998 per step.

    The authors' loss is the sum of nats over the batch, and Adam's epsilon is inside the root.
    """
    return Experiment(
        model=PixelSNAIL(image(32, 32, channels=3)),
        data=Data("cifar10"),
        optimizer=Adam(
            ExponentialDecay(1e-3, 0.999998),
            b1=0.95,
            b2=0.9995,
            eps=0.0,
            eps_root=1e-6,
            unit="batch",
        ),
        steps=1000 * EPOCH,
        batch_size=64,
        ema=0.9995,
        evaluate=Evaluate(every=10 * EPOCH, batch_size=64),
    )
