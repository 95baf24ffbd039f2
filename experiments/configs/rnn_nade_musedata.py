"""RNN-NADE on MuseData (783 pieces of orchestra and piano, 88 binary notes a step).

Data: gen-jax data import musedata musedata.npz --length 32
Command: gen-jax train experiments/configs/rnn_nade_musedata.py
Hardware: one CPU core, three minutes
Published: 5.60 nats a step, RNN-NADE with Hessian-free optimisation (Boulanger-Lewandowski et al. 2012, 1206.6392)
Expected: 5.83 nats a step on test, exact
"""

from gen_jax import RNNNADE, Event
from gen_jax.experiment import Data, Evaluate, Experiment
from gen_jax.optimizer import Adam, WarmupCosine

STEPS = 8000


def experiment() -> Experiment:
    """LSTM cells, windows of 32 steps in 8 streams."""
    return Experiment(
        model=RNNNADE(
            Event((32, 88), 2), features=200, hidden=150, cell="lstm", dropout=0.2, carry=True
        ),
        data=Data("musedata"),
        optimizer=Adam(WarmupCosine(3e-3, 50, STEPS), clip_norm=1.0),
        steps=STEPS,
        batch_size=8,
        ema=0.99,
        evaluate=Evaluate(every=1000, batch_size=8, examples=200),
    )
