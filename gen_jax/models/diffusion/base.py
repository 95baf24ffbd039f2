"""The variational bound of a diffusion model: one term for each step of the chain x_T, ..., x_0, and one for x_T.

-log p(x_0) <= L = L_0 + sum_{t=2..T} L_{t-1} + L_T (Sohl-Dickstein et al. 2015, 1503.03585; Ho, Jain and Abbeel 2020,
2006.11239, equation 5). A subclass defines the terms. Likelihood and curves are written here.
"""

from typing import Any, ClassVar, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int, Num

from gen_jax.check import require_key
from gen_jax.conditions import Cond
from gen_jax.density import Codec, Computing, Kind, Value, bits_per_dim, fold_in
from gen_jax.nn.unet import UNet
from gen_jax.ops import diffusion
from gen_jax.ops.diffusion import Chain
from gen_jax.typing import Event, Nats, PRNGKey

VALUES_AT_ONCE = 2**17  # times x examples x dimensions in one chunk


class Back(NamedTuple):
    """The network's output at x_t, the x_0 that it implies, and log sigma_t of p(x_{t-1} | x_t)."""

    output: Float[Array, "B *event"]
    data: Float[Array, "B *event"]
    log_scale: Float[Array, "B ..."]


class ChainBound(nn.Module):
    """A mass over integers, which are scaled to [-1, 1], or a density of reals.

    `network` is called with x_t, the time, the number of output channels, and `train`; with classes also with a vector
    for each example, which is zero where no class is given.
    """

    event: Event
    network: nn.Module = UNet()

    num_classes = 0  # a class-conditional model makes a field of it, its last
    value: ClassVar[Value] = "bound"

    @property
    def codec(self) -> Codec:
        """None in general."""
        return "none"

    @property
    def kind(self) -> Kind:
        """A mass if the event has levels, else a density."""
        return "density" if self.event.levels is None else "mass"

    @property
    def dtype(self) -> str | None:
        """The type in which the network computes."""
        network: Any = self.network
        return network.dtype if isinstance(network, Computing) else None

    def setup(self):
        self.check()

    def to_reals(self, x: Num[Array, "B *event"]) -> Float[Array, "B *event"]:
        """x_0: the event as reals."""
        raise TypeError(f"{type(self).__name__} does not define its reals")

    def to_event(self, x_0: Float[Array, "B *event"]) -> Num[Array, "B *event"]:
        """The event nearest to x_0."""
        raise TypeError(f"{type(self).__name__} does not define its reals")

    def chain(self, steps: int | None = None) -> Chain:
        """The coefficients of q for t = 0..T, or of a chain of `steps` steps."""
        raise TypeError(f"{type(self).__name__} does not define its chain")

    def term(
        self,
        x: Num[Array, "B *event"],
        t: Int[Array, " B"],
        noise: Float[Array, "B *event"],
        *,
        cond: Cond = None,
        steps: int | None = None,
    ) -> Any:
        """L_{t-1} in nats, at the x_t made with this noise; other values may follow it. `steps`: as in `chain`."""
        raise TypeError(f"{type(self).__name__} does not define the terms of its bound")

    def noise_at(
        self, x_t: Float[Array, "B *event"], now: Chain, cond: Cond = None
    ) -> Float[Array, "B *event"]:
        """The noise that the network finds in x_t; x_0 is not clipped."""
        model: Any = self
        return diffusion.noise_of(now, model.back(x_t, now, cond=cond).data, x_t)

    def prior_term(self, x: Num[Array, "B *event"]) -> Nats:
        """L_T, nats."""
        raise TypeError(f"{type(self).__name__} does not define the terms of its bound")

    def terms(
        self,
        x: Num[Array, "B *event"],
        key: PRNGKey,
        draws: int = 1,
        cond: Cond = None,
        steps: int | None = None,
    ) -> Float[Array, "B terms"]:
        """L_0, L_1, ..., L_T in nats, each a mean over `draws` draws of x_t; memory does not grow with T or draws.

        `steps`: the terms of this chain, in place of the model's.
        """
        module, variables = self.unbind()
        last = len(self.chain(steps).signal) - 1
        chunk = max(1, min(last, VALUES_AT_ONCE // x.size))
        firsts = jnp.arange(1, last + 1, chunk)
        tiled = jnp.repeat(x, chunk, axis=0)
        label = jax.tree.map(lambda part: jnp.repeat(part, chunk, axis=0), cond)

        def some(first: Int[Array, ""], key: PRNGKey) -> Float[Array, "B chunk"]:
            t = jnp.minimum(first + jnp.arange(chunk), last)
            noise = jax.vmap(lambda t: _normal(fold_in(key, t), x.shape), out_axes=1)(t)
            every = jnp.tile(t, len(x)), noise.reshape(tiled.shape)
            options = {"cond": label, "steps": steps, "method": "term"}
            terms: Any = module.apply(variables, tiled, *every, **options)
            return terms[0].reshape(len(x), chunk)

        def one_draw(total, draw):
            return total + lax.map(lambda first: some(first, fold_in(key, draw)), firsts), None

        zeros = jnp.zeros((len(firsts), len(x), chunk), jnp.result_type(float))
        total, _ = lax.scan(one_draw, zeros, jnp.arange(draws))
        means = jnp.moveaxis(total, 0, 1).reshape(len(x), -1)[:, :last] / draws
        return jnp.concatenate([means, self.prior_term(x)[:, None]], axis=1)

    def log_prob(
        self,
        x: Num[Array, "B *event"],
        key: PRNGKey | None = None,
        cond: Cond = None,
        draws: int = 1,
    ) -> Nats:
        """-L in nats, over all t. More `draws` for each term reduce the noise of the number, not the bound's gap."""
        key = require_key(key, type(self).__name__)
        return -jnp.sum(self.terms(x, key, draws, cond), axis=1)

    def curves(
        self, x: Num[Array, "B *event"], key: PRNGKey, cond: Cond = None
    ) -> dict[str, Float[Array, "B terms"]]:
        """The terms of the bound."""
        terms = self.terms(x, key, cond=cond)
        return {"Terms L_t of the bound, bits/dim": bits_per_dim(terms, self.event)}

    def check(self) -> None:
        if isinstance(self.network, UNet):
            self.network.check(self.event)


def _normal(key: PRNGKey, shape: tuple[int, ...]) -> Float[Array, "..."]:
    return jax.random.normal(key, shape, jnp.result_type(float))
