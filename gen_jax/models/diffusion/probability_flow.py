"""The probability-flow ODE of a diffusion: a continuous flow with the marginals of the noising process, so log p(x).

With g = -log SNR as time, signal^2 = sigmoid(-g), noise^2 = sigmoid(g) and eps the noise that the network finds in x,
    dx/dg = noise (eps(x, g) - noise x) / 2
moves x from the first noisy time of the chain to the last. There x has the density N(0, I), and the density before
follows from the trace of the velocity's derivative (Song et al. 2020, 2011.13456, equations 13 and 39, in other
variables; Kingma et al. 2021, 2107.00630). The event is x / signal at the first noisy time, where the ODE of a sampler
would end: at smaller noise the network was not trained.

Between two steps of a discrete chain the network is given a time that is linear in g (`time_at`). x_0 is not clipped.

It is a density of reals. For integers v of L levels it is that of y = (2 v + 2 u - 1) / (L - 1) - 1 in units of a
level, with u uniform in the unit cube; E log p(y) is a lower bound of log p(v) (Theis et al. 2015, 1511.01844). Solver
and Hutchinson's trace have errors, so the number is an estimate of that bound.
"""

import math
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int, Num

from gen_jax.check import require_key
from gen_jax.conditions import Cond
from gen_jax.density import Codec, Kind, Value, fold_in
from gen_jax.errors import InputError
from gen_jax.ops import gaussian, ode
from gen_jax.ops.diffusion import Chain
from gen_jax.ops.ode import Solved, Solver
from gen_jax.ops.scaling import to_symmetric
from gen_jax.typing import Event, Metrics, Nats, PRNGKey, Scalar


class ProbabilityFlow(nn.Module):
    """`diffusion`: a model with the protocol `density.Chain`, whose weights are under this name."""

    diffusion: nn.Module
    solver: Solver = Solver()

    value: ClassVar[Value] = "estimate"
    codec: ClassVar[Codec] = "none"

    @property
    def event(self) -> Event:
        return self._inner.event

    @property
    def num_classes(self) -> int:
        return self._inner.num_classes

    @property
    def kind(self) -> Kind:
        return self._inner.kind

    def setup(self):
        self.check()

    @property
    def _inner(self) -> Any:
        return self.diffusion

    def ends(self) -> tuple[Scalar, Scalar]:
        """g = -log SNR at the first noisy time of the chain and at the last."""
        chain = self._inner.chain()
        g = [2 * (jnp.log(chain.noise[i]) - jnp.log(chain.signal[i])) for i in (1, -1)]
        return g[0], g[1]

    def log_density(
        self,
        y: Float[Array, "B *event"],
        key: PRNGKey | None = None,
        cond: Cond = None,
    ) -> Nats:
        """log p of reals in units of x_0, nats; the key is for the signs of Hutchinson's trace."""
        first, last = self.ends()
        log_signal = 0.5 * jax.nn.log_sigmoid(-first)
        signs = ode.signs(self.solver, key, y)
        end = self._solved(jnp.exp(log_signal) * y, first, last, cond, signs, trace=True)
        log_p = jnp.sum(gaussian.log_prob(end.x), axis=tuple(range(1, y.ndim)))
        return log_p + end.log_det + self.event.size * log_signal

    def log_prob(
        self,
        x: Num[Array, "B *event"],
        key: PRNGKey | None = None,
        cond: Cond = None,
        draws: int = 1,
    ) -> Nats:
        """The mean of log p over draws of u and of the signs, nats; NaN where the solver needs too many steps."""
        levels = self.event.levels
        if levels is None and self.solver.trace == "exact":
            return self.log_density(x, cond=cond)  # nothing is random
        key, module, variables = require_key(key, type(self).__name__), *self.unbind()
        scale = 0.0 if levels is None else self.event.size * math.log(2 / (levels - 1))

        def one(total: Nats, draw: Int[Array, ""]) -> tuple[Nats, None]:
            of_draw = fold_in(key, draw)
            u = jax.random.uniform(fold_in(of_draw, "u"), x.shape)
            y = x if levels is None else to_symmetric(x + u - 0.5, levels)
            signs = fold_in(of_draw, "signs")
            log_p: Any = module.apply(variables, y, signs, cond, method="log_density")
            return total + log_p + scale, None

        total, _ = lax.scan(one, jnp.zeros(len(x), jnp.result_type(float)), jnp.arange(draws))
        return total / draws

    def loss(
        self, x: Num[Array, "B *event"], key: PRNGKey, cond: Cond = None
    ) -> tuple[Scalar, Metrics]:
        """InputError: the diffusion is what is trained."""
        raise InputError("the probability flow has the weights of its diffusion, which is trained")

    def sample(
        self, key: PRNGKey, n: int, cond: Cond = None, temperature: float | Scalar = 1.0
    ) -> Num[Array, "n *event"]:
        """The solution back from N(0, temperature^2 I); for integers the nearest level."""
        x = temperature * jax.random.normal(key, (n, *self.event.shape))
        first, last = self.ends()
        x = self._solved(x, last, first, cond, trace=False).x
        return self._inner.to_event(x * jnp.exp(-0.5 * jax.nn.log_sigmoid(-first)))

    def _solved(
        self,
        x: Float[Array, "B *event"],
        start: Scalar,
        end: Scalar,
        cond: Cond,
        signs: Float[Array, "B *event"] | None = None,
        *,
        trace: bool,
    ) -> Solved:
        """x at g = `end`, given it at g = `start`, and if asked for the integral of the trace."""
        inner, variables = self._inner.unbind()

        def velocity(
            x: Float[Array, "*event"], g: Scalar, shared: Any, own: Any
        ) -> Float[Array, "*event"]:
            signal, noise = (jnp.sqrt(jax.nn.sigmoid(sign * g)) for sign in (-1, 1))
            one = (1,) * (x.ndim + 1)
            time = inner.apply(shared, g, method="time_at")
            now = Chain(signal, noise, None, None, None, None, None, time)
            now = jax.tree.map(lambda value: value.reshape(one), now)
            label = jax.tree.map(lambda part: part[None], own)
            found: Any = inner.apply(shared, x[None], now, label, method="noise_at")
            return 0.5 * noise * (found[0] - noise * x)

        return ode.solve(velocity, x, start, end, self.solver, variables, cond, signs, trace)

    def check(self) -> None:
        self.solver.check(self.event)
