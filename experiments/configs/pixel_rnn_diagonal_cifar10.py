"""Diagonal BiLSTM on CIFAR-10 (32x32 colour, 256 levels), the paper's network with sizes that three channels divide.

Command: gen-jax train experiments/configs/pixel_rnn_diagonal_cifar10.py
Hardware: one accelerator, days; the paper does not say how long
Published: 3.00 bits/dim on test (van den Oord et al. 2016, 1601.06759, table 5)
Expected: 3.00 bits/dim, exact; not run here

8,923,557 parameters by our count; the paper does not give theirs. It gives neither rate nor epsilon of its RMSProp:
those are ours, as are the averaged weights and the 200 epochs. 45,000 of the 50,000 training images.
"""

from gen_jax import DiagonalBiLSTM, image
from gen_jax.experiment import Data, Evaluate, Experiment
from gen_jax.optimizer import RMSProp

EPOCH = 45_000 // 16


def experiment() -> Experiment:
    """12 layers; 129 features and 1,023 in the head, where the paper has 128 and 1,024; RMSProp, batch 16."""
    return Experiment(
        model=DiagonalBiLSTM(image(32, 32, channels=3), depth=12, features=129, head_features=1023),
        data=Data("cifar10"),
        optimizer=RMSProp(1e-4),
        steps=200 * EPOCH,
        batch_size=16,
        evaluate=Evaluate(every=5 * EPOCH, batch_size=128),
    )
