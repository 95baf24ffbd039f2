"""Image GPT on CIFAR-10 as tokens of a palette of 512 colours, the network S of the paper: 76,571,648 parameters.

Command: gen-jax train experiments/configs/image_gpt_cifar10_palette512.py
Hardware: accelerators; `gen-jax data palette cifar10 --colours 512` makes the data set
Expected: a number in bits/token, exact; not run here (the paper trains on ImageNet)
"""

from gen_jax import ImageGPT, image
from gen_jax.experiment import Data, Evaluate, Experiment
from gen_jax.optimizer import Adam, WarmupCosine

EPOCH = 45_000 // 128


def experiment() -> Experiment:
    """24 blocks of 512 features, 8 heads; neither dropout nor weight decay."""
    steps = 100 * EPOCH
    return Experiment(
        model=ImageGPT(image(32, 32, levels=512), remat=True),
        data=Data("cifar10_palette512"),
        optimizer=Adam(WarmupCosine(3e-3, EPOCH, steps), b2=0.95),
        steps=steps,
        batch_size=128,
        evaluate=Evaluate(every=10 * EPOCH, batch_size=128),
    )
