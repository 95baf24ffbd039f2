"""DDPM: log p(x) >= -L_0 - sum_t L_{t-1} - L_T, trained by the error of its guess at the noise, E |eps - eps_t(x_t)|^2.

Denoising diffusion probabilistic models (Ho, Jain and Abbeel 2020, 2006.11239, equations 5 and 14, algorithms 1 and
2); the learned variance and the hybrid loss are those of Nichol and Dhariwal 2021 (2102.09672), steps with less noise
those of DDIM (Song, Meng and Ermon 2020, 2010.02502).
"""

from dataclasses import dataclass
from typing import ClassVar, Literal, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Num

from gen_jax.density import bits_per_dim, fold_in
from gen_jax.errors import InputError
from gen_jax.models.diffusion.base import Back, ChainBound
from gen_jax.ops import diffusion
from gen_jax.typing import Metrics, PRNGKey, Scalar

HYBRID = 1e-3  # weight of the bound, in bits/dim (Nichol and Dhariwal 2021, equation 16)


@dataclass(frozen=True)
class DDPMSampler:
    """How x_T becomes x_0: in `steps` steps (None: all T) spread evenly over the times.

    Without `eta` the steps are the model's own, p(x_{t-1} | x_t), and all T of them draw from the distribution that
    `log_prob` bounds. With it they are DDIM's: 0 adds no noise, 1 as much as the posterior variance has. The last step
    of fewer than T, and of DDIM, is without noise.
    """

    steps: int | None = None
    eta: float | None = None

    def __post_init__(self):
        if self.steps is not None and self.steps < 1:
            raise InputError(f"sampler.steps must be at least 1, not {self.steps}")
        if self.eta is not None and not 0 <= self.eta <= 1:
            raise InputError(f"sampler.eta must lie in [0, 1], not {self.eta}")


class DDPM(ChainBound):
    """`objective`: the unweighted error, the bound, or `hybrid`, whose bound trains the learned variance alone.

    t is uniform over 1..T, one for each example of a batch.
    """

    system: ClassVar[str] = "ddpm"

    objective: Literal["simple", "bound", "hybrid"] = "simple"
    sampler: DDPMSampler = DDPMSampler()

    def setup(self):
        """InputError where the objective does not train what is learned, or there are fewer times than steps."""
        super().setup()
        if (self.variance == "learned") != (self.objective == "hybrid") and (
            self.objective != "bound"
        ):
            raise InputError(
                f"objective {self.objective!r} does not go with variance {self.variance!r}: 'simple' needs a fixed one,"
                " 'hybrid' a learned one, 'bound' takes any"
            )
        if (self.sampler.steps or 1) > self.timesteps:
            raise InputError(
                f"sampler.steps {self.sampler.steps} exceeds the model's {self.timesteps} timesteps"
            )

    def loss(
        self, x: Num[Array, "B *event"], key: PRNGKey, cond: Array | None = None
    ) -> tuple[Scalar, Metrics]:
        """Mean squared error of a dimension, or the bound in bits/dim, or the one and 0.001 times the other.

        The bound of one t is unbiased and noisy; x_0 is not clipped in training.
        """
        del cond  # no classes
        t = jax.random.randint(fold_in(key, "t"), x.shape[:1], 1, self.timesteps + 1)
        noise = jax.random.normal(fold_in(key, "noise"), x.shape, jnp.result_type(float))
        term, error = self.term(x, t, noise, True, self.objective == "hybrid")
        simple = jnp.mean(error)
        bound = bits_per_dim(jnp.mean(self.timesteps * term + self.last_term(x)), self.event)
        value = {"simple": simple, "bound": bound, "hybrid": simple + HYBRID * bound}
        return value[self.objective], {"squared_error": simple, "bits_per_dim": bound}

    def sample(
        self, key: PRNGKey, n: int, cond: Array | None = None, temperature: float | Scalar = 1.0
    ) -> Num[Array, "n *event"]:
        """x_T from N(0, I), then step by step; the temperature scales the standard deviation of every draw."""
        del cond  # no classes
        module, variables = self.unbind()
        steps, eta = self.sampler.steps or self.timesteps, self.sampler.eta
        times = np.round(np.linspace(0, self.timesteps, steps + 1)).astype(np.int32)
        chain, shape = diffusion.chain(self.alpha_bar[times]), (n, *self.event.shape)
        to_the_end = steps == self.timesteps and eta is None

        def normal(number):
            return temperature * jax.random.normal(
                fold_in(key, number), shape, jnp.result_type(float)
            )

        def step(x, i):
            now, before = (
                diffusion.at(chain, jnp.full(n, place), len(shape)) for place in (i, i - 1)
            )
            t = jnp.full(n, jnp.asarray(times)[i])
            back = cast(Back, module.apply(variables, x, t, now, method="back"))
            if eta is None:
                mean, scale = diffusion.posterior_mean(now, back.data, x), jnp.exp(back.log_scale)
            else:
                mean, scale = diffusion.ddim_step(now, before, back.data, x, eta)
            return mean + jnp.where((i > 1) | to_the_end, scale, 0.0) * normal(i), None

        x, _ = lax.scan(step, normal(steps + 1), jnp.arange(steps, 0, -1))
        return self.to_event(x)
