"""Optimisers and schedules as values: a config can print them and a work directory can store them.

An epsilon, a clipped norm and a penalty are numbers in the unit of a gradient, so they belong to a loss in a stated
unit. An optimiser says which one by its `unit`; `Setting` knows the model's.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax

from gen_jax.density import InNats
from gen_jax.errors import InputError

Unit = Literal["loss", "example", "batch"]


@dataclass(frozen=True)
class Setting:
    """What an optimiser takes from its run: the steps of a schedule without its own, and the unit of the loss.

    `example` and `batch` are what turns the gradient of the loss into that of nats an example, and into that of the
    nats of a whole batch, summed; None where the loss is not in nats.
    """

    steps: int | None = None
    example: float | None = None
    batch: float | None = None

    @classmethod
    def of(cls, model: Any, batch_size: int, steps: int) -> "Setting":
        """By the model's `loss_per`, a dimension or an example."""
        factors = {"dimension": model.event.size, "example": 1}
        size = factors.get(model.loss_per) if isinstance(model, InNats) else None
        return cls(steps) if size is None else cls(steps, float(size), float(size * batch_size))

    def factor(self, unit: Unit) -> float:
        """From the gradient of the loss to one in the unit; InputError where the loss is not in nats."""
        factor = {"loss": 1.0, "example": self.example, "batch": self.batch}[unit]
        if factor is None:
            raise InputError(f"optimizer.unit is {unit!r}, but the model's loss is not in nats")
        return factor


@dataclass(frozen=True)
class WarmupCosine:
    """Linear from 0 to `peak` in `warmup` steps, then a cosine to `end` at `steps` (Loshchilov 2016, 1608.03983).

    Without `steps` it takes all of the experiment's.
    """

    peak: float
    warmup: int
    steps: int | None = None
    end: float = 0.0

    def build(self, steps: int | None = None) -> optax.Schedule:
        """The optax schedule; InputError unless the warm-up ends before the budget."""
        steps = steps if self.steps is None else self.steps
        if steps is None:
            raise InputError(
                "learning_rate.steps is open, and there is no experiment to take it from"
            )
        if not 0 <= self.warmup < steps:
            raise InputError(
                f"learning_rate.warmup {self.warmup} must lie below learning_rate.steps {steps}"
            )
        return optax.warmup_cosine_decay_schedule(0.0, self.peak, self.warmup, steps, self.end)

    def resized(self, before: int, steps: int) -> "WarmupCosine":
        """The same course over other steps: a shorter one warms up for less in proportion, a longer one as before."""
        warmup = min(round(self.warmup * min(1.0, steps / before)), steps - 1)
        return replace(self, warmup=warmup, steps=None if self.steps is None else steps)


@dataclass(frozen=True)
class ExponentialDecay:
    """Learning rate start * rate^step."""

    start: float
    rate: float

    def build(self, steps: int | None = None) -> optax.Schedule:
        """The optax schedule, of any length."""
        del steps
        return optax.exponential_decay(self.start, 1, self.rate)


@dataclass(frozen=True)
class PiecewiseConstant:
    """One constant rate after another, each for its number of steps."""

    rates: tuple[float, ...]
    lengths: tuple[int, ...]

    @property
    def steps(self) -> int:
        """The budget that the stages add up to."""
        return sum(self.lengths)

    def build(self, steps: int | None = None) -> optax.Schedule:
        """The optax schedule; InputError unless every rate has its length."""
        del steps
        if not self.rates or len(self.rates) != len(self.lengths) or min(self.lengths) < 1:
            raise InputError("learning_rate needs as many lengths, of at least 1 step, as rates")
        ends = [sum(self.lengths[: i + 1]) for i in range(len(self.lengths) - 1)]
        return optax.join_schedules([optax.constant_schedule(rate) for rate in self.rates], ends)

    def resized(self, before: int, steps: int) -> "PiecewiseConstant":
        """The same course over other steps, without the stages that have none left."""
        ends = [round(sum(self.lengths[:i]) * steps / before) for i in range(len(self.lengths) + 1)]
        stages = [
            (rate, end - begin)
            for rate, begin, end in zip(self.rates, ends[:-1], ends[1:], strict=True)
            if end > begin
        ]
        rates, lengths = zip(*stages, strict=True)
        return PiecewiseConstant(rates, lengths)


Rate = float | WarmupCosine | ExponentialDecay | PiecewiseConstant


@dataclass(frozen=True)
class L2:
    """`coefficient` times the sum of w^2 in the loss, over the parameters of these names, over all without names.

    It goes through the optimiser with the rest of the gradient, unlike `weight_decay`.
    """

    coefficient: float
    names: tuple[str, ...] = ()

    def build(self) -> optax.GradientTransformation:
        """Adds 2 coefficient w to a gradient; InputError, at init, where no parameter has such a name."""

        def chosen(params: Any) -> Any:
            def has_name(path: Any, _: Any) -> bool:
                return not self.names or str(getattr(path[-1], "key", "")) in self.names

            found = jax.tree_util.tree_map_with_path(has_name, params)
            if not any(jax.tree.leaves(found)):
                raise InputError(f"optimizer.l2: no parameter is named {' or '.join(self.names)}")
            return found

        return optax.add_decayed_weights(2 * self.coefficient, chosen)


@dataclass(frozen=True)
class Adam:
    """Adam (Kingma and Ba 2014, 1412.6980), with a penalty, decoupled weight decay and a clipped norm where asked for.

    update = m / (sqrt(v + eps_root) + eps + eps_hat / sqrt(1 - b2^t)), m and v corrected for their start: `eps_root` is
    for papers that put epsilon inside the root, `eps_hat` for those that add it to the root before the correction (end
    of the paper's section 2), as TensorFlow's Adam does. v begins at `second_moment`. `accumulate` splits a batch into
    that many parts whose gradients are averaged before the update.

    `eps`, `eps_root`, `eps_hat`, `clip_norm`, `second_moment` and `l2` are for the gradient of the model's loss as it
    is, of nats an example (`unit` "example") or of the nats of the batch, summed ("batch").
    """

    learning_rate: Rate = 1e-3
    b1: float = 0.9
    b2: float = 0.999
    eps: float = 1e-8
    eps_root: float = 0.0
    weight_decay: float = 0.0
    clip_norm: float | None = None
    accumulate: int = 1
    unit: Unit = "loss"
    eps_hat: float = 0.0
    second_moment: float = 0.0
    l2: L2 | None = None

    def build(self, setting: Setting = Setting()) -> optax.GradientTransformation:
        """The optax transformation; InputError where the loss has no such unit or a schedule no steps."""
        before = []
        if self.unit != "loss":
            before.append(optax.scale(setting.factor(self.unit)))
        if self.l2 is not None:
            before.append(self.l2.build())
        if self.clip_norm is not None:
            before.append(optax.clip_by_global_norm(self.clip_norm))
        first = before or [optax.identity()]
        return optax.chain(
            first[0] if len(first) == 1 else optax.chain(*first),
            self._moments(),
            optax.add_decayed_weights(self.weight_decay),
            optax.scale_by_learning_rate(_schedule(self.learning_rate, setting.steps)),
        )

    def _moments(self) -> optax.GradientTransformation:
        plain = optax.scale_by_adam(self.b1, self.b2, self.eps, self.eps_root)
        if not (self.eps_hat or self.second_moment):
            return plain

        def init(params: Any) -> Any:
            state: Any = plain.init(params)
            return state._replace(
                nu=jax.tree.map(lambda v: jnp.full_like(v, self.second_moment), state.nu)
            )

        def update(updates: Any, state: Any, params: Any = None) -> Any:
            corrected = self.eps_hat / jnp.sqrt(1 - self.b2 ** (state.count + 1))
            eps: Any = self.eps + corrected
            return optax.scale_by_adam(self.b1, self.b2, eps, self.eps_root).update(
                updates, state, params
            )

        return optax.GradientTransformation(init, update)


@dataclass(frozen=True)
class RMSProp:
    """update = g / (sqrt(v) + eps), v a running mean of g^2 (Tieleman and Hinton 2012, lecture 6.5 of their course).

    `eps` is for the gradient that `unit` names, as in `Adam`.
    """

    learning_rate: Rate = 1e-3
    decay: float = 0.9
    eps: float = 1e-8
    accumulate: int = 1
    unit: Unit = "loss"

    def build(self, setting: Setting = Setting()) -> optax.GradientTransformation:
        """The optax transformation; InputError where the loss has no such unit or a schedule no steps."""
        rate = _schedule(self.learning_rate, setting.steps)
        rmsprop = optax.rmsprop(rate, self.decay, self.eps, eps_in_sqrt=False)
        if self.unit == "loss":
            return rmsprop
        return optax.chain(optax.scale(setting.factor(self.unit)), rmsprop)


@dataclass(frozen=True)
class OptimizerGroups:
    """One optimiser for each top-level name of the parameters, such as a generator's and a discriminator's."""

    names: tuple[str, ...]
    optimizers: tuple[Adam | RMSProp, ...]
    accumulate: int = 1

    def build(self, setting: Setting = Setting()) -> optax.GradientTransformation:
        """The optax transformation; InputError unless every name has its optimiser, and later a parameter its name."""
        if len(self.names) != len(self.optimizers) or len(set(self.names)) != len(self.names):
            raise InputError("optimizer.names and optimizer.optimizers need one entry a group")
        groups: dict[Any, optax.GradientTransformation] = {
            name: one.build(setting) for name, one in zip(self.names, self.optimizers, strict=True)
        }

        def labels(params: dict[str, Any]) -> dict[str, str]:
            if params.keys() != groups.keys():
                raise InputError(
                    f"optimizer.names are {', '.join(self.names)}, the parameters are {', '.join(params)}"
                )
            return {name: name for name in params}

        return optax.partition(groups, labels)


def planned_steps(optimizer: Any, steps: int) -> list[int]:
    """How many steps each schedule is for; `steps` where it says none."""
    rates = [getattr(one, "learning_rate", None) for one in _single(optimizer)]
    return [getattr(rate, "steps", None) or steps for rate in rates]


def following(optimizer: Any, before: int, steps: int) -> Any:
    """The optimiser with each schedule that was for all the steps `before` made one for all of these."""

    def resized(one: Any) -> Any:
        rate: Any = getattr(one, "learning_rate", None)
        if not hasattr(rate, "resized") or rate.steps not in (None, before):
            return one
        return replace(one, learning_rate=rate.resized(before, steps))

    if isinstance(optimizer, OptimizerGroups):
        return replace(optimizer, optimizers=tuple(map(resized, optimizer.optimizers)))
    return resized(optimizer)


def _single(optimizer: Any) -> tuple[Any, ...]:
    return getattr(optimizer, "optimizers", (optimizer,))


def _schedule(rate: Rate, steps: int | None) -> float | Callable[[Any], Any]:
    return rate if isinstance(rate, int | float) else rate.build(steps)
