"""RNN: log p(x) = sum_t log p(x_t | h_t) with layers of h_t = tanh(W x_{t-1} + U h_{t-1} + b).

The value before as a one-hot input; characters of a text by truncated back-propagation, or images in raster order
(Elman 1990; Mikolov, Karafiat, Burget, Cernocky and Khudanpur 2010, "Recurrent neural network based language model").
"""

from typing import ClassVar

from gen_jax.models.recurrent import RecurrentModel
from gen_jax.ops import recurrent


class RNN(RecurrentModel):
    """Layers of tanh units."""

    system: ClassVar[str] = "rnn"

    cell: ClassVar[recurrent.Cell] = recurrent.TANH
