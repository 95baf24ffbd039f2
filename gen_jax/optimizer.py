"""Optimisers as values, which a config can print and a work directory can store.

An epsilon, a clipping norm and a penalty are in the unit of a gradient, so they belong to a loss in a known unit: the
optimiser's `unit`. `Setting` converts from the unit of the model's loss.
"""

import importlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
import optax

from gen_jax.density import InNats
from gen_jax.errors import InputError, first_line, near
from gen_jax.schedules import (
    ExponentialDecay,
    InverseSqrt,
    PiecewiseConstant,
    WarmupConstant,
    WarmupCosine,
)

Unit = Literal["loss", "example", "batch"]
Rate = float | WarmupCosine | WarmupConstant | InverseSqrt | ExponentialDecay | PiecewiseConstant
Decayed = Literal["all", "matrices"]
Argument = bool | int | float | str | None


@dataclass(frozen=True)
class Setting:
    """What an optimiser needs to know of its run: the number of steps, and the unit of the loss.

    `example` and `batch` are the factors from the gradient of the loss to that of nats per example, and to that of nats
    summed over a batch; None if the loss is not in nats.
    """

    steps: int | None = None
    example: float | None = None
    batch: float | None = None

    @classmethod
    def of(cls, model: Any, batch_size: int, steps: int) -> "Setting":
        """The setting of a model, whose `loss_per` is a dimension or an example."""
        factors = {"dimension": model.event.size, "example": 1}
        size = factors.get(model.loss_per) if isinstance(model, InNats) else None
        return cls(steps) if size is None else cls(steps, float(size), float(size * batch_size))

    def factor(self, unit: Unit) -> float:
        """The factor from the gradient of the loss to one in the unit; InputError if the loss is not in nats."""
        factor = {"loss": 1.0, "example": self.example, "batch": self.batch}[unit]
        if factor is None:
            raise InputError(f"optimizer.unit is {unit!r}, but the model's loss is not in nats")
        return factor


@dataclass(frozen=True)
class L2:
    """`coefficient` times the sum of w^2, added to the loss, over the parameters with these names, by default all.

    Unlike `weight_decay`, it goes through the optimiser with the rest of the gradient.
    """

    coefficient: float
    names: tuple[str, ...] = ()

    def build(self) -> optax.GradientTransformation:
        """Adds 2 coefficient w to a gradient; InputError, at init, if no parameter has such a name."""

        def chosen(params: Any) -> Any:
            def has_name(path: Any, _: Any) -> bool:
                return not self.names or str(getattr(path[-1], "key", "")) in self.names

            mask = jax.tree_util.tree_map_with_path(has_name, params)
            if not any(jax.tree.leaves(mask)):
                raise InputError(f"optimizer.l2: no parameter is named {' or '.join(self.names)}")
            return mask

        return optax.add_decayed_weights(2 * self.coefficient, chosen)


@dataclass(frozen=True, kw_only=True)
class Optimizer:
    """What all optimisers share: the steps applied to the gradient before the update.

    In this order: the gradient is converted to `unit`, the penalty `l2` is added, each element is clipped to
    [-clip_value, clip_value], the norm of all elements is clipped to `clip_norm`. So an optimiser's constants, such as
    epsilon, refer to the gradient of the model's loss (`unit` "loss"), of nats per example ("example") or of nats
    summed over the batch ("batch"). Before all this, `accumulate` splits a batch into that many parts and averages
    their gradients.
    """

    accumulate: int = 1
    unit: Unit = "loss"
    l2: L2 | None = None
    clip_value: float | None = None
    clip_norm: float | None = None

    def build(self, setting: Setting = Setting()) -> optax.GradientTransformation:
        """The optax transformation; InputError if the loss has no such unit or a schedule has no length."""
        raise TypeError(f"{type(self).__name__} does not define its update")

    def _before(self, setting: Setting) -> list[optax.GradientTransformation]:
        steps = []
        if self.unit != "loss":
            steps.append(optax.scale(setting.factor(self.unit)))
        if self.l2 is not None:
            steps.append(self.l2.build())
        if self.clip_value is not None:
            steps.append(optax.clip(self.clip_value))
        if self.clip_norm is not None:
            steps.append(optax.clip_by_global_norm(self.clip_norm))
        return steps


@dataclass(frozen=True)
class Adam(Optimizer):
    """Adam (Kingma and Ba 2014, 1412.6980) with decoupled weight decay (Loshchilov and Hutter 2017, 1711.05101).

    update = m / (sqrt(v + eps_root) + eps + eps_hat / sqrt(1 - b2^t)), with bias-corrected m and v. `eps_root` is for
    papers that put epsilon inside the root, `eps_hat` for those that add it to the root before the correction (end of
    the paper's section 2), like TensorFlow's Adam. v starts at `second_moment`. `decay` names the parameters that
    `weight_decay` shrinks: all, or `matrices`.
    """

    learning_rate: Rate = 1e-3
    b1: float = 0.9
    b2: float = 0.999
    eps: float = 1e-8
    eps_root: float = 0.0
    weight_decay: float = 0.0
    eps_hat: float = 0.0
    second_moment: float = 0.0
    decay: Decayed = "all"

    def build(self, setting: Setting = Setting()) -> optax.GradientTransformation:
        before = self._before(setting) or [optax.identity()]
        return optax.chain(
            before[0] if len(before) == 1 else optax.chain(*before),
            self._moments(),
            _decayed(self.weight_decay, self.decay),
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
class Adamax(Optimizer):
    """update = m / u, u = max(b2 u, |g| + eps), with bias-corrected m (Kingma and Ba 2014, 1412.6980, section 7.1).

    Weight decay is that of `Adam`. The paper has no epsilon, but common implementations have it in this place.
    """

    learning_rate: Rate = 2e-3
    b1: float = 0.9
    b2: float = 0.999
    eps: float = 1e-8
    weight_decay: float = 0.0
    decay: Decayed = "all"

    def build(self, setting: Setting = Setting()) -> optax.GradientTransformation:
        return optax.chain(
            *self._before(setting),
            optax.scale_by_adamax(self.b1, self.b2, self.eps),
            _decayed(self.weight_decay, self.decay),
            optax.scale_by_learning_rate(_schedule(self.learning_rate, setting.steps)),
        )


@dataclass(frozen=True)
class RMSProp(Optimizer):
    """update = g / (sqrt(v) + eps), v a running mean of g^2 (Tieleman and Hinton 2012, lecture 6.5 of their course)."""

    learning_rate: Rate = 1e-3
    decay: float = 0.9
    eps: float = 1e-8

    def build(self, setting: Setting = Setting()) -> optax.GradientTransformation:
        rate = _schedule(self.learning_rate, setting.steps)
        rmsprop = optax.rmsprop(rate, self.decay, self.eps, eps_in_sqrt=False)
        before = self._before(setting)
        return optax.chain(*before, rmsprop) if before else rmsprop


@dataclass(frozen=True)
class Optax(Optimizer):
    """An optax optimiser by name, such as "lion" or "contrib.muon", with its arguments except the learning rate.

    Arguments are numbers, strings and flags by name; a config stores them as pairs.
    """

    name: str
    arguments: dict[str, Argument] | tuple[tuple[str, Argument], ...] = ()
    learning_rate: Rate = 1e-3

    def __post_init__(self):
        object.__setattr__(self, "arguments", tuple(sorted(dict(self.arguments).items())))

    def build(self, setting: Setting = Setting()) -> optax.GradientTransformation:
        """The optax transformation; InputError if optax has no such optimiser or it takes no such arguments."""
        module, _, name = self.name.rpartition(".")
        known = _optimizers(module)
        if name not in known:
            raise InputError(
                f"optimizer.name: optax has no optimiser {self.name!r}{near(name, known)}"
            )
        arguments, takes = dict(self.arguments), inspect.signature(known[name]).parameters
        if "learning_rate" in arguments:
            raise InputError("optimizer.arguments: the learning rate is a field, not an argument")
        for argument in arguments:
            if argument not in takes:
                raise InputError(
                    f"optimizer.arguments: {self.name} takes no {argument!r}{near(argument, takes)}"
                )
        rate = _schedule(self.learning_rate, setting.steps)
        try:
            update = known[name](learning_rate=rate, **arguments)
            _tried(update)
        except (TypeError, ValueError, AttributeError) as error:
            raise InputError(
                f"optimizer: {self.name} does not work with these arguments: {first_line(error)}"
            ) from error
        before = self._before(setting)
        return optax.chain(*before, update) if before else update


@dataclass(frozen=True)
class Transformation:
    """An optax transformation made in Python, for `fit`. A record holds only its text and cannot train with it."""

    text: str
    accumulate: ClassVar[int] = 1
    _update: optax.GradientTransformation | None = field(
        default=None, init=False, repr=False, compare=False
    )

    @classmethod
    def of(cls, update: optax.GradientTransformation) -> "Transformation":
        """A value with this transformation, named by its function."""
        step: Any = update.update
        package, function = step.__module__, step.__qualname__
        made = cls(f"{package.partition('.')[0]}.{function.partition('.<locals>')[0]}")
        object.__setattr__(made, "_update", update)
        return made

    def build(self) -> optax.GradientTransformation:
        """The transformation; InputError for one that was read from a record."""
        if self._update is None:
            raise InputError(
                f"the optimiser {self.text} was made in Python, which no record holds: a config names it as Optax"
            )
        return self._update


@dataclass(frozen=True)
class OptimizerGroups:
    """One optimiser for each top-level name of the parameters, such as a generator's and a discriminator's.

    `every`: of so many steps each group takes the last one only; in the others its parameters and the state of its
    optimiser stay. Empty: each group takes every step. A schedule counts the steps that its group takes.
    """

    names: tuple[str, ...]
    optimizers: tuple[Adam | Adamax | RMSProp | Optax, ...]
    accumulate: int = 1
    every: tuple[int, ...] = ()

    def build(self, setting: Setting = Setting()) -> optax.GradientTransformation:
        """The optax transformation; InputError unless names, optimisers and (at init) parameters match."""
        if len(self.names) != len(self.optimizers) or len(set(self.names)) != len(self.names):
            raise InputError("optimizer.names and optimizer.optimizers need one entry per group")
        if len(self.every or self.names) != len(self.names) or any(n < 1 for n in self.every):
            raise InputError("optimizer.every needs a number of at least 1 for each group")
        every = self.every or (1,) * len(self.names)
        groups: dict[Any, optax.GradientTransformation] = {
            name: _every(period, optimizer, setting)
            for name, optimizer, period in zip(self.names, self.optimizers, every, strict=True)
        }

        def labels(params: dict[str, Any]) -> dict[str, str]:
            if params.keys() != groups.keys():
                raise InputError(
                    f"optimizer.names are {', '.join(self.names)}, the parameters are {', '.join(params)}"
                )
            return {name: name for name in params}

        return optax.partition(groups, labels)


def _every(period: int, optimizer: Optimizer, setting: Setting) -> optax.GradientTransformation:
    """The optimiser at the last of `period` steps, and no update at the others."""
    if period == 1:
        return optimizer.build(setting)
    steps = None if setting.steps is None else setting.steps // period
    inner = optimizer.build(replace(setting, steps=steps))
    last: Any = lambda step: step % period == period - 1  # noqa: E731
    return optax.conditionally_mask(inner, last)


def planned_steps(optimizer: Any, steps: int) -> list[int]:
    """The length of each schedule in steps of training, `steps` if it has none."""
    every = getattr(optimizer, "every", ()) or (1,) * len(_single(optimizer))
    rates = [getattr(single, "learning_rate", None) for single in _single(optimizer)]
    lengths = [getattr(rate, "steps", None) for rate in rates]
    pairs = zip(lengths, every, strict=True)
    return [length * period if length else steps for length, period in pairs]


def following(optimizer: Any, before: int, steps: int) -> Any:
    """The optimiser with each schedule over all steps resized from `before` steps to `steps`."""

    def resized(single: Any) -> Any:
        rate: Any = getattr(single, "learning_rate", None)
        if not hasattr(rate, "resized") or getattr(rate, "steps", None) not in (None, before):
            return single
        return replace(single, learning_rate=rate.resized(before, steps))

    if isinstance(optimizer, OptimizerGroups):
        return replace(optimizer, optimizers=tuple(map(resized, optimizer.optimizers)))
    return resized(optimizer)


def learning_rates(optimizer: Any, steps: int, step: int) -> str:
    """The learning rate of each group at a step of its schedule over `steps`, as text."""
    rates = [getattr(single, "learning_rate", None) for single in _single(optimizer)]
    built = [rate if rate is None else _schedule(rate, steps) for rate in rates]
    values = [rate(step) if callable(rate) else rate for rate in built]
    return " and ".join("its own" if value is None else f"{float(value):.3g}" for value in values)


def _single(optimizer: Any) -> tuple[Any, ...]:
    return getattr(optimizer, "optimizers", (optimizer,))


def _decayed(coefficient: float, decay: Decayed) -> optax.GradientTransformation:
    """Adds `coefficient` w to the update, for all parameters or only for matrices."""
    if decay == "all":
        return optax.add_decayed_weights(coefficient)
    return optax.add_decayed_weights(coefficient, matrices)


def matrices(params: Any) -> Any:
    """Which parameters are weight matrices: those with two or more axes that are not named `bias` or `scale`.

    The names matter because layers stacked for a scan have an additional axis.
    """

    def chosen(path: Any, leaf: Any) -> bool:
        return leaf.ndim >= 2 and str(getattr(path[-1], "key", "")) not in ("bias", "scale")

    return jax.tree_util.tree_map_with_path(chosen, params)


def _optimizers(module: str) -> dict[str, Callable[..., optax.GradientTransformation]]:
    """The functions of optax, or of `optax.contrib`, that make an optimiser from a learning rate."""
    if module not in ("", "contrib"):
        return {}
    functions = vars(importlib.import_module(f"optax.{module}".rstrip("."))).items()
    return {
        name: function
        for name, function in functions
        if inspect.isfunction(function)
        and "learning_rate" in inspect.signature(function).parameters
        and not name.startswith(("_", "scale_by_"))
    }


def _tried(update: optax.GradientTransformation) -> None:
    """Try an update on shapes only; raises if it needs more than gradient and parameters."""

    def step(params: Any) -> Any:
        return update.update(params, update.init(params), params)

    jax.eval_shape(step, {"w": jnp.zeros((2, 2)), "b": jnp.zeros(2)})


def _schedule(rate: Rate, steps: int | None) -> float | Callable[[Any], Any]:
    return rate if isinstance(rate, int | float) else rate.build(steps)
