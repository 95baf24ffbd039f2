"""RealNVP on CIFAR-10 (32x32 colour, 256 levels), the paper's network: 8 residual blocks, 64 features, two scales.

Command: gen-jax train experiments/configs/real_nvp_cifar10.py
Hardware: 1 accelerator; the paper gives no time
Published: 3.49 bits/dim on test (Dinh et al. 2016, 1605.08803, table 1), a bound of one draw, trained with flips
Expected: <= 3.5 bits/dim; not run here
"""

from gen_jax import ImageRealNVP, image
from gen_jax.experiment import Data, Evaluate, Experiment
from gen_jax.train.optimizer import Adam

EPOCH = 45_000 // 64


def experiment() -> Experiment:
    """19,615,830 parameters; weight decay of all weights in place of the paper's penalty of scales, no flips."""
    return Experiment(
        model=ImageRealNVP(image(32, 32, channels=3)),
        data=Data("cifar10"),
        optimizer=Adam(1e-3, weight_decay=5e-5, clip_norm=100.0),
        steps=1000 * EPOCH,
        batch_size=64,
        ema=0.99,
        evaluate=Evaluate(every=10 * EPOCH, batch_size=128),
    )
