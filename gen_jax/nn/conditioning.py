"""How a model of images reads what an image is given: a vector for all of it, and maps with a vector for each pixel."""

from dataclasses import dataclass
from typing import NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Num

from gen_jax.check import require
from gen_jax.nn.conv import Conv, ConvTranspose, Dense, Embed
from gen_jax.ops.gates import concat_elu, gated_linear
from gen_jax.ops.scaling import to_symmetric
from gen_jax.typing import Dtype, Event


class Context(NamedTuple):
    """A condition as a network reads it; the sides of each map are half of those of the map before.

    `vector`: the class, or numbers for the whole image.
    """

    vector: Num[Array, "B *K"] | None
    maps: tuple[Float[Array, "B _h _w F"], ...] = ()

    @property
    def coarser(self) -> "Context":
        """The same at half the resolution."""
        return self._replace(maps=self.maps[1:])


class GatedConv(nn.Module):
    """y = x + a . sigma(b), [a, b] = conv(f(conv(f(x)) + W f(skip))), f = concat_elu, 3x3 without a mask."""

    features: int
    dropout: float = 0.0
    dtype: Dtype = None

    @nn.compact
    def __call__(
        self, x: Float[Array, "B h w F"], *skip: Float[Array, "B h w F"], train: bool = False
    ) -> Float[Array, "B h w F"]:
        F, dtype = self.features, self.dtype
        hidden = Conv(F, (3, 3), dtype=dtype)(concat_elu(x))
        for other in skip:
            hidden = hidden + Dense(F, dtype=dtype)(concat_elu(other))
        hidden = nn.Dropout(self.dropout)(concat_elu(hidden), deterministic=not train)
        return x + gated_linear(Conv(2 * F, (3, 3), dtype=dtype)(hidden))


@dataclass(frozen=True)
class MapReader:
    """The network that reads maps (`Maps`): features of the maps, gated residual networks, resolutions, dropout.

    Levels are read as numbers or, with `embedding` > 0, as symbols with a learned vector of this length.
    """

    features: int = 64
    resnets: int = 2
    resolutions: int = 3
    embedding: int = 0
    dropout: float = 0.0

    def check(self, events: tuple[Event, ...], event: Event, resolutions: int = 1) -> None:
        """InputError if values or sides do not fit an image that reads maps of so many resolutions."""
        if not events:
            return
        height, width = event.shape[:2]
        for given in events:
            sides = given.shape[:2]
            require(
                len(given.shape) == 3 and not (height % sides[0] or width % sides[1]),
                f"maps are images or grids (h, w, c) whose sides divide {height}x{width}, not {given.shape}",
            )
        factor = 2 ** (self.resolutions - 1)
        require(0 <= self.dropout < 1, f"reader.dropout must lie in [0, 1), not {self.dropout}")
        require(
            min(self.features, self.resolutions) >= 1 and min(self.resnets, self.embedding) >= 0,
            "reader needs features and resolutions of at least 1, resnets and embedding of at least 0",
        )
        require(
            not (height % factor or width % factor),
            f"a reader of {self.resolutions} resolutions needs sides that {factor} divides, not {height}x{width}",
        )
        require(
            self.resolutions >= resolutions,
            f"a network of {resolutions} resolutions needs a reader of as many, not {self.resolutions}",
        )


class Maps(nn.Module):
    """From images or grids of codes to maps for an image (H, W), one for each resolution, with halved sides.

    Each value (h, w, c) is first mapped to (H, W) by a transposed convolution whose width is its stride. Then follow a
    3x3 convolution, `resnets` gated residual networks at each resolution with strides between, and the way up with
    skips (Kolesnikov and Lampert 2017, 1612.08185, as in their code, but without weight normalisation).
    """

    reader: MapReader
    dtype: Dtype = None

    @nn.compact
    def __call__(
        self,
        values: tuple[Num[Array, "B ..."], ...],
        events: tuple[Event, ...],
        event: Event,
        train: bool = False,
    ) -> tuple[Float[Array, "B _h _w F"], ...]:
        """The maps, from the finest to the coarsest."""
        reader, dtype = self.reader, self.dtype
        F, last = reader.features, reader.resolutions - 1
        starts = [self._spread(*pair, event) for pair in zip(values, events, strict=True)]
        h = Conv(F, (3, 3), dtype=dtype)(sum(starts[1:], starts[0]))
        passed = []
        for level in range(reader.resolutions):
            for _ in range(reader.resnets):
                h = GatedConv(F, reader.dropout, dtype)(h, train=train)
            passed.append(h)
            if level < last:
                h = Conv(F, (3, 3), stride=2, dtype=dtype)(concat_elu(h))
        maps = [h]
        for level in reversed(range(last)):
            h = ConvTranspose(F, (4, 4), stride=2, dtype=dtype)(concat_elu(h))
            for _ in range(reader.resnets):
                h = GatedConv(F, reader.dropout, dtype)(h, passed[level], train=train)
            maps.append(h)
        return tuple(reversed(maps))

    def _spread(
        self, value: Num[Array, "B h w C"], given: Event, event: Event
    ) -> Float[Array, "B H W F"]:
        """A vector for each pixel of the image, from the one value that covers it."""
        (height, width, _), (high, wide, _) = event.shape, given.shape
        tall, broad = height // high, width // wide
        if self.reader.embedding and given.levels:
            table = Embed(given.levels, self.reader.embedding, self.dtype)
            x = table(value.astype(jnp.int32)).reshape(len(value), high, wide, -1)
        else:
            x = value if given.levels is None else to_symmetric(value, given.levels)
        x = Dense(tall * broad * self.reader.features, dtype=self.dtype)(x)
        x = x.reshape(len(x), high, wide, tall, broad, self.reader.features)
        return jnp.swapaxes(x, 2, 3).reshape(len(x), height, width, self.reader.features)
