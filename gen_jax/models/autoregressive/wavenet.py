"""WaveNet: log p(x) = sum_t log p(x_t | x_{t-R}, ..., x_{t-1}) over the samples of a sound, R the receptive field.

Gated residual layers of dilated causal convolutions, with dilations 1, 2, 4, ... in each cycle. The sum of their skip
connections passes two 1x1 convolutions to a softmax over mu-law codes (van den Oord, Dieleman, Zen, Simonyan, Vinyals,
Graves, Kalchbrenner, Senior and Kavukcuoglu 2016, 1609.03499) or to a mixture of logistics (van den Oord et al. 2017,
1711.10433).
"""

from typing import ClassVar

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from flax.linen.dtypes import promote_dtype
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from gen_jax.check import require
from gen_jax.conditions import Cond, parts_of
from gen_jax.errors import InputError
from gen_jax.heads import Head, head_for
from gen_jax.models.autoregressive.sequence import NOTHING, Sequence, Time, shifted
from gen_jax.nn.blocks import show
from gen_jax.nn.conv import Dense, Embed
from gen_jax.ops.convolution import convolve
from gen_jax.ops.gates import gated_tanh
from gen_jax.ops.scaling import to_symmetric
from gen_jax.typing import Dtype, Event


class DilatedConv(nn.Module):
    """A dilated causal convolution, y_t = b + sum_{j<k} K_j x_{t - (k-1-j) d}, with zeros before the first time.

    At one time it keeps a queue of the last (k-1) d + 1 inputs, so that a step costs k products for any dilation
    (Paine et al. 2016, 1611.09482).
    """

    features: int
    kernel: int = 2
    dilation: int = 1
    dtype: Dtype = None

    @nn.compact
    def __call__(self, x: Float[Array, "B *L I"], time: Time) -> Float[Array, "B *L O"]:
        shape = (self.kernel, x.shape[-1], self.features)
        kernel = self.param("kernel", nn.initializers.lecun_normal(), shape)
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        x, kernel, bias = promote_dtype(x, kernel, bias, dtype=self.dtype)
        ago = [(self.kernel - 1 - j) * self.dilation for j in range(self.kernel)]
        if time is None:
            return convolve(x, kernel, ((ago[0], 0),), dilation=self.dilation) + bias
        queue = self.variable("cache", "queue", jnp.zeros, (ago[0] + 1, *x.shape), x.dtype)
        slots = len(queue.value)
        # Written before it is read: otherwise a loop copies the queue at every step.
        queue.value = lax.dynamic_update_index_in_dim(queue.value, x, time % slots, 0)
        earlier = [
            lax.dynamic_index_in_dim(queue.value, (time - t) % slots, keepdims=False)
            for t in ago[:-1]
        ]
        window = jnp.concatenate([*earlier, x], axis=-1)
        return window @ kernel.reshape(-1, self.features) + bias


class GatedLayer(nn.Module):
    """z = tanh(W_f * h + V_f y) . sigma(W_g * h + V_g y), h' = h + W z, skip = S z (equations 2 and 3, figure 4).

    `conditional`: there is a condition y; V has no bias. The `last` layer has no h', which nothing would read.
    """

    features: int
    skip_features: int
    kernel: int
    dilation: int
    conditional: bool = False
    last: bool = False
    dtype: Dtype = None

    def setup(self):
        F = self.features
        self.conv = DilatedConv(2 * F, self.kernel, self.dilation, self.dtype)
        self.out = Dense(self.skip_features + (not self.last) * F, dtype=self.dtype)
        if self.conditional:
            self.condition = Dense(2 * F, use_bias=False, dtype=self.dtype)

    def __call__(
        self, h: Float[Array, "B *L F"], y: Float[Array, "B *T K"] | None, time: Time
    ) -> tuple[Float[Array, "B *L F"], Float[Array, "B *L S"]]:
        """h' and skip; y holds one vector for each time, or one for all times."""
        a = self.conv(h, time)
        if y is not None:
            a = a + self.condition(y)
        skip, residual = jnp.split(self.out(gated_tanh(a)), [self.skip_features], axis=-1)
        return h if self.last else h + residual, skip


class FrameUpsample(nn.Module):
    """y_t = U_{t mod hop} frame_{t // hop}: a transposed convolution of width and stride `hop`."""

    hop: int
    dtype: Dtype = None

    @nn.compact
    def __call__(self, frames: Float[Array, "B T K"]) -> Float[Array, "B L K"]:
        batch, count, features = frames.shape
        phases = Dense(self.hop * features, use_bias=False, dtype=self.dtype)(frames)
        return phases.reshape(batch, count * self.hop, features)


class WaveNet(Sequence):
    """Sequences (L,) of codes, read one-hot, with a softmax; with `mixtures` K read as reals, with K logistics.

    They can be conditioned globally on a class (`num_classes`), and locally on any number of sequences. With
    `local` > 0 one is an array (frames, local) of features, one frame for each `hop` samples; the last frame may cover
    fewer. The others are sequences of symbols, `codes`, of shape (T,) or (T, G), whose length divides the event's; the
    network reads a learned vector of `embedding` numbers for each symbol.
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
    codes: tuple[Event, ...] = ()
    embedding: int = 32

    def setup(self):
        self.check()
        dilations = [2**i for i in range(self.depth)] * self.cycles
        self.first = DilatedConv(self.features, self.kernel, dtype=self.dtype)
        self.layers = [
            GatedLayer(
                self.features,
                self.skip_features,
                self.kernel,
                dilation,
                conditional=bool(self.num_classes or self.conditions),
                last=i == len(dilations) - 1,
                dtype=self.dtype,
            )
            for i, dilation in enumerate(dilations)
        ]
        self.hidden = Dense(self.skip_features, dtype=self.dtype)
        self.out = Dense(self.head.size, dtype=self.dtype)
        if self.local:
            self.upsample = FrameUpsample(self.hop, dtype=self.dtype)
        self.tables = [Embed(event.num_levels, self.embedding) for event in self.codes]
        hops = [self.event.size // event.shape[0] for event in self.codes]
        self.upsamples = [FrameUpsample(hop, dtype=self.dtype) for hop in hops]

    def body(
        self, x: Int[Array, "B *sites"], cond: Float[Array, "B T K"] | None, train: bool, time: Time
    ) -> Float[Array, "B *sites P"]:
        if cond is not None and time is not None:  # the index is clamped: a class has one vector
            cond = lax.dynamic_index_in_dim(cond, time, axis=1, keepdims=False)
        h, skips = self.first(self.to_input(shifted(x, time)), time), jnp.zeros(())
        for layer in self.layers:
            h, skip = layer(h, cond, time)
            show(self, h)
            skips = skips + skip
        return self.out(nn.relu(self.hidden(nn.relu(skips))))

    def to_input(self, codes: Int[Array, "*batch"]) -> Float[Array, "*batch I"]:
        """The first layer's input for these codes: zeros if there is none."""
        if self.mixtures is None:
            return nn.one_hot(codes, self.levels)
        return jnp.where(codes == NOTHING, 0, to_symmetric(codes, self.levels))[..., None]

    def terms(self, cond: Cond) -> Float[Array, "B T K"] | None:
        """One vector for all times, from a class alone, or one for each; InputError without features or codes."""
        label, values = parts_of(self, cond)
        for event, value in zip(self.conditions, values, strict=True):
            if value is None or value.shape[1:] != event.shape:
                shape = "nothing" if value is None else f"a value of shape {value.shape[1:]}"
                raise InputError(f"wavenet needs {event.shape} for each example, not {shape}")
        parts = [] if label is None else [nn.one_hot(label, self.num_classes)[:, None]]
        if self.local:
            parts.append(self.upsample(values[0])[:, : self.event.size])
        codes = values[bool(self.local) :]
        for table, upsample, value in zip(self.tables, self.upsamples, codes, strict=True):
            parts.append(upsample(table(value).reshape(*value.shape[:2], -1)))
        if len(parts) < 2:
            return parts[0] if parts else None
        length = max(part.shape[1] for part in parts)
        parts = [jnp.broadcast_to(p, (len(p), length, p.shape[2])) for p in parts]
        return jnp.concatenate(parts, axis=-1)

    @property
    def head(self) -> Head:
        """A softmax over the codes, or a mixture of K logistics."""
        return head_for(self.levels, 1, self.mixtures)

    @property
    def conditions(self) -> tuple[Event, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The frames of local features, if any, and the codes."""
        frames = -(-self.event.size // max(self.hop, 1))
        return (*((Event((frames, self.local)),) if self.local else ()), *self.codes)

    @property
    def receptive_field(self) -> int:
        """R = k + (k - 1) sum_l d_l, the number of earlier samples that a sample's distribution depends on."""
        return self.kernel + (self.kernel - 1) * self.cycles * (2**self.depth - 1)

    def context(self, site: int) -> Bool[np.ndarray, " sites"]:
        """The R samples before this one."""
        earlier = site - np.arange(self.num_sites)
        return (earlier > 0) & (earlier <= self.receptive_field)

    def check(self) -> None:
        require(
            len(self.event.shape) == 1,
            f"wavenet is a model of sequences (L,), not of {self.event.shape}",
        )
        require(
            min(self.cycles, self.depth, self.features, self.skip_features, self.hop) >= 1,
            "wavenet needs cycles, depth, features, skip_features and hop of at least 1",
        )
        require(
            self.kernel >= 2 and (self.mixtures is None or self.mixtures >= 1),
            "wavenet needs a kernel of at least 2 and, if any, 1 or more mixtures",
        )
        for event in self.codes:
            require(
                event.levels is not None
                and len(event.shape) in (1, 2)
                and self.event.size % event.shape[0] == 0,
                f"codes are symbols of shape (T,) or (T, G), where T divides {self.event.size}, not {event}",
            )
        require(self.embedding >= 1, f"wavenet needs embedding >= 1, not {self.embedding}")
