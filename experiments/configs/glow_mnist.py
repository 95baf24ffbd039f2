"""Glow on MNIST (28x28, 256 levels), small enough for a CPU.

Command: gen-jax train experiments/configs/glow_mnist.py
Hardware: 2 CPU cores, about 15 minutes
Published: 1.05 bits/dim on test, a bound, of a larger network (in table 2 of Grathwohl et al. 2018, 1810.01367)
Expected: <= 1.56 bits/dim on test, a bound of 10 draws; independent pixels need 1.69
"""

from gen_jax import Glow, image
from gen_jax.experiment import Data, Evaluate, Experiment
from gen_jax.optimizer import Adam, WarmupCosine

STEPS = 2000


def experiment() -> Experiment:
    """Two scales of eight steps, of the logits of dequantised values."""
    return Experiment(
        model=Glow(image(28, 28), scales=2, depth=8, width=128, coupling="bounded", alpha=0.05),
        data=Data("mnist"),
        optimizer=Adam(WarmupCosine(1e-3, 100, STEPS), clip_norm=10.0),
        steps=STEPS,
        batch_size=64,
        init_examples=256,
        ema=0.99,
        evaluate=Evaluate(every=500, batch_size=250, examples=1000, draws=10),
    )
