"""PixelCNN++ on MNIST (28x28, 256 levels), small enough for ten minutes on two cores.

Command: gen-jax train experiments/configs/pixel_cnn_pp_mnist.py
Hardware: 2 CPU cores, about 10 minutes (17 minutes if shared)
Published: 0.97 bits/dim, Residual Flow, a bound (Chen et al. 2019, 1906.02735); none for PixelCNN++
Expected: <= 1.2 bits/dim on test, exact; measured 1.125
"""

from gen_jax import PixelCNNPP, image
from gen_jax.experiment import Data, Evaluate, Experiment
from gen_jax.optimizer import Adam, WarmupCosine

STEPS = 2600


def experiment() -> Experiment:
    """One residual network per stage, 24 features; less than one epoch, so no dropout."""
    return Experiment(
        model=PixelCNNPP(image(28, 28), features=24, resnets=1, mixtures=10, dropout=0.0),
        data=Data("mnist"),
        optimizer=Adam(WarmupCosine(3e-3, 100, STEPS), b2=0.99, clip_norm=1.0),
        steps=STEPS,
        batch_size=16,
        ema=0.995,
        evaluate=Evaluate(every=650, batch_size=100, examples=500),
    )
