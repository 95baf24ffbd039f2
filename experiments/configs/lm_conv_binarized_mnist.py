"""LMConv on fixed-binarised MNIST (28x28, 2 levels).

Command: gen-jax train experiments/configs/lm_conv_binarized_mnist.py
Hardware: 2 CPU cores, about 15 minutes (35 if shared)
Published: 77.56 nats averaged over eight orders (Jain, Abbeel and Pathak 2020, 2006.12486), a far larger network
Expected: 90.94 nats on test in one order, exact; independent pixels need about 206
"""

from gen_jax import LMConv, image
from gen_jax.experiment import Data, Evaluate, Experiment
from gen_jax.optimizer import Adam, WarmupCosine

STEPS = 2800


def experiment() -> Experiment:
    """One residual network a stage, 24 features, one of eight S-curves a step."""
    return Experiment(
        model=LMConv(image(28, 28, levels=2), features=24, resnets=1, mixtures=None),
        data=Data("binarized_mnist"),
        optimizer=Adam(WarmupCosine(3e-3, 100, STEPS), b2=0.99, clip_norm=1.0),
        steps=STEPS,
        batch_size=8,
        ema=0.995,
        evaluate=Evaluate(every=700, batch_size=100, examples=2000),
    )
