"""DDPM: noise is added to x_0 in T steps; a network trained by E |eps - eps_theta(x_t, t)|^2 removes it step by step.

q(x_t | x_0) = N(signal_t x_0, noise_t^2), p(x_{t-1} | x_t) = N(mean of q(x_{t-1} | x_t, x_0) at the network's x_0,
sigma_t^2), and -log p(x_0) <= L_0 + sum_{t=2..T} L_{t-1} + L_T with
    L_0     = -E log p(x_0 | x_1)                                     reconstruction
    L_{t-1} = E KL(q(x_{t-1} | x_t, x_0) || p(x_{t-1} | x_t))         diffusion
    L_T     = KL(q(x_T | x_0) || N(0, I))                             prior
For a fixed sigma_t the diffusion term is beta_t^2 / (2 sigma_t^2 alpha_t (1 - alpha_bar_t)) |eps - eps_theta|^2 plus a
constant; the simple objective sets this weight to 1 (Ho, Jain and Abbeel 2020, 2006.11239, equations 5, 12 and 14,
algorithms 1 and 2). The learned variance and the hybrid objective are those of Nichol and Dhariwal 2021 (2102.09672).
The sampler with less noise and fewer steps is DDIM (Song, Meng and Ermon 2020, 2010.02502), that of second order
DPM-Solver++ (Lu et al. 2022, 2211.01095).
"""

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int, Num

from gen_jax.check import require
from gen_jax.conditions import Cond, label_of
from gen_jax.density import bits_per_dim, fold_in
from gen_jax.errors import InputError
from gen_jax.models.diffusion.base import Back, ChainBound
from gen_jax.models.diffusion.importance import ImportanceTimes
from gen_jax.models.diffusion.latents import ChainLatents
from gen_jax.ops import diffusion, gaussian
from gen_jax.ops.diffusion import Chain, Predicted
from gen_jax.ops.scaling import from_symmetric, to_symmetric
from gen_jax.typing import Metrics, Nats, PRNGKey, Scalar

NO_CLASS = -1  # whose one-hot vector is zero
HYBRID = 1e-3  # weight of the bound, in bits/dim (Nichol and Dhariwal 2021, equation 16)


@dataclass(frozen=True)
class LinearSchedule:
    """beta_t grows linearly from `first` to `last` (Ho, Jain and Abbeel 2020, 2006.11239, section 4, for T = 1000)."""

    first: float = 1e-4
    last: float = 0.02

    def __post_init__(self):
        if not 0 < self.first <= self.last < 1:
            raise InputError(
                f"schedule needs 0 < first <= last < 1, not {self.first} and {self.last}"
            )

    def betas(self, timesteps: int) -> Float[np.ndarray, " T"]:
        """beta_1, ..., beta_T."""
        return np.linspace(self.first, self.last, timesteps)


@dataclass(frozen=True)
class CosineSchedule:
    """alpha_bar_t = f(t) / f(0), f(t) = cos^2((t / T + offset) / (1 + offset) pi / 2); every beta is at most `most`.

    (Nichol and Dhariwal 2021, 2102.09672, equation 17.)
    """

    offset: float = 0.008
    most: float = 0.999

    def __post_init__(self):
        if self.offset < 0 or not 0 < self.most < 1:
            raise InputError("schedule needs offset >= 0 and 0 < most < 1")

    def betas(self, timesteps: int) -> Float[np.ndarray, " T"]:
        """beta_1, ..., beta_T."""
        share = np.arange(timesteps + 1) / timesteps
        signal = np.cos((share + self.offset) / (1 + self.offset) * math.pi / 2) ** 2
        return np.minimum(1 - signal[1:] / signal[:-1], self.most)


def alpha_bar(betas: Float[np.ndarray, " T"]) -> Float[np.ndarray, " T+1"]:
    """prod_{s<=t} (1 - beta_s) for t = 0..T: the share of x_0 in the variance of x_t."""
    return np.concatenate([[1.0], np.cumprod(1 - betas)])


@dataclass(frozen=True)
class DDPMSampler:
    """How x_T becomes x_0: in `steps` steps (None: all T), spread evenly over 1..T.

    Without `eta` each step draws from p(x_{t-1} | x_t); with all T steps the samples have the distribution that
    `log_prob` bounds. With `eta` the steps are those of DDIM: 0 adds no noise, 1 adds the posterior variance. The last
    step adds no noise if there are fewer than T steps, or with DDIM.

    With `order` 2 and eta 0 the steps are those of DPM-Solver++(2M), which extrapolates x_0 from two steps; their times
    are evenly spread in log SNR, from 1 to T (Lu et al. 2022, 2211.01095, algorithm 2). Halving its steps multiplies
    the error by four, that of DDIM by two.

    `guidance` w: the network's output under the class is moved away from that without one, to out + w (out - out_free)
    (Ho and Salimans 2022, 2207.12598, equation 6); samples then follow no distribution that `log_prob` bounds.
    """

    steps: int | None = None
    eta: float | None = None
    guidance: float = 0.0
    order: Literal[1, 2] = 1

    def __post_init__(self):
        if self.steps is not None and self.steps < 1:
            raise InputError(f"sampler.steps must be at least 1, not {self.steps}")
        if self.eta is not None and not 0 <= self.eta <= 1:
            raise InputError(f"sampler.eta must lie in [0, 1], not {self.eta}")
        if not 0 <= self.guidance < math.inf:
            raise InputError(f"sampler.guidance must be at least 0, not {self.guidance}")
        if self.order == 2 and self.eta != 0:
            raise InputError("sampler.order 2 is for steps without noise: set sampler.eta to 0")


class DDPM(ChainLatents, ChainBound):
    """`predicted`: what the network outputs: the noise eps, the data x_0, or the velocity.

    `variance`: sigma_t^2 is `beta`_t, or the variance of the `posterior` q(x_{t-1} | x_t, x_0), or `learned` between
    the logarithms of both (Nichol and Dhariwal 2021, equation 15). At t = 1 the first two are the posterior's at t = 2.
    `objective`: the `simple` error, the `bound`, or `hybrid`, where the bound trains the learned variance only.
    `drop_label`: the fraction of training examples whose class is withheld, so that the network also learns to do
    without, as guidance needs.
    `times`: how the times of training are drawn; None is uniformly. Their past losses are the collection `statistics`.
    """

    system: ClassVar[str] = "ddpm"

    timesteps: int = 1000
    schedule: LinearSchedule | CosineSchedule = LinearSchedule()
    predicted: Predicted = "noise"
    variance: Literal["beta", "posterior", "learned"] = "beta"
    objective: Literal["simple", "bound", "hybrid"] = "simple"
    sampler: DDPMSampler = DDPMSampler()
    drop_label: float = 0.1
    times: ImportanceTimes | None = None
    num_classes: int = 0

    def setup(self):
        super().setup()
        if self.times is not None:
            self.history = self.variable("statistics", "losses", self.times.start, self.timesteps)

    @property
    def alpha_bar(self) -> Float[np.ndarray, " times"]:
        """The share of x_0 in the variance of x_t, for t = 0..T."""
        return alpha_bar(self.schedule.betas(self.timesteps))

    def to_reals(self, x: Num[Array, "B *event"]) -> Float[Array, "B *event"]:
        if self.event.levels is None:
            return x.astype(jnp.result_type(float))
        return to_symmetric(x, self.event.levels)

    def to_event(self, x_0: Float[Array, "B *event"]) -> Num[Array, "B *event"]:
        if self.event.levels is None:
            return x_0
        return from_symmetric(x_0, self.event.levels)

    def chain(self, steps: int | None = None) -> Chain:
        """As in the base; the times of a shorter chain are spread evenly over 0..T."""
        if steps is None:
            return diffusion.chain(self.alpha_bar)
        times = np.round(np.linspace(0, self.timesteps, steps + 1)).astype(np.int32)
        return diffusion.chain(self.alpha_bar[times], times)

    def time_at(self, gamma: Float[Array, "..."]) -> Float[Array, "..."]:
        """The network's time at -log SNR `gamma`: t, linear in gamma between two steps, and 1 or T beyond them."""
        alpha_bar = self.alpha_bar[1:]
        table = np.log1p(-alpha_bar) - np.log(alpha_bar)
        times = jnp.arange(1, self.timesteps + 1, dtype=gamma.dtype)
        return jnp.interp(gamma, jnp.asarray(table, gamma.dtype), times)

    def loss(
        self, x: Num[Array, "B *event"], key: PRNGKey, cond: Cond = None
    ) -> tuple[Scalar, Metrics]:
        """`objective`: E |eps - eps_theta(x_t, t)|^2 per dimension, the bound in bits/dim, or the first + 0.001 bound.

        Each example has one t, uniform over 1..T or drawn and weighted by `times`, so its bound is unbiased and noisy.
        x_0 is not clipped.
        """
        label = label_of(cond)
        if self.num_classes:
            free = jax.random.bernoulli(fold_in(key, "label"), self.drop_label, x.shape[:1])
            label = jnp.where(free, NO_CLASS, label)
        if self.times is None:
            weight: Any = 1
            t = jax.random.randint(fold_in(key, "t"), x.shape[:1], 1, self.timesteps + 1)
        else:
            t, weight = self.times.draw(self.history.value, fold_in(key, "t"), len(x))
        noise = jax.random.normal(fold_in(key, "noise"), x.shape, jnp.result_type(float))
        term, error = self.term(x, t, noise, True, self.objective == "hybrid", cond=label)
        if self.times is not None and not self.is_initializing():
            bits = bits_per_dim(self.timesteps * term, self.event)
            each = {"simple": error, "bound": bits, "hybrid": error + HYBRID * bits}
            state = self.times.recorded(self.history.value, t, each[self.objective])
            self.history.value = lax.stop_gradient(state)
        simple = jnp.mean(weight * error)
        nats = jnp.mean(weight * (self.timesteps * term) + self.prior_term(x))
        bound = bits_per_dim(nats, self.event)
        value = {"simple": simple, "bound": bound, "hybrid": simple + HYBRID * bound}
        return value[self.objective], {"squared_error": simple, "bits_per_dim": bound}

    def term(
        self,
        x: Num[Array, "B *event"],
        t: Int[Array, " B"],
        noise: Float[Array, "B *event"],
        train: bool = False,
        mean_fixed: bool = False,
        *,
        cond: Cond = None,
        steps: int | None = None,
    ) -> tuple[Nats, Nats]:
        """L_{t-1} in nats, and |eps - eps_theta|^2 as a mean over dimensions, at x_t = signal_t x_0 + noise_t eps.

        `mean_fixed`: L_{t-1} has a gradient in the variance only.
        """
        x_0, now = self.to_reals(x), diffusion.at(self.chain(steps), t, x.ndim)
        x_t = diffusion.diffused(now, x_0, noise)
        back = self.back(x_t, now, train, cond)
        data = lax.stop_gradient(back.data) if mean_fixed else back.data
        mean = diffusion.posterior_mean(now, data, x_t)
        true_mean = diffusion.posterior_mean(now, x_0, x_t)
        first = (t == 1).reshape(-1, *(1,) * (x.ndim - 1))
        # where t > 1 the reconstruction is not used; with a mean near x_0 its gradient is finite all the same
        near = jnp.where(first, mean, x_0)
        reconstruction = -self._log_decoder(x, near, back.log_scale)
        denoising = gaussian.kl(true_mean, now.posterior, mean, back.log_scale)
        nats = jnp.where(first, reconstruction, denoising)
        error = (back.output - diffusion.target(self.predicted, now, x_0, noise)) ** 2
        axes = tuple(range(1, x.ndim))
        return jnp.sum(nats, axis=axes), jnp.mean(error, axis=axes)

    def prior_term(self, x: Num[Array, "B *event"]) -> Nats:
        """L_T = KL(q(x_T | x_0) || N(0, I))."""
        chain = self.chain()
        mean = self.to_reals(x) * chain.signal[-1]
        log_scale = jnp.full(x.shape, np.log(chain.noise[-1]), mean.dtype)
        return jnp.sum(gaussian.kl_to_standard(mean, log_scale), axis=tuple(range(1, x.ndim)))

    def back(
        self,
        x_t: Float[Array, "B *event"],
        now: Chain,
        train: bool = False,
        cond: Cond = None,
        guidance: float = 0.0,
    ) -> Back:
        """Output, x_0 and log sigma_t at x_t; `now` holds the coefficients of the chain at t.

        If the event has levels, x_0 is clipped to [-1, 1], except in training.
        """
        output, weight = self._outputs(x_t, now, train, cond, guidance)
        data = diffusion.data_of(self.predicted, now, output, x_t)
        if self.event.levels is not None and not train:
            data = jnp.clip(data, -1.0, 1.0)
        if self.variance == "learned":
            weight = (weight + 1) / 2
            return Back(output, data, weight * now.forward + (1 - weight) * now.posterior)
        return Back(output, data, now.large if self.variance == "beta" else now.posterior)

    def noise_at(
        self, x_t: Float[Array, "B *event"], now: Chain, cond: Cond = None
    ) -> Float[Array, "B *event"]:
        """The mean of the noise in x_t, as the network has it; `now` needs no variances, which an ODE does not know."""
        output, _ = self._outputs(x_t, now, False, cond, 0.0)
        return diffusion.noise_from(self.predicted, now, output, x_t)

    def _outputs(
        self, x_t: Array, now: Chain, train: bool, cond: Cond, guidance: float
    ) -> tuple[Float[Array, "B *event"], Float[Array, "B *positions weights"]]:
        """What the network predicts, and the weights of a learned variance."""
        t, channels = now.time.reshape(-1), x_t.shape[-1]
        outputs = channels * (2 if self.variance == "learned" else 1)
        both = self._output(x_t, t, outputs, train, label_of(cond)).astype(x_t.dtype)
        output, weight = both[..., :channels], both[..., channels:]
        if guidance:
            nothing = jnp.full(len(x_t), NO_CLASS)
            free = self._output(x_t, t, outputs, train, nothing)[..., :channels]
            output = output + guidance * (output - free.astype(x_t.dtype))
        return output, weight

    def _output(
        self, x_t: Array, t: Array, outputs: int, train: bool, label: Any
    ) -> Float[Array, "B *positions outputs"]:
        """The network's output, under the class if there are classes."""
        if not self.num_classes:
            return self.network(x_t, t, outputs, train)
        return self.network(x_t, t, outputs, train, jax.nn.one_hot(label, self.num_classes))

    def log_decoder(
        self,
        x: Num[Array, "B *event"],
        x_1: Float[Array, "B *event"],
        now: Chain,
        cond: Cond = None,
    ) -> Float[Array, "B *event"]:
        """log p(x_0 | x_1) of each value; `now` holds the coefficients at t = 1."""
        back = self.back(x_1, now, cond=cond)
        return self._log_decoder(x, diffusion.posterior_mean(now, back.data, x_1), back.log_scale)

    def decode(
        self,
        x_1: Float[Array, "B *event"],
        now: Chain,
        key: PRNGKey,
        cond: Cond = None,
        temperature: float | Scalar = 1.0,
    ) -> Num[Array, "B *event"]:
        """An event drawn from p(x_0 | x_1)."""
        back = self.back(x_1, now, cond=cond)
        noise = temperature * jax.random.normal(key, x_1.shape, jnp.result_type(float))
        mean = diffusion.posterior_mean(now, back.data, x_1)
        return self.to_event(gaussian.sample(mean, back.log_scale, noise))

    def _log_decoder(
        self,
        x: Num[Array, "B *event"],
        mean: Float[Array, "B *event"],
        log_scale: Float[Array, "B ..."],
    ) -> Float[Array, "B *event"]:
        """log of a Gaussian density, or of its mass in the bin of an integer."""
        if self.event.levels is None:
            return gaussian.log_prob(x.astype(mean.dtype), mean, log_scale)
        return gaussian.log_mass(x, mean, log_scale, self.event.levels)

    def sample(
        self, key: PRNGKey, n: int, cond: Cond = None, temperature: float | Scalar = 1.0
    ) -> Num[Array, "n *event"]:
        """x_T from N(0, I), then x_{T-1}, ..., x_0; the temperature scales the standard deviation of every draw."""
        module, variables = self.unbind()
        steps, eta = self.sampler.steps or self.timesteps, self.sampler.eta
        chain, shape = self.chain(steps), (n, *self.event.shape)
        extrapolated = self.sampler.order == 2
        if extrapolated:
            times = diffusion.even_in_log_snr(self.alpha_bar, steps)
            chain = diffusion.chain(self.alpha_bar[times], times)
        weights = diffusion.extrapolation(chain)
        to_the_end = steps == self.timesteps and eta is None

        def normal(number):
            return temperature * jax.random.normal(
                fold_in(key, number), shape, jnp.result_type(float)
            )

        def step(carry, i):
            x, last = carry
            now, before = (
                diffusion.at(chain, jnp.full(n, place), len(shape)) for place in (i, i - 1)
            )
            options = {"cond": cond, "guidance": self.sampler.guidance}
            back = cast(Back, module.apply(variables, x, now, **options, method="back"))
            if eta is None:
                mean, scale = diffusion.posterior_mean(now, back.data, x), jnp.exp(back.log_scale)
            else:
                data = back.data
                if extrapolated:
                    data = data + jnp.asarray(weights, x.dtype)[i] * (data - last)
                mean, scale = diffusion.ddim_step(now, before, data, x, eta)
            x = mean + jnp.where((i > 1) | to_the_end, scale, 0.0) * normal(i)
            return (x, back.data if extrapolated else None), None

        start = normal(steps + 1)
        carry = start, jnp.zeros_like(start) if extrapolated else None
        (x, _), _ = lax.scan(step, carry, jnp.arange(steps, 0, -1))
        return self.to_event(x)

    def check(self) -> None:
        super().check()
        require(self.timesteps >= 2, f"timesteps must be at least 2, not {self.timesteps}")
        require(
            self.objective == "bound"
            or (self.variance == "learned") == (self.objective == "hybrid"),
            f"objective {self.objective!r} does not go with variance {self.variance!r}: 'simple' needs a fixed one,"
            " 'hybrid' a learned one, 'bound' takes any",
        )
        require(
            (self.sampler.steps or 1) <= self.timesteps,
            f"sampler.steps {self.sampler.steps} exceeds the model's {self.timesteps} timesteps",
        )
        require(0 <= self.drop_label < 1, f"drop_label must lie in [0, 1), not {self.drop_label}")
        require(
            not self.sampler.guidance or bool(self.num_classes and self.drop_label),
            "sampler.guidance needs a model with classes that is trained with drop_label > 0",
        )
