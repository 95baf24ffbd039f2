"""p(x | z) of a VQ-VAE whose decoder is an autoregressive model: the codes z condition it by their vectors."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Array, Bool, Float, Int

from gen_jax.conditions import Cond, joined, parts_of
from gen_jax.heads import Head
from gen_jax.models.autoregressive.base import Autoregressive
from gen_jax.nn.codebook import Codebook
from gen_jax.typing import Event


class GivenCodes(Autoregressive):
    """p(x | z, label) by `network`, which is given the vectors of the codes z, a grid of them from each codebook."""

    network: Autoregressive
    codebooks: tuple[Codebook, ...]
    grids: tuple[Event, ...]

    @property
    def num_classes(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The network's."""
        return self.network.num_classes

    @property
    def conditions(self) -> tuple[Event, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The codes z."""
        return self.grids

    @property
    def head(self) -> Head:
        return self.network.head

    @property
    def sites(self) -> Int[np.ndarray, "sites V"]:
        return self.network.sites

    def vectors(self, cond: Cond) -> Cond:
        """The network's condition: the label and the vectors of the codes."""
        label, codes = parts_of(self, cond)
        vectors = [book(z) for book, z in zip(self.codebooks, codes, strict=True)]
        return given_vectors(self.network, label, vectors)

    def __call__(
        self, x: Array, cond: Cond = None, train: bool = False
    ) -> Float[Array, "B sites P"]:
        return self.network(x, self.vectors(cond), train)

    def context(self, site: int) -> Bool[np.ndarray, " sites"]:
        return self.network.context(site)

    def init_cache(self, n: int, cond: Cond = None) -> Any:
        """The network's."""
        return self.network.init_cache(n, self.vectors(cond))

    def step(self, cache: Any, site: Int[Array, ""]) -> tuple[Any, Float[Array, "n P"]]:
        return self.network.step(cache, site)

    def write(self, cache: Any, site: Int[Array, ""], value: Int[Array, "n V"]) -> Any:
        return self.network.write(cache, site, value)


def given_vectors(network: Autoregressive, label: Any, vectors: Sequence[Array]) -> Any:
    """The condition of a network that is given a grid of vectors from each codebook, and the label."""
    pairs = zip(vectors, network.conditions, strict=True)
    return joined(label, [part.reshape(len(part), *event.shape) for part, event in pairs])
