"""FFJORD: z = x(T), where dx/dt = f(x, t) and x(0) = x, and log p(x) = log N(z; 0, I) + int_0^T tr(df/dx) dt.

f is a network of any form. Its trace is exact in few dimensions, else Hutchinson's unbiased estimate with one vector of
random signs for a whole solve (Grathwohl et al. 2018, 1810.01367, equations 2, 3 and 8, algorithm 1; `ops/ode.py`). So
log p is an estimate, its solver is part of every number, and draws average log p. For dequantised integers it is an
estimate of a lower bound.

Deviations from the paper and the authors' code: f is small at first, so that z is near x; each example is solved by
itself instead of the whole batch as one ODE; log p as well as x has to meet the tolerance.
"""

import math
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Num

from gen_jax.check import require, require_image, require_key
from gen_jax.conditions import Cond
from gen_jax.density import Value, bits_per_dim, fold_in
from gen_jax.models.flow.base import VALUES_AT_ONCE, DequantizedFlow, Flow
from gen_jax.nn.bijections import Actnorm, Vector
from gen_jax.nn.conv import Conv, Dense
from gen_jax.ops import dequantize, gaussian, ode
from gen_jax.ops.importance import mean_in_chunks
from gen_jax.ops.ode import Adjoint, Solved, Solver
from gen_jax.ops.squeeze import parts_of, squeeze, unsqueeze
from gen_jax.typing import Event, Metrics, Nats, PRNGKey, Scalar, points

ACTIVATIONS = {"tanh": jnp.tanh, "softplus": jax.nn.softplus}
LAST_INIT = nn.initializers.variance_scaling(0.1, "fan_in", "truncated_normal")
Activation = Literal["tanh", "softplus"]
Mix = Literal["concat", "concatsquash"]
Reals = Float[Array, "B *event"]
Values = Num[Array, "B *event"]


class TimedLayer(nn.Module):
    """A dense layer, or a 3x3 convolution of an image, that reads a vector c: time and class.

    `concat`: c is part of the input at every position. `concatsquash`: layer(x) sigmoid(A c + a) + B c. (The authors'
    code, diffeq_layers.)
    """

    features: int
    mix: Mix
    kernel_init: nn.initializers.Initializer = nn.initializers.lecun_normal()

    @nn.compact
    def __call__(
        self, x: Float[Array, "*positions I"], c: Float[Array, " K"]
    ) -> Float[Array, "*positions O"]:
        layer: Any = Dense(self.features, kernel_init=self.kernel_init)
        if x.ndim > 1:
            layer = Conv(self.features, (3, 3), kernel_init=self.kernel_init)
        if self.mix == "concat":
            planes = jnp.broadcast_to(c, (*x.shape[:-1], *c.shape))
            return layer(jnp.concatenate([x, planes], axis=-1)[None])[0]
        gate = nn.sigmoid(Dense(self.features)(c))
        shift = Dense(self.features, use_bias=False, kernel_init=self.kernel_init)(c)
        return layer(x[None])[0] * gate + shift


class Velocity(nn.Module):
    """f(x, t) of one example: timed layers with a smooth nonlinearity between them; small at first."""

    hidden: tuple[int, ...]
    mix: Mix
    activation: Activation
    dense: bool

    @nn.compact
    def __call__(
        self, x: Float[Array, "*positions I"], t: Float[Array, ""], y: Float[Array, " K"] | None
    ) -> Float[Array, "*positions I"]:
        c = t[None] if y is None else jnp.concatenate([t[None], y.astype(t.dtype)])
        h = x.ravel() if self.dense else x
        outputs = h.shape[-1]
        for features in self.hidden:
            h = ACTIVATIONS[self.activation](TimedLayer(features, self.mix)(h, c))
        return TimedLayer(outputs, self.mix, LAST_INIT)(h, c).reshape(x.shape)


class Block(nn.Module):
    """x(0) to x(T) under one velocity; T is learned, as the square of a parameter."""

    velocity: Velocity
    adjoint: Adjoint
    time: float

    def setup(self):
        self.root_time = self.param("root_time", nn.initializers.constant(math.sqrt(self.time)), ())

    def __call__(
        self,
        x: Float[Array, "B *event"],
        y: Vector,
        solver: Solver,
        noise: Float[Array, "B *event"] | None = None,
        trace: bool = True,
        backward: bool = False,
    ) -> Solved:
        if self.is_initializing():
            self.velocity(x[0], self.root_time, None if y is None else y[0])
            zeros = jnp.zeros(len(x), x.dtype)
            return Solved(x, zeros, zeros.astype(jnp.int32))
        network, weights = self.velocity.unbind()

        def velocity(x, t, shared, y):  # of the time t T, t from 0 to 1
            weights, end = shared
            return end * network.apply(weights, x, t * end, y)

        start, end = (1.0, 0.0) if backward else (0.0, 1.0)
        shared = (weights, self.root_time**2)
        return ode.solve(velocity, x, start, end, solver, shared, y, noise, trace, self.adjoint)


class Continuous(Flow):
    """A flow whose layers are blocks; a subclass defines `solved`, `inverse` and `one_draw`.

    `hidden`: features of the hidden layers of each velocity. `time`: T at first. `normalise`: before the first ODE each
    dimension is shifted and scaled to mean 0 and variance 1 over the first batch; then these are parameters.
    `train_solver`: that of the training loss, if it is another. `adjoint`: how the gradient is computed
    (`ops/ode.solve`).
    """

    value: ClassVar[Value] = "estimate"

    hidden: tuple[int, ...] = (64, 64, 64)
    mix: Mix = "concatsquash"
    activation: Activation = "tanh"
    blocks: int = 1
    time: float = 1.0
    normalise: bool = False
    solver: Solver = Solver()
    train_solver: Solver | None = None
    adjoint: Adjoint = "checkpoints"

    def solved(
        self,
        x: Reals,
        cond: Cond = None,
        key: PRNGKey | None = None,
        trace: bool = True,
        train: bool = False,
    ) -> Solved:
        """z, log |det dz/dx| in nats and the number of steps of all blocks; a random trace needs a key."""
        raise TypeError(f"{type(self).__name__} does not define its blocks")

    def one_draw(self, x: Values, key: PRNGKey | None, cond: Cond = None) -> Nats:
        """log p of reals, or log p(x + u) - log q(u | x), with one draw of all noise, nats."""
        raise TypeError(f"{type(self).__name__} does not define its noise")

    def forward(
        self, x: Reals, train: bool = False, cond: Cond = None, key: PRNGKey | None = None
    ) -> tuple[Float[Array, "B D"], Nats]:
        z, log_det, _ = self.solved(x, cond, key, train=train)
        return z, log_det

    def log_density(
        self, x: Reals, train: bool = False, cond: Cond = None, key: PRNGKey | None = None
    ) -> Nats:
        z, log_det = self.forward(x, train, cond, key)
        return jnp.sum(gaussian.log_prob(z), axis=-1) + log_det

    def log_draws(
        self, x: Values, key: PRNGKey | None, number: Int[Array, " K"], cond: Cond = None
    ) -> Float[Array, "K B"]:
        """log p with the noise of the draws with these numbers, nats."""
        module, variables = self.unbind()

        def draw(k: Int[Array, ""]) -> Any:
            own = None if key is None else fold_in(key, k)
            return module.apply(variables, x, own, cond, method="one_draw")

        return jax.vmap(draw)(number)

    def log_prob(
        self, x: Values, key: PRNGKey | None = None, cond: Cond = None, draws: int = 1
    ) -> Nats:
        """The mean of log p over `draws` draws of noise, nats; memory does not grow with them."""
        return mean_in_chunks(
            lambda number: self.log_draws(x, key, number, cond),
            draws,
            max(1, VALUES_AT_ONCE // x.size),
        )

    def in_training(self, x: Reals, cond: Cond, key: PRNGKey) -> tuple[Nats, dict[str, Scalar]]:
        """log p of reals by the solver of training, nats, and the mean and largest number of steps."""
        z, log_det, steps = self.solved(x, cond, key, train=True)
        log_p = jnp.sum(gaussian.log_prob(z), axis=-1) + log_det
        steps = steps.astype(log_p.dtype)
        return log_p, {"solver_steps": jnp.mean(steps), "most_solver_steps": jnp.max(steps)}

    def through(
        self,
        blocks: Sequence[Block],
        before: Solved,
        y: Vector,
        solver: Solver,
        key: PRNGKey | None,
        trace: bool,
    ) -> Solved:
        """The blocks in order; integrals and steps add up. Each block has signs of its own."""
        x, log_det, steps = before
        for block in blocks:
            own = None if key is None else fold_in(key, block.name or "")
            noise = ode.signs(solver, own, x) if trace else None
            after = block(x, y, solver, noise, trace)
            x, log_det, steps = after.x, log_det + after.log_det, steps + after.steps
        return Solved(x, log_det, steps)

    def block(self, dense: bool) -> Block:
        """A new block."""
        velocity = Velocity(self.hidden, self.mix, self.activation, dense)
        return Block(velocity, self.adjoint, self.time)

    def begun(self, x: Reals, log_det: Nats) -> Solved:
        """x before the first block; the integral begins with this log-determinant."""
        if self.norm is not None:
            x, log_slope = self.norm(x)
            log_det = log_det + log_slope
        return Solved(x, log_det, jnp.zeros(len(x), jnp.int32))

    def ended(self, x: Reals) -> Reals:
        """The inverse of `begun`."""
        return x if self.norm is None else self.norm.inverse(x)

    def solver_of(self, train: bool) -> Solver:
        """The solver of training or of evaluation."""
        return (self.train_solver if train else None) or self.solver

    def diagnosis(self, measured: dict[str, np.ndarray]) -> tuple[dict[str, float], dict[str, str]]:
        """The mean and largest number of steps; no findings."""
        steps = measured["solver_steps"]
        return {"solver_steps": float(steps.mean()), "most_solver_steps": float(steps.max())}, {}

    def check(self) -> None:
        self.solver.check(self.event)
        self.solver_of(True).check(self.event)
        require(self.blocks >= 1, f"blocks must be at least 1, not {self.blocks}")
        require(self.time > 0, f"time must be positive, not {self.time}")
        least = min(self.hidden, default=1)
        require(least >= 1, f"hidden features must be positive: {self.hidden}")


class FFJORD(Continuous):
    """Points: `blocks` ODEs one after the other, whose networks have dense layers.

    With an exact trace log p is computed without noise, so it takes no key.
    """

    system: ClassVar[str] = "ffjord"

    event: Event = points()
    num_classes: int = 0

    def setup(self):
        self.check()
        self.norm = Actnorm("dimension") if self.normalise else None
        self.layers = [self.block(dense=True) for _ in range(self.blocks)]

    def solved(
        self,
        x: Reals,
        cond: Cond = None,
        key: PRNGKey | None = None,
        trace: bool = True,
        train: bool = False,
    ) -> Solved:
        y, solver = self.one_hot(cond), self.solver_of(train)
        zeros = jnp.zeros(len(x), x.dtype)
        return self.through(self.layers, self.begun(x, zeros), y, solver, key, trace)

    def inverse(self, z: Float[Array, "B D"], cond: Cond = None) -> Float[Array, "B D"]:
        return self.ended(backward(self.layers, z, self.one_hot(cond), self.solver))

    def one_draw(self, x: Values, key: PRNGKey | None, cond: Cond = None) -> Nats:
        return self.log_density(x, cond=cond, key=key)

    def loss(self, x: Reals, key: PRNGKey, cond: Cond = None) -> tuple[Scalar, Metrics]:
        """Mean of -log p(x) with one draw of the trace, nats an example."""
        log_p, steps = self.in_training(x, cond, key)
        nats = -jnp.mean(log_p)
        return nats, {"nats": nats, **steps}

    def measure(self, x: Reals, key: PRNGKey, cond: Cond = None) -> dict[str, Array]:
        """The number of steps of each example."""
        return {"solver_steps": self.solved(x, cond, key).steps}

    def check(self) -> None:
        super().check()
        require(
            self.event.levels is None and len(self.event.shape) == 1,
            f"FFJORD is a density of points; of images of integers there is ImageFFJORD, not of {self.event}",
        )


class ImageFFJORD(Continuous, DequantizedFlow):
    """Images: ODEs in the logits of dequantised values, at several scales.

    Each of the `scales` but the last has `blocks` ODEs, a squeeze, and `blocks` ODEs; then half of the channels are
    factored out, as part of z. The last scale has `blocks` ODEs only. Their networks have 3x3 convolutions, or `dense`
    layers over all values. (The authors' code, odenvp.py.)
    """

    system: ClassVar[str] = "ffjord"

    scales: int = 1
    alpha: float = 0.05
    dense: bool = False
    solver: Solver = Solver(trace="hutchinson")
    num_classes: int = 0

    def setup(self):
        self.check()
        self.norm = Actnorm("dimension") if self.normalise else None
        count = [self.blocks] * self.scales
        self.before = [[self.block(self.dense) for _ in range(n)] for n in count]
        self.after = [[self.block(self.dense) for _ in range(n)] for n in count[:-1]]

    def solved(
        self,
        x: Reals,
        cond: Cond = None,
        key: PRNGKey | None = None,
        trace: bool = True,
        train: bool = False,
    ) -> Solved:
        y, solver, parts = self.one_hot(cond), self.solver_of(train), []
        x, log_slope = dequantize.to_logit(x, self.event.num_levels, self.alpha)
        now = self.begun(x, jnp.sum(log_slope.reshape(len(x), -1), axis=-1))
        for scale, blocks in enumerate(self.before):
            now = self.through(blocks, now, y, solver, key, trace)
            if scale < len(self.after):
                now = now._replace(x=squeeze(now.x))
                now = self.through(self.after[scale], now, y, solver, key, trace)
                x, part = jnp.split(now.x, 2, axis=-1)
                parts.append(part.reshape(len(x), -1))
                now = now._replace(x=x)
        return now._replace(x=jnp.concatenate([*parts, now.x.reshape(len(x), -1)], axis=-1))

    def inverse(self, z: Float[Array, "B D"], cond: Cond = None) -> Float[Array, "B H W C"]:
        """x, mostly in [0, levels]."""
        y = self.one_hot(cond)
        height, width, channels = self.event.shape
        shapes = [(height >> k, width >> k, channels << k) for k in range(self.scales)]
        *parts, x = parts_of(z, [*shapes[1:], shapes[-1]])
        for scale in reversed(range(self.scales)):
            if scale < len(self.after):
                x = jnp.concatenate([x, parts[scale]], axis=-1)
                x = unsqueeze(backward(self.after[scale], x, y, self.solver))
            x = backward(self.before[scale], x, y, self.solver)
        return dequantize.from_logit(self.ended(x), self.event.num_levels, self.alpha)

    def one_draw(self, x: Values, key: PRNGKey | None, cond: Cond = None) -> Nats:
        key = require_key(key, type(self).__name__)
        y, log_q = self.dequantized(x, fold_in(key, "u"), cond=cond)
        return self.log_density(y, cond=cond, key=fold_in(key, "signs")) - log_q

    def loss(self, x: Values, key: PRNGKey, cond: Cond = None) -> tuple[Scalar, Metrics]:
        """Mean of log q(u | x) - log p(x + u) with one draw of all noise, nats a dimension."""
        y, log_q = self.dequantized(x, fold_in(key, "u"), True, cond)
        log_p, steps = self.in_training(y, cond, fold_in(key, "signs"))
        nats = jnp.mean(log_q - log_p)
        bits = {"bits_per_dim": bits_per_dim(nats, self.event)}
        return nats / self.event.size, {**bits, **steps}

    def measure(self, x: Values, key: PRNGKey, cond: Cond = None) -> dict[str, Array]:
        """The number of steps of each example."""
        y, _ = self.dequantized(x, fold_in(key, "u"), cond=cond)
        return {"solver_steps": self.solved(y, cond, fold_in(key, "signs")).steps}

    def check(self) -> None:
        DequantizedFlow.check(self)
        super().check()
        require_image(self.event, "ImageFFJORD")
        shape, factor = self.event.shape, 2 ** (self.scales - 1)
        require(
            self.scales >= 1 and not any(side % factor for side in shape[:2]),
            f"{self.scales} scales need images whose sides {factor} divides, not {shape}",
        )
        require(0 < self.alpha < 0.5, f"alpha must lie between 0 and 0.5, not {self.alpha}")


def backward(
    blocks: Sequence[Block], z: Float[Array, "B *event"], y: Vector, solver: Solver
) -> Float[Array, "B *event"]:
    """The inverse of the blocks, each solved from T to 0."""
    for block in reversed(blocks):
        z = block(z, y, solver, trace=False, backward=True).x
    return z
