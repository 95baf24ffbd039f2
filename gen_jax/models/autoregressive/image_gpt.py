"""Image GPT: log p(x) = sum_t log p(x_t | x_<t) over the tokens of an image in raster order, by dense attention.

And its masked sibling, which guesses hidden tokens from all others and has no distribution of images (Chen, Radford,
Child, Wu, Jun, Luan and Sutskever 2020, "Generative Pretraining from Pixels"; sizes, initial deviations and norms as in
the authors' code). Tokens are those of a palette (`gen-jax data palette`): their bits are bits/token. What the blocks
give tells what an image shows (`gen-jax probe`).
"""

import functools
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Integer

from gen_jax.check import require, require_integers
from gen_jax.conditions import Cond
from gen_jax.density import Codec, Kind, Value, fold_in
from gen_jax.errors import InputError
from gen_jax.models.autoregressive.sequence import NOTHING, Beginning, Sequence, Time, shifted
from gen_jax.nn import blocks
from gen_jax.nn.conv import Dense, Embed
from gen_jax.nn.transformer import Block, Initial, Stack, quick_gelu
from gen_jax.ops import patterns
from gen_jax.ops.convolution import gathered
from gen_jax.typing import Dtype, Event, Metrics, Nats, PRNGKey, Scalar

normal = nn.initializers.normal


class GPT(nn.Module):
    """The stack of blocks: h + codes of the places, root mean square norms before the branches, no biases.

    An untied linear map, zero at first, gives `outputs` parameters of each place.
    """

    pattern: patterns.Pattern
    length: int
    outputs: int
    layers: int
    features: int
    heads: int
    dropout: float = 0.0
    remat: bool = False
    dtype: Dtype = None

    def setup(self):
        F, branch = self.features, normal(self.features**-0.5)
        block = functools.partial(
            Block,
            length=self.length,
            heads=self.heads,
            inner=4 * F,
            norm="rms",
            use_bias=False,
            activation=quick_gelu,
            dropout=self.dropout,
            initial=Initial(
                query_key=branch,
                value=branch,
                out=normal((F * self.layers) ** -0.5),
                up=normal(0.02),
                down=normal(0.02),
            ),
            dtype=self.dtype,
        )
        self.places = self.param("places", normal(0.01), (self.length, F))
        self.stack = Stack(block, (self.pattern,), self.layers, self.remat)
        self.norm = nn.RMSNorm(1e-5)
        self.logits = Dense(self.outputs, use_bias=False, kernel_init=nn.initializers.zeros)

    def __call__(
        self, h: Float[Array, "B *L F"], places: Int[Array, "*batch"], train: bool, time: Time
    ) -> Float[Array, "B *L P"]:
        """`places` are numbers of the places of h, of all or of the one at a time."""
        return self.logits(self.norm(self.stack(h + gathered(self.places)[places], time, train)))


class ImageGPT(Sequence):
    """Images or texts of any number of levels, one value a site.

    h_t = e(x_{t-1}) + p(t), a start vector instead of e at t = 0; `layers` blocks. `dropout` is not the paper's.
    """

    system: ClassVar[str] = "image_gpt"
    begins: ClassVar[bool] = True

    layers: int = 24
    features: int = 512
    heads: int = 8
    dropout: float = 0.0
    remat: bool = False
    dtype: Dtype = None

    def setup(self):
        self.check()
        self.symbols = Embed(self.levels, self.features, embedding_init=normal(0.02))
        self.network = _network(self, patterns.Dense(), self.head.size)

    @nn.compact
    def body(
        self, x: Int[Array, "B *sites"], cond: Beginning | None, train: bool, time: Time
    ) -> Float[Array, "B *sites P"]:
        places = jnp.arange(self.event.size)
        if cond is None:
            start = self.param("start", normal(0.02), (self.features,))
        else:
            start, places = cond.start, places if cond.places is None else cond.places
        before = shifted(x, time)[..., None]
        start = start if time is not None or start.ndim == 1 else start[:, None]
        h = jnp.where(before == NOTHING, start, self.symbols(jnp.maximum(before[..., 0], 0)))
        return self.network(h, places if time is None else places[..., time], train, time)

    def check(self) -> None:
        """InputError on sizes that cannot work."""
        _check(self)


class ImageBERT(nn.Module):
    """The same blocks with attention to everything, before and after: no distribution of images.

    A share `masked` of the tokens is hidden by vectors of zeros. The loss is L = -1/m sum_t log p(x_t | v) over the m
    hidden tokens x_t of an image, given the others v, then the mean over images, nats; an image of which none is hidden
    counts as 0.
    """

    system: ClassVar[str] = "image_bert"

    event: Event
    masked: float = 0.15
    layers: int = 24
    features: int = 512
    heads: int = 8
    dropout: float = 0.0
    remat: bool = False
    dtype: Dtype = None

    num_classes: ClassVar[int] = 0
    kind: ClassVar[Kind] = "none"
    value: ClassVar[Value] = "exact"
    codec: ClassVar[Codec] = "none"

    def setup(self):
        self.check()
        levels = self.event.num_levels
        self.symbols = Embed(levels, self.features, embedding_init=normal(0.02))
        self.network = _network(self, patterns.Full(), levels)

    def __call__(
        self,
        x: Integer[Array, "B *event"],
        seen: Float[Array, "B L 1"] | None = None,
        train: bool = False,
    ) -> Float[Array, "B L levels"]:
        """Logits of every token, of which those where `seen` is 0 are hidden; without it none is."""
        h = self.symbols(x.reshape(len(x), -1))
        h = h if seen is None else h * seen
        return self.network(h, jnp.arange(self.event.size), train, None)

    def loss(
        self, x: Integer[Array, "B *event"], key: PRNGKey, cond: Cond = None
    ) -> tuple[Scalar, Metrics]:
        nats, correct = self.guesses(x, key, train=True)
        return jnp.mean(nats), {"masked_accuracy": jnp.mean(correct)}

    def guesses(
        self, x: Integer[Array, "B *event"], key: PRNGKey, train: bool = False
    ) -> tuple[Nats, Float[Array, " B"]]:
        """Means over the hidden tokens of each image: -log p, and whether the most probable token is right."""
        hidden = jax.random.bernoulli(
            fold_in(key, "masked"), self.masked, (len(x), self.event.size)
        )
        logits = self(x, 1.0 - hidden[..., None], train)
        tokens = x.reshape(len(x), -1).astype(jnp.int32)
        log_p = jnp.take_along_axis(jax.nn.log_softmax(logits), tokens[..., None], axis=-1)[..., 0]
        correct = jnp.argmax(logits, axis=-1) == tokens
        count = jnp.maximum(jnp.sum(hidden, axis=1), 1)
        nats, right = (jnp.sum(jnp.where(hidden, t, 0), axis=1) / count for t in (-log_p, correct))
        return nats, right

    def block_features(self, x: Integer[Array, "B *event"]) -> tuple[Float[Array, "B F"], ...]:
        """The mean over all places of what each block gives, nothing hidden."""
        module, variables = self.unbind()
        return blocks.features(module, variables, x)

    def log_prob(
        self, x: Integer[Array, "B *event"], key: PRNGKey | None = None, cond: Cond = None
    ) -> Nats:
        """InputError: guesses of hidden tokens are no distribution of images."""
        raise InputError("image_bert guesses hidden tokens: it has no distribution of images")

    def sample(
        self, key: PRNGKey, n: int, cond: Cond = None, temperature: float | Scalar = 1.0
    ) -> Int[Array, "n *event"]:
        """InputError: guesses of hidden tokens are no distribution of images."""
        raise InputError("image_bert guesses hidden tokens: it has no distribution to sample from")

    def measure(
        self, x: Integer[Array, "B *event"], key: PRNGKey, cond: Cond = None
    ) -> dict[str, Array]:
        """Bits per hidden token of each image, and the share of hidden tokens that is guessed."""
        nats, correct = self.guesses(x, key)
        return {"masked_bits_per_token": nats / jnp.log(2.0), "masked_accuracy": correct}

    def diagnosis(self, measured: dict[str, np.ndarray]) -> tuple[dict[str, float], dict[str, str]]:
        """Means over the split; no findings."""
        return {name: float(rows.mean()) for name, rows in measured.items()}, {}

    def check(self) -> None:
        """InputError on sizes that cannot work."""
        require_integers(self.event, self.system)
        require(0 < self.masked < 1, "image_bert hides a share in (0, 1) of the tokens")
        _check(self)


def _network(model: ImageGPT | ImageBERT, pattern: patterns.Pattern, outputs: int) -> GPT:
    return GPT(
        pattern, model.event.size, outputs, model.layers, model.features, model.heads, model.dropout,
        model.remat, model.dtype,
    )  # fmt: skip


def _check(model: ImageGPT | ImageBERT) -> None:
    require(
        min(model.layers, model.features, model.heads) >= 1 and 0 <= model.dropout < 1,
        f"{model.system} needs layers, features and heads of at least 1, dropout in [0, 1)",
    )
    require(
        model.features % model.heads == 0,
        f"{model.system} has features that {model.heads} heads share equally",
    )
