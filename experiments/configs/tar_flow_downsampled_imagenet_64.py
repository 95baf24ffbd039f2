"""TarFlow on ImageNet at 64x64 (colour, 256 levels), the paper's network for bits/dim: 2-768-8-8.

Command: gen-jax train experiments/configs/tar_flow_downsampled_imagenet_64.py
Hardware: 8 accelerators, some days
Published: 2.99 bits/dim on validation (Zhai et al. 2024, 2412.06329), a bound with one draw of uniform noise
Expected: <= 2.99 bits/dim; not run here

460,142,784 parameters: 8 maps of patches of 2x2 pixels, 8 layers of 768 features in each. Deviations from
github.com/apple/ml-tarflow: averaged weights are evaluated, biases start at zero, and the warm-up starts at a rate of
zero.
"""

from gen_jax import TarFlow, image
from gen_jax.experiment import Data, Evaluate, Experiment
from gen_jax.optimizer import Adam, WarmupCosine

EPOCH = 1_271_141 // 256


def experiment() -> Experiment:
    """AdamW on all parameters, a cosine after one epoch of warm-up; 100 epochs, batch 256, float32, no flips."""
    return Experiment(
        model=TarFlow(image(64, 64, channels=3), remat=True),
        data=Data("downsampled_imagenet_64"),
        optimizer=Adam(
            WarmupCosine(1e-4, EPOCH, 100 * EPOCH, end=1e-6), b2=0.95, weight_decay=1e-4
        ),
        steps=100 * EPOCH,
        batch_size=256,
        ema=0.9999,
        evaluate=Evaluate(every=EPOCH, batch_size=64, examples=5000),
    )
