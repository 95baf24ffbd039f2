"""GRU: log p(x) = sum_t log p(x_t | h_t), h_t = (1 - z) tanh(a_n + r u_n) + z h_{t-1}.

a = W x_{t-1} + b, u = U h_{t-1} + c, gates r and z from a and u.
Layers of gated recurrent units (Cho, van Merrienboer, Gulcehre, Bahdanau, Bougares, Schwenk and Bengio 2014,
1406.1078), the reset gate r after the matrix product, as in cuDNN: `ops/recurrent.py` says what that means.
"""

from typing import ClassVar

from gen_jax.models.recurrent import RecurrentModel
from gen_jax.ops import recurrent


class GRU(RecurrentModel):
    """Layers of gated recurrent units, reset after the product."""

    system: ClassVar[str] = "gru"

    cell: ClassVar[recurrent.Cell] = recurrent.GRU
