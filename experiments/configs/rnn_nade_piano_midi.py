"""RNN-NADE on Piano-midi (124 pieces, 88 binary notes a step).

Data: gen-jax data import piano_midi piano_midi.npz --length 32
Command: gen-jax train experiments/configs/rnn_nade_piano_midi.py
Hardware: one CPU core, a minute
Published: 7.05 nats a step, RNN-NADE with Hessian-free optimisation (Boulanger-Lewandowski et al. 2012, 1206.6392)
Expected: 7.05 nats a step on test, exact
"""

from gen_jax import RNNNADE, Event
from gen_jax.experiment import Data, Evaluate, Experiment
from gen_jax.optimizer import Adam, WarmupCosine

STEPS = 3000


def experiment() -> Experiment:
    """LSTM cells, windows of 32 steps in 8 streams; dropout, since the set is small."""
    return Experiment(
        model=RNNNADE(
            Event((32, 88), 2), features=200, hidden=150, cell="lstm", dropout=0.3, carry=True
        ),
        data=Data("piano_midi"),
        optimizer=Adam(WarmupCosine(3e-3, 50, STEPS), clip_norm=1.0),
        steps=STEPS,
        batch_size=8,
        ema=0.99,
        evaluate=Evaluate(every=500, batch_size=8),
    )
