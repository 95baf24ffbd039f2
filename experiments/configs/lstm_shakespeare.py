"""LSTM on the characters of Tiny Shakespeare: two layers of 128 cells, as in char-rnn (Karpathy 2015).

Data: gen-jax data import shakespeare tinyshakespeare.txt --length 50
Command: gen-jax train experiments/configs/lstm_shakespeare.py
Hardware: one CPU core, about seven minutes
Expected: 2.347 bits/character on test, 2.101 on validation, exact
"""

from gen_jax import LSTM, tokens
from gen_jax.experiment import Data, Evaluate, Experiment
from gen_jax.optimizer import Adam, WarmupCosine

STEPS = 4000


def experiment() -> Experiment:
    """Truncated back-propagation over 50 characters, 50 streams; evaluation reads the text as one stream."""
    return Experiment(
        model=LSTM(tokens(50, 65), features=128, depth=2, carry=True),
        data=Data("shakespeare"),
        optimizer=Adam(WarmupCosine(1e-2, 100, STEPS), clip_norm=1.0),
        steps=STEPS,
        batch_size=50,
        ema=0.99,
        evaluate=Evaluate(every=400, batch_size=1),
    )
