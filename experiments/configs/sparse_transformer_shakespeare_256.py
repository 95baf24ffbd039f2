"""Transformer on the characters of Tiny Shakespeare, windows of 256: attention ever wider from layer to layer.

Data: gen-jax data import shakespeare_256 tinyshakespeare.txt --length 256
Command: gen-jax train experiments/configs/sparse_transformer_shakespeare_256.py
Hardware: 2 CPU cores, about ten minutes (20 if shared)
Expected: 2.450 bits/character on test, 2.262 on validation, exact; GRU carries its state on: 2.271 and 2.060
"""

from gen_jax import Dense, Local, SparseTransformer, tokens
from gen_jax.experiment import Data, Evaluate, Experiment
from gen_jax.optimizer import Adam, WarmupCosine

STEPS = 2000


def experiment() -> Experiment:
    """A first layer of two positions tells the character before from the one before that.

    Each window starts without context, so its first characters cost more than with a recurrent network.
    """
    return Experiment(
        model=SparseTransformer(
            tokens(256, 65),
            patterns=(Local(2), Local(4), Local(16), Dense()),
            layers=4,
            features=128,
            heads=4,
            key_features=128,
            inner=256,
            dropout=0.1,
        ),
        data=Data("shakespeare_256"),
        optimizer=Adam(
            WarmupCosine(3e-3, 100, STEPS),
            b2=0.99,
            weight_decay=0.1,
            decay="matrices",
            clip_norm=1.0,
        ),
        steps=STEPS,
        batch_size=16,
        ema=0.99,
        evaluate=Evaluate(every=250, batch_size=31),
    )
