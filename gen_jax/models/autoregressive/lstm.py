"""LSTM: log p(x) = sum_t log p(x_t | h_t), h_t = sigma(o) tanh(c_t), c_t = sigma(f) c_{t-1} + sigma(i) tanh(g).

Layers of cells with input, forget and output gates, the forget bias starting at 1 (Hochreiter and Schmidhuber 1997;
Gers, Schmidhuber and Cummins 2000; for characters Graves 2013, 1308.0850, and Karpathy's char-rnn 2015).
"""

from typing import ClassVar

from gen_jax.models.recurrent import RecurrentModel
from gen_jax.ops import recurrent


class LSTM(RecurrentModel):
    """Layers of LSTM cells without peepholes."""

    system: ClassVar[str] = "lstm"

    cell: ClassVar[recurrent.Cell] = recurrent.LSTM
