"""The chain of a diffusion as latents in groups z = (x_T, ..., x_1), so that bits-back coding has a codec for it.

p(z) = N(x_T; 0, I) prod_t p(x_{t-1} | x_t), and q(z | x) = q(x_T | x_0) prod_t q(x_{t-1} | x_t, x_0) is fixed.
The mean of log p(x_0 | x_1) + log p(z) - log q(z | x) is the bound -L, so a file has its length (Townsend, Bird and
Barber 2019, 1901.04866; for hierarchies Kingma, Abbeel and Ho 2019, 1905.06845).
"""

from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Num

from gen_jax.conditions import Cond
from gen_jax.density import Codec
from gen_jax.heads import Categorical
from gen_jax.models.latent.factorised import Rows
from gen_jax.ops import diffusion
from gen_jax.ops.latents import STANDARD, Gaussian, Normal
from gen_jax.typing import Event

MOST = 64  # steps of a chain with a codec: before the first example its encoder pops the bits of all groups


class State(NamedTuple):
    """The last x_t of each example, and if x is known x_0; what the example is conditioned on."""

    x: Float[Array, "B *event"]
    data: Float[Array, "B *event"] | None
    cond: Any


class ChainLatents:
    """The methods of `density.Latent`, for a model with those of `density.Chain`."""

    event: Event
    alike: ClassVar[bool] = True  # the number of a group may be traced: one program serves all

    @property
    def codec(self) -> Codec:
        """Bits-back coding for integers and up to 64 steps."""
        steps = len(self.groups)
        return "bits_back" if self.event.levels is not None and 0 < steps <= MOST else "none"

    @property
    def groups(self) -> tuple[Gaussian, ...]:
        """x_T, ..., x_1; none in continuous time."""
        model: Any = self
        return (Gaussian(self.event.shape),) * (model.timesteps or 0)

    def begin(self, n: int, x: Num[Array, "n *event"] | None = None, cond: Cond = None) -> State:
        """The state of n examples before x_T is known."""
        model: Any = self
        start = jnp.zeros((n, *self.event.shape))
        return State(start, None if x is None else model.to_reals(x), cond)

    def group(self, state: State, k: int | Int[Array, ""]) -> tuple[State, Normal, Normal | None]:
        """The state, and the parameters of p(x_t | x_{t+1}) and, if x is known, of q(x_t | x_{t+1}, x_0); t = T - k."""
        model: Any = self
        chain, axes = model.chain(), state.x.ndim
        last, first = len(chain.signal) - 1, jnp.asarray(k) == 0
        above = jnp.full(len(state.x), jnp.minimum(last + 1 - jnp.asarray(k), last))
        now = diffusion.at(chain, above, axes)
        back = model.back(state.x, now, cond=state.cond)

        def chosen(top: tuple[Any, Any], later: tuple[Any, Any]) -> Normal:
            pairs = zip(top, later, strict=True)
            return Normal(*(jnp.where(first, a, b) for a, b in pairs))

        p = chosen(STANDARD, (diffusion.posterior_mean(now, back.data, state.x), back.log_scale))
        if state.data is None:
            return state, p, None
        top = now.signal * state.data, jnp.log(now.noise)
        q = chosen(top, (diffusion.posterior_mean(now, state.data, state.x), now.posterior))
        return state, p, q

    def put(self, state: State, k: int | Int[Array, ""], z: Float[Array, "B *event"]) -> State:
        """The state after x_t has become known."""
        del k  # the next group is told its own
        return state._replace(x=z)

    def order(self, state: State) -> Int[Array, "B D"]:
        """Positions of the event in the order of `given`: unchanged."""
        size = self.event.size
        return jnp.broadcast_to(jnp.arange(size), (len(state.x), size))

    @property
    def given(self) -> Rows:
        """p(x_0 | x_1), row by row."""
        return Rows(_Decoder(self))


class _Decoder:
    """p(x_0 | x_1) as independent sites of one value, by the log-probability of every level."""

    values = 1

    def __init__(self, model: Any):
        self.event, self.head = model.event, Categorical(model.event.num_levels)
        self._model = model

    def decode(self, state: State) -> Float[Array, "B D levels"]:
        module, variables = self._model.unbind()
        now = diffusion.at(module.chain(), jnp.ones(len(state.x), int), state.x.ndim)

        def of_level(level: Int[Array, ""]) -> Float[Array, "B *event"]:
            x = jnp.full(state.x.shape, level)
            return module.apply(variables, x, state.x, now, state.cond, method="log_decoder")

        logs = jax.vmap(of_level, out_axes=-1)(jnp.arange(self.event.num_levels))
        return logs.reshape(len(state.x), -1, self.event.num_levels)
