"""The two ways of a diffusion at some of its times: from an example to noise, and from noise to a sample."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Int, Num

from gen_jax.conditions import Cond
from gen_jax.density import fold_in, root_key
from gen_jax.ops import diffusion
from gen_jax.runs.run import Trained
from gen_jax.typing import PRNGKey

CONTINUOUS = 250  # steps of a model whose time is continuous


class Way(NamedTuple):
    """Events at each of some times: the nearest to x_t, and the nearest to the x_0 that the network infers there."""

    states: Num[np.ndarray, "times N *event"]
    guesses: Num[np.ndarray, "times N *event"]


def steps_of(model: Any) -> int:
    """The steps of the model's own chain."""
    return model.timesteps or CONTINUOUS


def noised(
    run: Trained, x: np.ndarray, times: Sequence[int], seed: int = 0
) -> Num[np.ndarray, "times N *event"]:
    """Examples at these times t = 0..T, x_t = signal_t x_0 + noise_t eps, with the same eps at all times."""
    model, key = run.experiment.model, fold_in(root_key(seed), "noised")

    def program(variables: Any, x: Array, times: Int[Array, " times"]) -> Array:
        chain = model.apply(variables, steps_of(model), method="chain")
        x_0 = model.apply(variables, x, method="to_reals")
        noise = jax.random.normal(key, x_0.shape, x_0.dtype)

        def at(t: Int[Array, ""]) -> Array:
            now = diffusion.at(chain, jnp.full(len(x), t), x.ndim)
            return model.apply(variables, diffusion.diffused(now, x_0, noise), method="to_event")

        return lax.map(at, times)

    return np.asarray(jax.jit(program)(run.variables, jnp.asarray(x), jnp.asarray(times)))


def denoised(
    run: Trained,
    num: int,
    times: Sequence[int],
    key: PRNGKey,
    cond: Cond = None,
    steps: int | None = None,
    eta: float | None = None,
) -> Way:
    """Samples on their way from t = steps to 0, at these times; by default in the steps of the model's own chain.

    Without `eta` each step draws from p(x_{t-1} | x_t), with it the steps are those of DDIM. x_T is the same for any
    number of steps. At t = 0 both parts are the samples.
    """
    model = run.experiment.model
    count = steps_of(model) if steps is None else steps
    shape, slots = (num, *model.event.shape), np.full(count + 1, len(times))
    slots[list(times)] = np.arange(len(times))

    @jax.jit
    def program(variables: Any, key: PRNGKey, cond: Any) -> tuple[Array, Array]:
        chain = model.apply(variables, count, method="chain")
        normal = lambda number: jax.random.normal(  # noqa: E731
            fold_in(key, number), shape, jnp.result_type(float)
        )
        to_event = lambda x: model.apply(variables, x, method="to_event")  # noqa: E731

        def stored(kept: tuple[Array, Array], t: Any, *both: Array) -> tuple[Array, Array]:
            place = jnp.asarray(slots)[t]
            first, second = (
                whole.at[place].set(part, mode="drop")
                for whole, part in zip(kept, both, strict=True)
            )
            return first, second

        def seen(kept: tuple[Array, Array], x: Array, t: Any) -> tuple[Any, Any, Any]:
            now = diffusion.at(chain, jnp.full(num, t), len(shape))
            back = model.apply(variables, x, now, cond=cond, method="back")
            return now, back, stored(kept, t, to_event(x), to_event(back.data))

        def step(carry: tuple[Array, Any], t: Int[Array, ""]) -> tuple[tuple[Array, Any], None]:
            x, kept = carry
            now, back, kept = seen(kept, x, t)
            if eta is None:
                mean, scale = diffusion.posterior_mean(now, back.data, x), jnp.exp(back.log_scale)
            else:
                before = diffusion.at(chain, jnp.full(num, t - 1), len(shape))
                mean, scale = diffusion.ddim_step(now, before, back.data, x, eta)
            return (mean + scale * normal(t), kept), None

        x = normal(steps_of(model) + 1)
        empty = jax.eval_shape(to_event, x)
        kept = (jnp.zeros((len(times), *shape), empty.dtype),) * 2
        (x, kept), _ = lax.scan(step, (x, kept), jnp.arange(count, 1, -1))
        now, _, kept = seen(kept, x, 1)
        options = {"temperature": 1.0 if eta is None else 0.0, "method": "decode"}
        x = model.apply(variables, x, now, fold_in(key, 1), cond, **options)
        return stored(kept, 0, x, x)

    return Way(*map(np.asarray, program(run.variables, key, cond)))
