"""Diagonal BiLSTM on fixed-binarised MNIST (28x28, 2 levels), the paper's network.

Command: gen-jax train experiments/configs/pixel_rnn_diagonal_binarized_mnist.py
Hardware: one accelerator, hours
Published: 79.20 nats (van den Oord et al. 2016, 1601.06759, table 4)
Expected: 79.2 nats, exact; not run here

64,993 parameters by our count; the paper does not give theirs. It gives neither rate nor epsilon of its RMSProp: those
are ours, as are the averaged weights and the 100 epochs.
"""

from gen_jax import DiagonalBiLSTM, image
from gen_jax.experiment import Data, Evaluate, Experiment
from gen_jax.optimizer import RMSProp

EPOCH = 50_000 // 16


def experiment() -> Experiment:
    """Seven layers of 16 features (the stream has 32), 32 in the head, RMSProp, batch 16."""
    return Experiment(
        model=DiagonalBiLSTM(image(28, 28, levels=2), depth=7, features=16, head_features=32),
        data=Data("binarized_mnist"),
        optimizer=RMSProp(1e-3),
        steps=100 * EPOCH,
        batch_size=16,
        evaluate=Evaluate(every=5 * EPOCH, batch_size=100),
    )
