"""The variational bound of a Gaussian chain run backwards, once for every model that learns to undo noise.

-log p(x_0) <= L = L_0 + sum_{t=2..T} L_{t-1} + L_T, L_0 = -E log p(x_0 | x_1), L_{t-1} = E KL(q(x_{t-1} | x_t, x_0) ||
p(x_{t-1} | x_t)), L_T = KL(q(x_T | x_0) || N(0, I)), with p(x_{t-1} | x_t) = N(posterior mean at the network's x_0,
sigma_t^2) (Ho, Jain and Abbeel 2020, 2006.11239, equations 5 to 7 and 13).
"""

from typing import Any, ClassVar, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int, Num

from gen_jax.density import (
    Codec,
    Computing,
    Kind,
    Value,
    bits_per_dim,
    fold_in,
)
from gen_jax.errors import InputError
from gen_jax.models.diffusion import schedules
from gen_jax.nn.unet import UNet
from gen_jax.ops import diffusion, gaussian
from gen_jax.ops.diffusion import Chain, Predicted
from gen_jax.ops.scaling import from_unit, to_symmetric
from gen_jax.typing import Event, Nats, PRNGKey

VALUES_AT_ONCE = 2**17  # times x examples x dimensions of one chunk


class Back(NamedTuple):
    """What the network makes of x_t: its output, x_0, and the log of the standard deviation of p(x_{t-1} | x_t)."""

    output: Float[Array, "B *event"]
    data: Float[Array, "B *event"]
    log_scale: Float[Array, "B ..."]


class ChainBound(nn.Module):
    """A mass over integers, which lie over [-1, 1], or a density of reals, as they are.

    `network` is called with x_t, t in 1..T, the number of outputs and `train`. `variance` of p(x_{t-1} | x_t): `beta`
    of the step, that of the `posterior`, or `learned` between both in logarithms (Nichol and Dhariwal 2021, 2102.09672,
    equation 15). At t = 1 the first two have the posterior's at t = 2. Outside training the network's x_0 is clipped
    to [-1, 1] where the event has levels.
    """

    event: Event
    network: nn.Module = UNet()
    timesteps: int = 1000
    schedule: schedules.LinearSchedule | schedules.CosineSchedule = schedules.LinearSchedule()
    predicted: Predicted = "noise"
    variance: Literal["beta", "posterior", "learned"] = "beta"

    num_classes: ClassVar[int] = 0
    value: ClassVar[Value] = "bound"
    codec: ClassVar[Codec] = "none"

    @property
    def kind(self) -> Kind:
        """A mass where the event has levels."""
        return "density" if self.event.levels is None else "mass"

    @property
    def dtype(self) -> str | None:
        """What the network computes in."""
        network: Any = self.network
        return network.dtype if isinstance(network, Computing) else None

    @property
    def alpha_bar(self) -> Float[np.ndarray, " times"]:
        """The schedule's, for t = 0..T."""
        return schedules.alpha_bar(self.schedule.betas(self.timesteps))

    @property
    def chain(self) -> Chain:
        """The chain that the bound is about."""
        return diffusion.chain(self.alpha_bar)

    def setup(self):
        """InputError where there is no step between two noisy images, or the network cannot take the event."""
        if self.timesteps < 2:
            raise InputError(f"timesteps must be at least 2, not {self.timesteps}")
        if isinstance(self.network, UNet):
            self.network.check(self.event)

    def to_reals(self, x: Num[Array, "B *event"]) -> Float[Array, "B *event"]:
        """x_0."""
        if self.event.levels is None:
            return x.astype(jnp.result_type(float))
        return to_symmetric(x, self.event.levels)

    def to_event(self, x_0: Float[Array, "B *event"]) -> Num[Array, "B *event"]:
        """The nearest example."""
        if self.event.levels is None:
            return x_0
        return from_unit((x_0 + 1) / 2, self.event.levels)

    def back(
        self, x_t: Float[Array, "B *event"], t: Int[Array, " B"], now: Chain, train: bool = False
    ) -> Back:
        """What the network makes of x_t, where `now` holds its chain's coefficients."""
        channels = x_t.shape[-1]
        outputs = channels * (2 if self.variance == "learned" else 1)
        both = self.network(x_t, t, outputs, train).astype(x_t.dtype)
        output, share = both[..., :channels], both[..., channels:]
        data = diffusion.data_of(self.predicted, now, output, x_t)
        if self.event.levels is not None and not train:
            data = jnp.clip(data, -1.0, 1.0)
        if self.variance == "learned":
            share = (share + 1) / 2
            return Back(output, data, share * now.forward + (1 - share) * now.posterior)
        return Back(output, data, now.large if self.variance == "beta" else now.posterior)

    def log_decoder(
        self,
        x: Num[Array, "B *event"],
        mean: Float[Array, "B *event"],
        log_scale: Float[Array, "B ..."],
    ) -> Float[Array, "B *event"]:
        """log p(x_0 | x_1) of each value: a Gaussian, over the bin of an integer."""
        if self.event.levels is None:
            return gaussian.log_prob(x.astype(mean.dtype), mean, log_scale)
        return gaussian.log_mass(x, mean, log_scale, self.event.levels)

    def term(
        self,
        x: Num[Array, "B *event"],
        t: Int[Array, " B"],
        noise: Float[Array, "B *event"],
        train: bool = False,
        mean_fixed: bool = False,
    ) -> tuple[Nats, Nats]:
        """L_{t-1} at the x_t of this noise, nats, and the mean squared error of what the network says.

        `mean_fixed`: only the variance gets a gradient from the term.
        """
        data, now = self.to_reals(x), diffusion.at(self.chain, t, x.ndim)
        x_t = diffusion.diffused(now, data, noise)
        back = self.back(x_t, t, now, train)
        said = lax.stop_gradient(back.data) if mean_fixed else back.data
        mean = diffusion.posterior_mean(now, said, x_t)
        true_mean = diffusion.posterior_mean(now, data, x_t)
        first = (t == 1).reshape(-1, *(1,) * (x.ndim - 1))
        # where it is not read the decoder stays near the data, so that its gradient is finite
        near = jnp.where(first, mean, data)
        values = jnp.where(
            first,
            -self.log_decoder(x, near, back.log_scale),
            gaussian.kl(true_mean, now.posterior, mean, back.log_scale),
        )
        error = (back.output - diffusion.target(self.predicted, now, data, noise)) ** 2
        axes = tuple(range(1, x.ndim))
        return jnp.sum(values, axis=axes), jnp.mean(error, axis=axes)

    def last_term(self, x: Num[Array, "B *event"]) -> Nats:
        """L_T = KL(q(x_T | x_0) || N(0, I))."""
        chain = self.chain
        mean = self.to_reals(x) * chain.signal[-1]
        log_scale = jnp.full(x.shape, np.log(chain.noise[-1]), mean.dtype)
        return jnp.sum(gaussian.kl_to_standard(mean, log_scale), axis=tuple(range(1, x.ndim)))

    def terms(
        self, x: Num[Array, "B *event"], key: PRNGKey, draws: int = 1
    ) -> Float[Array, "B terms"]:
        """L_0, L_1, ..., L_T in nats, each a mean over `draws` noises; memory does not grow with T or draws."""
        module, variables = self.unbind()
        chunk = max(1, min(self.timesteps, VALUES_AT_ONCE // x.size))
        firsts = jnp.arange(1, self.timesteps + 1, chunk)
        tiled = jnp.repeat(x, chunk, axis=0)

        def some(first: Int[Array, ""], key: PRNGKey) -> Float[Array, "B chunk"]:
            t = jnp.minimum(first + jnp.arange(chunk), self.timesteps)
            noise = jax.vmap(lambda t: _normal(fold_in(key, t), x.shape), out_axes=1)(t)
            every = jnp.tile(t, len(x)), noise.reshape(tiled.shape)
            return module.apply(variables, tiled, *every, method="term")[0].reshape(len(x), chunk)

        def one_draw(total, draw):
            return total + lax.map(lambda first: some(first, fold_in(key, draw)), firsts), None

        zeros = jnp.zeros((len(firsts), len(x), chunk), jnp.result_type(float))
        total, _ = lax.scan(one_draw, zeros, jnp.arange(draws))
        means = jnp.moveaxis(total, 0, 1).reshape(len(x), -1)[:, : self.timesteps] / draws
        return jnp.concatenate([means, self.last_term(x)[:, None]], axis=1)

    def log_prob(
        self,
        x: Num[Array, "B *event"],
        key: PRNGKey | None = None,
        cond: Array | None = None,
        draws: int = 1,
    ) -> Nats:
        """-L, nats, over all t; `draws` noises for each term are averaged, which sharpens the number, not the bound."""
        if key is None:
            raise InputError(f"log_prob of {type(self).__name__} is a bound and needs a key")
        del cond  # no classes
        return -jnp.sum(self.terms(x, key, draws), axis=1)

    def curves(self, x: Num[Array, "B *event"], key: PRNGKey) -> dict[str, Float[Array, "B terms"]]:
        """The bound term by term."""
        return {"Terms L_t of the bound, bits/dim": bits_per_dim(self.terms(x, key), self.event)}


def _normal(key: PRNGKey, shape: tuple[int, ...]) -> Float[Array, "..."]:
    return jax.random.normal(key, shape, jnp.result_type(float))
