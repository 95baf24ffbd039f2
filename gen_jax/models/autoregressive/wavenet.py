"""WaveNet: log p(x) = sum_t log p(x_t | x_{t-R}, ..., x_{t-1}) over the samples of a sound, R the receptive field.

Gated residual layers of dilated causal convolutions, dilations 1, 2, 4, ... repeated in cycles, the sum of all skips
through two 1x1 to a softmax over mu-law codes (van den Oord, Dieleman, Zen, Simonyan, Vinyals, Graves, Kalchbrenner,
Senior and Kavukcuoglu 2016, 1609.03499) or a mixture of logistics (van den Oord et al. 2017, 1711.10433).
"""

from typing import ClassVar, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Integer, Num

from gen_jax.errors import InputError
from gen_jax.heads import Head, head_for
from gen_jax.models.autoregressive.base import Autoregressive
from gen_jax.nn.conv import Dense
from gen_jax.nn.dilated_conv import DilatedConv, FrameUpsample, Queue, WaveNetLayer
from gen_jax.ops.scaling import to_symmetric
from gen_jax.typing import Dtype, Event

NOTHING = -1  # the code before the first


class Cache(NamedTuple):
    """The code before, the queue of the first layer and of each gated one, the condition."""

    previous: Int[Array, " B"]
    first: Queue
    queues: tuple[Queue, ...]
    condition: Float[Array, "B T K"] | None


class WaveNet(Autoregressive):
    """Sequences (L,) of codes: one-hot in, softmax out or, with `mixtures`, a real number in, so many logistics out.

    Conditioned globally on a class (`num_classes`) or locally: where `local` > 0 the condition of an example is an
    array (frames, local) of features, a frame for `hop` samples, the last one for what is left. To give both, write
    the class into every frame.
    """

    system: ClassVar[str] = "wavenet"

    num_classes: int = 0  # pyright: ignore[reportIncompatibleVariableOverride]
    local: int = 0
    hop: int = 1
    cycles: int = 3
    depth: int = 10
    kernel: int = 2
    features: int = 32
    skip_features: int = 128
    mixtures: int | None = None
    dtype: Dtype = None

    def setup(self):
        """Declare the layers and the two 1x1 of the head; InputError on sizes that cannot work."""
        if len(self.event.shape) != 1:
            raise InputError(f"wavenet is a model of sequences (L,), not of {self.event.shape}")
        if min(self.cycles, self.depth, self.features, self.skip_features, self.hop) < 1:
            raise InputError(
                "wavenet needs cycles, depth, features, skip_features and hop of at least 1"
            )
        if self.kernel < 2 or (self.mixtures is not None and self.mixtures < 1):
            raise InputError("wavenet needs a kernel of at least 2 and, if any, 1 or more mixtures")
        if self.num_classes and self.local:
            raise InputError("wavenet is conditioned on a class or on local features, not on both")
        dilations = [2**i for i in range(self.depth)] * self.cycles
        self.first = DilatedConv(self.features, self.kernel, dtype=self.dtype)
        self.layers = [
            WaveNetLayer(
                self.features,
                self.skip_features,
                self.kernel,
                dilation,
                conditional=bool(self.num_classes or self.local),
                last=i == len(dilations) - 1,
                dtype=self.dtype,
            )
            for i, dilation in enumerate(dilations)
        ]
        self.hidden = Dense(self.skip_features, dtype=self.dtype)
        self.out = Dense(self.head.size, dtype=self.dtype)
        if self.local:
            self.upsample = FrameUpsample(self.hop, dtype=self.dtype)

    @property
    def head(self) -> Head:
        """A softmax over the codes, or K logistics over the same integers."""
        return head_for(self.levels, 1, self.mixtures)

    @property
    def condition(self) -> Event | None:
        """The frames of local features, if any."""
        frames = -(-self.event.size // max(self.hop, 1))
        return Event((frames, self.local)) if self.local else None

    @property
    def receptive_field(self) -> int:
        """R = k + (k - 1) sum_l d_l, the number of earlier samples that a sample's distribution depends on."""
        return self.kernel + (self.kernel - 1) * self.cycles * (2**self.depth - 1)

    def context(self, site: int) -> Bool[np.ndarray, " sites"]:
        """The R samples before, without a gap."""
        earlier = site - np.arange(self.num_sites)
        return (earlier > 0) & (earlier <= self.receptive_field)

    def __call__(
        self, x: Integer[Array, "B L"], cond: Num[Array, "B ..."] | None = None, train: bool = False
    ) -> Float[Array, "B sites P"]:
        """Parameters of every sample's distribution, all at once."""
        y = self._condition(cond)
        h, skips = self.first(self._inputs(shifted(x))), jnp.zeros(())
        for layer in self.layers:
            h, skip = layer(h, y)
            skips = skips + skip
        return self._params(skips)

    def init_cache(self, n: int, cond: Num[Array, "n ..."] | None = None) -> Cache:
        """Nothing before; local features at the rate of the samples."""
        dtype = jnp.dtype(self.dtype) if self.dtype is not None else jnp.result_type(float)
        previous = jnp.full(n, NOTHING, jnp.int32)
        first = self.first.init_queue(n, self._inputs(previous).shape[-1], dtype)
        queues = tuple(layer.init_queue(n, dtype) for layer in self.layers)
        return Cache(previous, first, queues, self._condition(cond))

    def step(self, cache: Cache, site: Int[Array, ""]) -> tuple[Cache, Float[Array, "B P"]]:
        """One product a tap and a layer: each reads its queue and puts its input there."""
        y = cache.condition
        if y is not None:
            y = lax.dynamic_index_in_dim(y, site if self.local else 0, axis=1, keepdims=False)
        first, h = self.first.step(cache.first, self._inputs(cache.previous), site)
        queues, skips = [], jnp.zeros(())
        for layer, queue in zip(self.layers, cache.queues, strict=True):
            queue, h, skip = layer.step(queue, h, y, site)
            queues.append(queue)
            skips = skips + skip
        return cache._replace(first=first, queues=tuple(queues)), self._params(skips)

    def write(self, cache: Cache, site: Int[Array, ""], value: Int[Array, "B 1"]) -> Cache:
        """Remember the code: the next step reads it."""
        return cache._replace(previous=value[:, 0].astype(jnp.int32))

    def _params(self, skips):
        return self.out(nn.relu(self.hidden(nn.relu(skips))))

    def _inputs(self, codes: Integer[Array, "*batch"]) -> Float[Array, "*batch I"]:
        """What the first layer reads of a code: zeros where there is none."""
        if self.mixtures is None:
            return nn.one_hot(codes, self.levels)
        return jnp.where(codes == NOTHING, 0, to_symmetric(codes, self.levels))[..., None]

    def _condition(self, cond) -> Float[Array, "B T K"] | None:
        """The class, one vector for all times, or the local features, one for each; InputError without them."""
        if self.num_classes:
            return nn.one_hot(cond, self.num_classes)[:, None]
        if not self.local:
            return None
        frames = -(-self.event.size // self.hop)
        if cond is None or cond.shape[1:] != (frames, self.local):
            given = "nothing" if cond is None else f"features of shape {cond.shape[1:]}"
            raise InputError(
                f"wavenet with local features needs {(frames, self.local)} for each example, not {given}"
            )
        return self.upsample(cond)[:, : self.event.size]


def shifted(x: Integer[Array, "B L"]) -> Integer[Array, "B L"]:
    """One sample to the right: no sample may see itself."""
    return jnp.pad(x.astype(jnp.int32), ((0, 0), (1, 0)), constant_values=NOTHING)[:, :-1]
