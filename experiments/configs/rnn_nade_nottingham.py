"""RNN-NADE on Nottingham (1,037 folk tunes, 88 binary notes a step).

Data: gen-jax data import nottingham nottingham.npz --length 32
Command: gen-jax train experiments/configs/rnn_nade_nottingham.py
Hardware: one CPU core, two minutes
Published: 2.31 nats a step, RNN-NADE with Hessian-free optimisation (Boulanger-Lewandowski et al. 2012, 1206.6392)
Expected: 2.43 nats a step on test, exact
"""

from gen_jax import RNNNADE, Event
from gen_jax.experiment import Data, Evaluate, Experiment
from gen_jax.optimizer import Adam, WarmupCosine

STEPS = 5000


def experiment() -> Experiment:
    """LSTM cells, windows of 32 steps in 8 streams; seven epochs."""
    return Experiment(
        model=RNNNADE(
            Event((32, 88), 2), features=200, hidden=150, cell="lstm", dropout=0.1, carry=True
        ),
        data=Data("nottingham"),
        optimizer=Adam(WarmupCosine(3e-3, 50, STEPS), clip_norm=1.0),
        steps=STEPS,
        batch_size=8,
        ema=0.99,
        evaluate=Evaluate(every=500, batch_size=8, examples=200),
    )
