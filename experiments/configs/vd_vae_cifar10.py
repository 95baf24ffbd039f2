"""VDVAE on CIFAR-10 (32x32 colour, 256 levels): 43 groups, 412,432 latents an image.

Command: gen-jax train experiments/configs/vd_vae_cifar10.py
Hardware: accelerators; the authors used two GPUs with 16 images each
Published: 2.87 bits/dim, a bound of one draw, the mean of four seeds (Child 2020, 2011.10650, table 2)
Expected: <= 2.90 bits/dim on test; not run here

39,145,700 parameters. Blocks, widths and optimiser are those of the authors' code (github.com/openai/vdvae). The number
of steps is our choice; the paper trains until validation no longer improves.
"""

from gen_jax import VDVAE, WarmupConstant, image
from gen_jax.experiment import Data, Evaluate, Experiment
from gen_jax.optimizer import Adam


def experiment() -> Experiment:
    """A step is skipped, with its average, if the norm of its gradient is above 400."""
    return Experiment(
        model=VDVAE(image(32, 32, channels=3)),
        data=Data("cifar10"),
        optimizer=Adam(
            WarmupConstant(2e-4, 100), b1=0.9, b2=0.9, weight_decay=0.01, clip_norm=200.0
        ),
        steps=1_000_000,
        batch_size=32,
        ema=0.9999,
        skip_above=400.0,
        evaluate=Evaluate(every=5000, batch_size=100),
    )
