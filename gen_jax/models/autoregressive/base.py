"""The chain rule: log p(x) = sum_i log p(x_i | x_<i), once for every autoregressive model.

A subclass says how the parameters of p(x_i | x_<i) come about, in parallel for given x (`__call__`) and one site after
the other (`init_cache`, `step`, `write`); likelihood, loss and sampling follow.
"""

from typing import Any, ClassVar

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Integer, Num

from gen_jax import sampling
from gen_jax.density import Codec, Kind, LossPer, Value, bits_per_dim
from gen_jax.errors import InputError
from gen_jax.heads import Head, head_for
from gen_jax.typing import Event, Metrics, Nats, PRNGKey, Scalar

Cache = Any


class Autoregressive(nn.Module):
    """An exact probability mass over integers, site by site.

    A site is one network evaluation; sites are numbered in the order in which they are generated.
    """

    event: Event

    num_classes: ClassVar[int] = 0  # a class-conditional model makes a field of it
    kind: ClassVar[Kind] = "mass"
    value: ClassVar[Value] = "exact"
    codec: ClassVar[Codec] = "direct"
    loss_per: ClassVar[LossPer] = "dimension"
    takes_reals: ClassVar[bool] = (
        False  # `__call__` takes levels as reals too: it has gradients in x
    )

    @property
    def levels(self) -> int:
        """Number of levels of each value; InputError for events of reals."""
        if self.event.levels is None:
            raise InputError(
                f"{type(self).__name__} is a mass over integers, the event has real values"
            )
        return self.event.levels

    @property
    def head(self) -> Head:
        """The distribution of a site's values given its parameters."""
        return head_for(self.levels)

    @property
    def sites(self) -> Int[np.ndarray, "sites V"]:
        """Positions in the flattened event of each site's values; here one value a site, in raster order."""
        return np.arange(self.event.size)[:, None]

    @property
    def num_sites(self) -> int:
        """Number of network evaluations that a sample takes."""
        return len(self.sites)

    def __call__(
        self, x: Array, cond: Array | None = None, train: bool = False
    ) -> Float[Array, "B sites P"]:
        """Parameters of every p(x_i | x_<i), all sites at once."""
        raise TypeError(f"{type(self).__name__} does not define its conditionals")

    def context(self, site: int) -> Bool[np.ndarray, " sites"]:
        """The sites that this site's distribution depends on: all earlier ones, unless a model says otherwise."""
        return np.arange(self.num_sites) < site

    def init_cache(self, n: int, cond: Array | None = None) -> Cache:
        """The cache of n empty events; step and write keep its structure."""
        raise TypeError(f"{type(self).__name__} does not step")

    def step(self, cache: Cache, site: Int[Array, ""]) -> tuple[Cache, Float[Array, "B P"]]:
        """Parameters of p(x_site | x_<site), the sites before having been written."""
        raise TypeError(f"{type(self).__name__} does not step")

    def write(self, cache: Cache, site: Int[Array, ""], value: Int[Array, "B V"]) -> Cache:
        """Take in the values of a site: drawn, decoded or given."""
        raise TypeError(f"{type(self).__name__} does not step")

    def site_values(self, x: Num[Array, "B *event"]) -> Num[Array, "B sites V"]:
        """The values of each site, in the order of generation."""
        return x.reshape(x.shape[0], -1)[:, self.sites]

    def log_prob_sites(
        self, x: Integer[Array, "B *event"], cond: Array | None = None, train: bool = False
    ) -> Float[Array, "B sites"]:
        """log p(x_i | x_<i) of every site, nats."""
        return self.head.log_prob(self(x, cond, train), self.site_values(x))

    def log_prob(
        self, x: Integer[Array, "B *event"], key: PRNGKey | None = None, cond: Array | None = None
    ) -> Nats:
        """log p(x), exact, nats."""
        del key  # exact: no noise
        return jnp.sum(self.log_prob_sites(x, cond), axis=-1)

    def loss(
        self, x: Integer[Array, "B *event"], key: PRNGKey, cond: Array | None = None
    ) -> tuple[Scalar, Metrics]:
        """Mean negative log-likelihood in nats per dimension."""
        del key  # dropout has its own stream
        nats = -jnp.mean(jnp.sum(self.log_prob_sites(x, cond, train=True), axis=-1))
        return nats / self.event.size, {"bits_per_dim": bits_per_dim(nats, self.event)}

    def sample(
        self, key: PRNGKey, n: int, cond: Array | None = None, temperature: float | Scalar = 1.0
    ) -> Int[Array, "n *event"]:
        """n draws by ancestral sampling, one step a site."""
        module, variables = self.unbind()
        return sampling.ancestral(module, variables, key, n, cond, temperature)
