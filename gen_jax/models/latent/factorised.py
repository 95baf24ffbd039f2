"""p(x | z) = prod over sites of p(x_site | z), all parameters from one pass of a network."""

import math
from typing import Protocol, runtime_checkable

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Integer

from gen_jax.check import require
from gen_jax.conditions import Cond, one_hot, rows_of
from gen_jax.heads import Head, head_for
from gen_jax.models.latent.base import LatentModel, State
from gen_jax.models.latent.encoded import Encoded
from gen_jax.nn.encoders import DenseDecoder, require_outputs
from gen_jax.typing import Event, Nats, PRNGKey, Scalar

FREQUENCIES = (0.001, 0.999)  # bounds of the frequencies that set the first bias


class IndependentSites(LatentModel):
    """log p(x | z) = sum over sites of log p(x_site | z); a subclass defines `decode`.

    `mixtures` None is a head for one value: Bernoulli for two levels, else a softmax. Otherwise it is a mixture of so
    many logistics over the values of a pixel.
    """

    mixtures: int | None = None

    @property
    def values(self) -> int:
        """The number of values of a site: the channels of a pixel under a mixture, else 1."""
        return self.event.shape[-1] if self.mixtures and len(self.event.shape) == 3 else 1

    @property
    def head(self) -> Head:
        """The distribution of a site's values."""
        return head_for(self.event.num_levels, self.values, self.mixtures)

    @property
    def given(self) -> "Rows":
        """p(x | z) row by row, so that the parameters of a step fit into the codec's memory."""
        return Rows(self)

    def decode(self, state: State) -> Float[Array, "B sites P"]:
        """Parameters of every site."""
        raise TypeError(f"{type(self).__name__} does not define p(x | z)")

    def log_likelihood(
        self, x: Integer[Array, "B *event"], state: State, train: bool = False
    ) -> Nats:
        del train  # no dropout
        values = x.reshape(len(x), -1, self.values)
        return jnp.sum(self.head.log_prob(self.decode(state), values), axis=-1)

    def draw(
        self, state: State, key: PRNGKey, temperature: float | Scalar = 1.0
    ) -> Int[Array, "B *event"]:
        x = self.head.sample(self.decode(state), key, temperature)
        return x.reshape(len(x), *self.event.shape)


class Factorised(IndependentSites, Encoded):
    """`decoder` gives the parameters of all sites from z.

    `decoder` is any Linen module that is called with z (B, *grid, Z), positions and outputs, and gives (B, *positions,
    outputs). With classes the one-hot class is appended to z, at each place. `grid`: the places of the latents, as the
    encoder gives them; () for a vector. With `data_bias` the decoder's last bias starts so that the head gives each
    value its frequency in the first batch, clipped to [0.001, 0.999] (github.com/yburda/iwae does so with the
    frequencies in the whole training set).
    """

    decoder: nn.Module = DenseDecoder()
    data_bias: bool = False
    grid: tuple[int, ...] = ()

    @property
    def places(self) -> tuple[int, ...]:
        return self.grid

    def begin(
        self, n: int, x: Integer[Array, "n *event"] | None = None, cond: Cond = None
    ) -> State:
        state = super().begin(n, x, cond)
        if x is not None and self.data_bias and self.is_initializing():
            _, _, q = self.group(state, 0)  # the first call sets the decoder's bias
            first = rows_of(self.put(state, 0, self.groups[0].mode(q)), slice(1))
            self.decode(first, self.marginals(x))
        return state

    def embedded(self, z: Array) -> Float[Array, "B *grid Z"]:
        """What the decoder reads of z."""
        return z

    def decode(
        self, state: State, bias: Float[Array, " biases"] | None = None
    ) -> Float[Array, "B sites P"]:
        """Parameters of every site given z; at initialisation the decoder's last bias starts at `bias`."""
        shape, head = self.event.shape, self.head
        z = self.embedded(self.without_class(state))
        for y in one_hot(self, state):
            y = y.reshape(len(y), *(1,) * len(self.places), -1).astype(z.dtype)
            z = jnp.concatenate([z, jnp.broadcast_to(y, (*z.shape[:-1], y.shape[-1]))], axis=-1)
        positions = shape[:2] if len(shape) == 3 else shape
        sites = self.event.size // self.values
        outputs = sites // math.prod(positions) * head.size
        start = () if bias is None else (bias,)
        out = self.decoder(z, positions, outputs, *start)
        require_outputs(self.decoder, out, len(z), positions, outputs)
        return out.reshape(len(z), sites, head.size)

    def marginals(self, x: Integer[Array, "B *event"]) -> Float[Array, " biases"]:
        """The parameters with which the head gives each value its frequency in a batch, site after site."""
        share = jnp.mean(jax.nn.one_hot(x.reshape(len(x), -1), self.event.num_levels), axis=0)
        logs = jnp.log(jnp.clip(share, *FREQUENCIES))
        return (logs[:, 1] - logs[:, 0] if self.head.size == 1 else logs).ravel()

    def check(self) -> None:
        super().check()
        require(
            not self.data_bias or (not self.mixtures and isinstance(self.decoder, DenseDecoder)),
            "data_bias is for a dense decoder with one value a site, no mixture",
        )


@runtime_checkable
class Decoding(Protocol):
    """p(x | z) with independent sites of `values` values, whose parameters come all at once."""

    event: Event

    @property
    def values(self) -> int: ...

    @property
    def head(self) -> Head: ...

    def decode(self, state: State) -> Float[Array, "B sites P"]:
        """Parameters of every site."""
        ...


class Rows:
    """p(x | z) with independent sites in the stepping interface: a step is a row of pixels, or a whole vector."""

    def __init__(self, model: Decoding):
        self.event, self.head, self._model = model.event, model.head, model

    @property
    def sites(self) -> Int[np.ndarray, "rows columns V"]:
        """The positions of each row's values in the flattened event."""
        rows = self.event.shape[0] if len(self.event.shape) == 3 else 1
        return np.arange(self.event.size).reshape(rows, -1, self._model.values)

    def init_cache(self, n: int, state: State) -> Float[Array, "n rows columns P"]:
        """The parameters of all sites."""
        return self._model.decode(state).reshape(n, *self.sites.shape[:2], self.head.size)

    def step(self, cache: Array, site: Int[Array, ""]) -> tuple[Array, Float[Array, "n columns P"]]:
        return cache, cache[:, site]

    def write(self, cache: Array, site: Int[Array, ""], value: Int[Array, "n columns V"]) -> Array:
        del site, value  # no other site depends on them
        return cache

    def log_prob_sites(
        self, x: Integer[Array, "n *event"], state: State
    ) -> Float[Array, "n rows columns"]:
        """log p(x_site | z), nats."""
        values = x.reshape(len(x), -1)[:, self.sites]
        return self.head.log_prob(self.init_cache(len(x), state), values)
