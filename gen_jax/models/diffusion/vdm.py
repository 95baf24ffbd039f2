"""VDM: Gaussian diffusion in continuous time with a learned ratio of signal to noise.

z_t = alpha_t x + sigma_t eps, sigma_t^2 = sigmoid(gamma(t)) = 1 - alpha_t^2, 0 <= t <= 1, with an increasing gamma, so
SNR(t) = exp(-gamma(t)) falls. The terms of -log p(x) <= L are
    KL(q(z_1 | x) || N(0, I))                                              prior
    -E log p(x | z_0)                                                      reconstruction
    1/2 E gamma'(t) |eps - eps_theta(z_t, gamma(t))|^2, t uniform          diffusion
In T steps the last is T/2 E (exp(gamma(t) - gamma(t - 1/T)) - 1) |eps - eps_theta|^2 with t uniform over 1/T, ..., 1.
Its limit for large T, in continuous time, depends on gamma only through gamma(0) and gamma(1) (Kingma, Salimans, Poole
and Ho 2021, 2107.00630, sections 3 to 5).

As in github.com/google-research/vdm, and unlike the paper's appendix, gamma has the gradient of the bound in all its
parameters, also those that change only the bound's variance. Deviations from that code: samples are drawn from
p(x | z_0) (its arg max there, which is temperature 0 here); without classes the network has no input for one (always
zero there, 512 parameters of the network for CIFAR-10); convolutions begin as in `nn/unet.py`.
"""

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int, Num

from gen_jax.check import require, require_key
from gen_jax.conditions import Cond, one_hot
from gen_jax.density import bits_per_dim, fold_in
from gen_jax.errors import InputError
from gen_jax.models.diffusion.base import Back, ChainBound
from gen_jax.nn.unet import UNet
from gen_jax.ops import categorical, diffusion, gaussian
from gen_jax.ops.diffusion import Chain
from gen_jax.typing import Metrics, Nats, PRNGKey, Scalar

STEPS = 1000  # of a sample in continuous time
SCALE = 1000.0  # of the time that the network is given


class LinearGamma(nn.Module):
    """gamma(t) = b + |w| t with b and w learned, initially from `first` to `last`."""

    first: float = -13.3
    last: float = 5.0

    @nn.compact
    def __call__(self, t: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
        b = self.param("b", nn.initializers.constant(self.first), ())
        w = self.param("w", nn.initializers.constant(self.last - self.first), ())
        return b + jnp.abs(w) * t


class MonotoneGamma(nn.Module):
    """gamma(t) = b + |w| t + mean_i |v_i| (2 sigmoid(|u_i| (2 t - 1) + c_i) - 1), i = 1..`units`; all of it learned."""

    first: float = -13.3
    last: float = 5.0
    units: int = 1024

    @nn.compact
    def __call__(self, t: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
        b = self.param("b", nn.initializers.constant(self.first), ())
        w = self.param("w", nn.initializers.constant(self.last - self.first), ())
        normal, shape = nn.initializers.normal(0.01), (self.units,)
        u, v = self.param("u", normal, shape), self.param("v", normal, shape)
        c = self.param("c", nn.initializers.zeros, shape)
        unit = 2 * nn.sigmoid(jnp.abs(u) * (2 * t - 1)[..., None] + c) - 1
        return b + jnp.abs(w) * t + jnp.mean(jnp.abs(v) * unit, axis=-1)


@dataclass(frozen=True)
class VDMSampler:
    """z_1 becomes z_0 in `steps` equal steps of t; None: the model's `timesteps`, 1,000 in continuous time."""

    steps: int | None = None

    def __post_init__(self):
        if self.steps is not None and self.steps < 1:
            raise InputError(f"sampler.steps must be at least 1, not {self.steps}")


class VDM(ChainBound):
    """`timesteps`: T, or None for the bound in continuous time, where each draw of `log_prob` has one t.

    The chain has T + 1 steps: x_0 is the event, and x_1, ..., x_{T+1} are z_0, ..., z_1. In continuous time it is that
    of the sampler. Level i is v_i = 2 (i + 1/2) / levels - 1, and p(x_0 | x_1) is the softmax over the levels of
    -(z_0 / alpha_0 - v_i)^2 exp(-gamma(0)) / 2; for reals it is the Gaussian with this exponent.

    The network reads z_t, sin and cos of 2^n 2 pi z_t for the n in `fourier`, and gamma(t), scaled so that the initial
    schedule goes from 0 to 1,000; its output is added to z_t and gives eps.
    """

    system: ClassVar[str] = "vdm"

    network: nn.Module = UNet(multipliers=(1,), blocks=32, attention=(), zero_time=True)
    timesteps: int | None = None
    schedule: nn.Module = LinearGamma()
    fourier: tuple[int, ...] = (6, 7)
    sampler: VDMSampler = VDMSampler()
    num_classes: int = 0

    def to_reals(self, x: Num[Array, "B *event"]) -> Float[Array, "B *event"]:
        if self.event.levels is None:
            return x.astype(jnp.result_type(float))
        return (2 * x.astype(jnp.result_type(float)) + 1) / self.event.levels - 1

    def to_event(self, x_0: Float[Array, "B *event"]) -> Num[Array, "B *event"]:
        if self.event.levels is None:
            return x_0
        level = jnp.floor((x_0 + 1) / 2 * self.event.levels).astype(jnp.int32)
        return jnp.clip(level, 0, self.event.levels - 1)

    def chain(self, steps: int | None = None) -> Chain:
        """As in the base; t is spread evenly over [0, 1]."""
        gamma = self._gamma(steps)
        return diffusion.chain_of(gamma, self.time_at(gamma))

    def time_at(self, gamma: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
        """The network's time at -log SNR `gamma`."""
        schedule: Any = self.schedule
        return SCALE * (gamma - schedule.first) / (schedule.last - schedule.first)

    def loss(
        self, x: Num[Array, "B *event"], key: PRNGKey, cond: Cond = None
    ) -> tuple[Scalar, Metrics]:
        """The bound in bits/dim. Times are (u + i/B) mod 1 for row i of the batch, with one uniform u.

        Under pmap, and with accumulated gradients, the batch is that of a device or a part.
        """
        x_0, rows = self.to_reals(x), len(x)
        offset = jax.random.uniform(fold_in(key, "t"), (), x_0.dtype)
        t = (offset + jnp.arange(rows) / rows) % 1
        diffused, error = self.diffused(x_0, t, _normal(key, "noise", x_0), True, cond)
        parts = {
            "reconstruction": self.reconstruction(x, _normal(key, "z_0", x_0), self._gamma(2)[0]),
            "diffusion": diffused,
            "prior": self.prior_term(x),
        }
        bits = {name: bits_per_dim(jnp.mean(part), self.event) for name, part in parts.items()}
        bound = bits["reconstruction"] + bits["diffusion"] + bits["prior"]
        squared = jnp.mean(error) / self.event.size
        return bound, {"bits_per_dim": bound, "squared_error": squared, **bits}

    def log_prob(
        self,
        x: Num[Array, "B *event"],
        key: PRNGKey | None = None,
        cond: Cond = None,
        draws: int = 1,
    ) -> Nats:
        """-L in nats. In continuous time an example's `draws` times are (u + i / draws) mod 1; in T steps it is all.

        So L is unbiased with any number of draws, and more of them reduce its noise, not the bound's gap.
        """
        if self.timesteps is not None:
            return super().log_prob(x, key, cond, draws)
        key = require_key(key, type(self).__name__)
        offset = jax.random.uniform(fold_in(key, "t"), x.shape[:1], jnp.result_type(float))
        module, variables = self.unbind()

        def one(total: Nats, draw: Int[Array, ""]) -> tuple[Nats, None]:
            t, draw_key = (offset + draw / draws) % 1, fold_in(key, draw)
            args = (x, t, draw_key, cond)
            terms: Any = module.apply(variables, *args, method="terms_at")
            return total + terms, None

        total, _ = lax.scan(one, jnp.zeros_like(offset), jnp.arange(draws))
        return -(total / draws + self.prior_term(x))

    def terms_at(
        self, x: Num[Array, "B *event"], t: Float[Array, " B"], key: PRNGKey, cond: Cond = None
    ) -> Nats:
        """Reconstruction and diffusion term at these times, nats."""
        x_0 = self.to_reals(x)
        diffused, _ = self.diffused(x_0, t, _normal(key, "noise", x_0), cond=cond)
        return diffused + self.reconstruction(x, _normal(key, "z_0", x_0), self._gamma(2)[0])

    def diffused(
        self,
        x_0: Float[Array, "B *event"],
        t: Float[Array, " B"],
        noise: Float[Array, "B *event"],
        train: bool = False,
        cond: Cond = None,
    ) -> tuple[Nats, Float[Array, " B"]]:
        """The diffusion term is the mean over t in [0, 1) of this, nats; and |eps - eps_theta|^2."""
        if self.timesteps is None:
            gamma, slope = self._gamma_and_slope(t)
            weight = 0.5 * slope
        else:
            T = self.timesteps
            step = jnp.floor(t * T)
            gamma, before = self.schedule((step + 1) / T), self.schedule(step / T)
            weight = 0.5 * T * jnp.expm1(gamma - before)
        error = self._error(x_0, gamma, noise, train, cond)
        return weight * error, error

    def term(
        self,
        x: Num[Array, "B *event"],
        t: Int[Array, " B"],
        noise: Float[Array, "B *event"],
        train: bool = False,
        *,
        cond: Cond = None,
        steps: int | None = None,
    ) -> tuple[Nats, Nats]:
        """L_{t-1} in nats, and |eps - eps_theta|^2 as a mean over dimensions, at the x_t made with this noise."""
        gamma = self._gamma(steps)
        now, before = gamma[t - 1], gamma[jnp.maximum(t - 2, 0)]
        error = self._error(self.to_reals(x), now, noise, train, cond)
        denoising = 0.5 * jnp.expm1(now - before) * error
        # the softmax over all levels is computed only where it is a term
        reconstruction = lax.cond(
            jnp.any(t == 1),
            lambda: self.reconstruction(x, noise, gamma[0]),
            lambda: jnp.zeros_like(error),
        )
        return jnp.where(t == 1, reconstruction, denoising), error / self.event.size

    def reconstruction(
        self,
        x: Num[Array, "B *event"],
        noise: Float[Array, "B *event"],
        gamma: Float[Array, ""],
    ) -> Nats:
        """-log p(x | z_0) at the z_0 made with this noise; `gamma` is gamma(0)."""
        first = _marginals(gamma[None], noise.ndim)
        z_0 = diffusion.diffused(first, self.to_reals(x), noise)
        return -_summed(self.log_decoder(x, z_0, first))

    def prior_term(self, x: Num[Array, "B *event"]) -> Nats:
        """KL(q(z_1 | x) || N(0, I))."""
        x_0 = self.to_reals(x)
        last = _marginals(self._gamma(2)[-1:], x.ndim)
        log_scale = jnp.broadcast_to(jnp.log(last.noise), x.shape)
        return _summed(gaussian.kl_to_standard(last.signal * x_0, log_scale))

    def back(
        self, x_t: Float[Array, "B *event"], now: Chain, train: bool = False, cond: Cond = None
    ) -> Back:
        """eps_theta and x_0 at x_t, and log sigma_t of p(x_{t-1} | x_t), that of q(x_{t-1} | x_t, x_0)."""
        noise = self._noise(x_t, now.time.reshape(-1), train, cond)
        return Back(noise, diffusion.data_of("noise", now, noise, x_t), now.posterior)

    def log_decoder(
        self,
        x: Num[Array, "B *event"],
        x_1: Float[Array, "B *event"],
        now: Chain,
        cond: Cond = None,
    ) -> Float[Array, "B *event"]:
        """log p(x_0 | x_1) of each value; `now` holds the coefficients at t = 1."""
        if self.event.levels is None:
            return gaussian.log_prob(
                x.astype(x_1.dtype), x_1 / now.signal, jnp.log(now.noise / now.signal)
            )
        log_p = jax.nn.log_softmax(self._logits(x_1, now), axis=-1)
        return jnp.take_along_axis(log_p, x[..., None].astype(jnp.int32), axis=-1)[..., 0]

    def decode(
        self,
        x_1: Float[Array, "B *event"],
        now: Chain,
        key: PRNGKey,
        cond: Cond = None,
        temperature: float | Scalar = 1.0,
    ) -> Num[Array, "B *event"]:
        """An event drawn from p(x_0 | x_1)."""
        if self.event.levels is None:
            noise = temperature * jax.random.normal(key, x_1.shape, x_1.dtype)
            return (x_1 + now.noise * noise) / now.signal
        return categorical.sample(self._logits(x_1, now), key, temperature)

    def sample(
        self, key: PRNGKey, n: int, cond: Cond = None, temperature: float | Scalar = 1.0
    ) -> Num[Array, "n *event"]:
        """z_1 from N(0, I), then z_0 in steps, then the event; the temperature scales the deviation of every draw."""
        module, variables = self.unbind()
        last = (self.sampler.steps or self.timesteps or STEPS) + 1
        chain, shape = self.chain(last), (n, *self.event.shape)

        def normal(number: Any) -> Array:
            noise = jax.random.normal(fold_in(key, number), shape, jnp.result_type(float))
            return temperature * noise

        def step(x_t: Array, t: Array) -> tuple[Array, None]:
            now = diffusion.at(chain, jnp.full(n, t), len(shape))
            back: Any = module.apply(variables, x_t, now, cond=cond, method="back")
            mean = diffusion.posterior_mean(now, back.data, x_t)
            return gaussian.sample(mean, back.log_scale, normal(t)), None

        x_1, _ = lax.scan(step, normal(last + 1), jnp.arange(last, 1, -1))
        first = diffusion.at(chain, jnp.full(n, 1), len(shape))
        return self.decode(x_1, first, fold_in(key, 1), cond, temperature)

    def _gamma(self, steps: int | None) -> Float[Array, " steps"]:
        """gamma at z_0, ..., z_1, the `steps` noisy values of a chain."""
        steps = steps or (self.timesteps or self.sampler.steps or STEPS) + 1
        require(steps >= 2, f"the chain of a VDM has at least 2 steps, not {steps}")
        return self.schedule(jnp.arange(steps) / (steps - 1))

    def _gamma_and_slope(self, t: Float[Array, " B"]) -> tuple[Float[Array, " B"], ...]:
        """gamma and gamma' at t."""
        self.schedule(t)  # which makes its parameters at the first call
        schedule, variables = self.schedule.unbind()
        return jax.jvp(lambda t: schedule.apply(variables, t), (t,), (jnp.ones_like(t),))

    def _error(
        self,
        x_0: Float[Array, "B *event"],
        gamma: Float[Array, " B"],
        noise: Float[Array, "B *event"],
        train: bool,
        cond: Cond,
    ) -> Float[Array, " B"]:
        """|eps - eps_theta|^2 at the z_t of these gammas."""
        z_t = diffusion.diffused(_marginals(gamma, x_0.ndim), x_0, noise)
        return _summed((noise - self._noise(z_t, self.time_at(gamma), train, cond)) ** 2)

    def _noise(
        self, z_t: Float[Array, "B *event"], time: Float[Array, " B"], train: bool, cond: Cond
    ) -> Float[Array, "B *event"]:
        """eps_theta."""
        angles = [2.0**n * 2 * math.pi * z_t for n in self.fourier]
        features = [wave(angle) for angle in angles for wave in (jnp.sin, jnp.cos)]
        inputs = jnp.concatenate([z_t, *features], axis=-1)
        network: Any = self.network
        output = network(inputs, time, z_t.shape[-1], train, *one_hot(self, cond))
        return z_t + output.astype(z_t.dtype)

    def _logits(self, x_1: Float[Array, "B *event"], now: Chain) -> Float[Array, "B *event levels"]:
        """-|z_0 / alpha_0 - v|^2 exp(-gamma(0)) / 2 for every level's v."""
        every = self.to_reals(jnp.arange(self.event.levels or 0))
        apart = x_1[..., None] / now.signal[..., None] - every
        return -0.5 * (apart * (now.signal / now.noise)[..., None]) ** 2

    def check(self) -> None:
        require(
            self.timesteps is None or self.timesteps >= 1,
            f"timesteps must be at least 1, or None for continuous time, not {self.timesteps}",
        )
        schedule: Any = self.schedule
        require(
            schedule.first < schedule.last,
            f"schedule needs first < last, not {schedule.first} and {schedule.last}",
        )
        if isinstance(self.network, UNet):
            self.network.check(self.event)


def _marginals(gamma: Float[Array, " B"], axes: int) -> Chain:
    """The coefficients of q(z_t | x) at these gammas, shaped to broadcast over examples with `axes` - 1 axes."""
    shape = (-1, *(1,) * (axes - 1))
    signal, noise = (jnp.sqrt(nn.sigmoid(sign * gamma)).reshape(shape) for sign in (-1, 1))
    return Chain(signal, noise, *(None,) * 6)


def _normal(key: PRNGKey, name: str, like: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    return jax.random.normal(fold_in(key, name), like.shape, like.dtype)


def _summed(values: Float[Array, "B *event"]) -> Nats:
    """The sum over each event."""
    return jnp.sum(values, axis=tuple(range(1, values.ndim)))
