"""Distribution augmentation: log p(x | t) of events under transformations t, of which log p(x) is that of the identity.

The loss is L = -E_t log p(t(x) | t): one network learns the distributions of all transformed events, and is evaluated,
sampled and coded as that of the untouched ones (Jun, Child, Chen, Schulman, Ramesh, Radford and Sutskever 2020,
"Distribution Augmentation for Generative Modeling", section 3). t is a kind of each of several transformations, drawn
uniformly for each example.
"""

from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Integer, Num

from gen_jax.check import require
from gen_jax.conditions import Cond
from gen_jax.density import bits_per_dim, fold_in
from gen_jax.heads import Head
from gen_jax.models.autoregressive.base import Autoregressive
from gen_jax.models.autoregressive.sequence import Beginning, Sequence
from gen_jax.ops.augment import ColourPermutation, Jigsaw, Rotation, Transform, Transposition
from gen_jax.ops.convolution import gathered
from gen_jax.typing import Metrics, PRNGKey, Scalar

IDENTITY = 0


class DistAug(Autoregressive):
    """`base`: a sequence model that can begin with a given vector, here the sum of a vector for each kind in t.

    With `move_places` a value takes the code of its place along, so that the base knows where it was (the default of
    the authors' code).
    """

    system: ClassVar[str] = "dist_aug"

    base: Sequence
    transforms: tuple[Transform, ...] = (
        Rotation(),
        Transposition(),
        ColourPermutation(),
        Jigsaw(),
    )
    move_places: bool = True

    @property
    def head(self) -> Head:
        return self.base.head

    @property
    def sites(self) -> Int[np.ndarray, "sites V"]:
        return self.base.sites

    def setup(self):
        self.check()
        self.tables = [transform.table(self.event.shape) for transform in self.transforms]
        self.vectors = [
            gathered(
                self.param(
                    transform.name, nn.initializers.normal(0.01), (len(table), self.base.features)
                )
            )
            for transform, table in zip(self.transforms, self.tables, strict=True)
        ]

    def beginning(
        self, kinds: Int[Array, "B T"], places: Int[Array, "B sites"] | None
    ) -> Beginning:
        """The start vector of these kinds, one of each transformation, and the places of the values."""
        parts = [table[kinds[:, i]] for i, table in enumerate(self.vectors)]
        return Beginning(sum(parts[1:], parts[0]), places)

    def identity(self, n: int) -> Beginning:
        """The start vector of n untouched events."""
        return self.beginning(jnp.full((n, len(self.transforms)), IDENTITY), None)

    def transformed(
        self, x: Num[Array, "B *event"], kinds: Int[Array, "B T"]
    ) -> tuple[Num[Array, "B *event"], Int[Array, "B D"]]:
        """t(x), one transformation after the other, and where each of its values lay in x."""
        places = jnp.broadcast_to(jnp.arange(self.event.size), (len(x), self.event.size))
        for i, table in enumerate(self.tables):
            moved = jnp.asarray(table)[kinds[:, i]]
            places = jnp.take_along_axis(places, moved, axis=1)
        flat = jnp.take_along_axis(x.reshape(len(x), -1), places, axis=1)
        return flat.reshape(x.shape), places

    def log_prob_given(
        self, x: Integer[Array, "B *event"], kinds: Int[Array, "B T"], train: bool = False
    ) -> Float[Array, "B sites"]:
        """log p(t(x)_i | t(x)_<i, t) of every site, nats."""
        moved, places = self.transformed(x, kinds)
        places = places[:, self.sites[:, 0]] if self.move_places else None
        params = self.base(moved, self.beginning(kinds, places), train)
        return self.head.log_prob(params, self.site_values(moved))

    def loss(  # pyright: ignore[reportIncompatibleMethodOverride]  of whole examples only
        self, x: Integer[Array, "B *event"], key: PRNGKey, cond: Cond = None
    ) -> tuple[Scalar, Metrics]:
        """Mean of -log p(t(x) | t) in nats per dimension."""
        counts = jnp.array([len(table) for table in self.tables])
        kinds = jax.random.randint(fold_in(key, "kinds"), (len(x), len(counts)), 0, counts)
        nats = -jnp.mean(jnp.sum(self.log_prob_given(x, kinds, train=True), axis=-1))
        return nats / self.event.size, {"bits_per_dim": bits_per_dim(nats, self.event)}

    def __call__(
        self, x: Integer[Array, "B *event"], cond: Cond = None, train: bool = False
    ) -> Float[Array, "B sites P"]:
        return self.base(x, self.identity(len(x)), train)

    def context(self, site: int) -> Bool[np.ndarray, " sites"]:
        return self.base.context(site)

    def init_cache(self, n: int, cond: Cond = None) -> Any:
        return self.base.init_cache(n, self.identity(n))

    def step(self, cache: Any, site: Int[Array, ""]) -> tuple[Any, Float[Array, "B P"]]:
        return self.base.step(cache, site)

    def write(self, cache: Any, site: Int[Array, ""], value: Int[Array, "B V"]) -> Any:
        return self.base.write(cache, site, value)

    def check(self) -> None:
        """InputError on a base of other events, or that cannot begin with a vector."""
        base = type(self.base).__name__
        require(
            isinstance(self.base, Sequence) and self.base.begins,
            f"dist_aug needs a sequence model that can begin with a given vector, {base} cannot",
        )
        require(
            self.base.event == self.event,
            f"dist_aug is of {self.event}, its base of {self.base.event}",
        )
        names = [transform.name for transform in self.transforms]
        require(
            0 < len(names) == len(set(names)),
            "dist_aug needs one transformation or more, each once",
        )
