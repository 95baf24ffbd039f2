"""Optimisers and schedules as values: a config can print them and a work directory can store them."""

from dataclasses import dataclass
from typing import Any

import optax

from gen_jax.errors import InputError


@dataclass(frozen=True)
class WarmupCosine:
    """Linear from 0 to `peak` in `warmup` steps, then a cosine to `end` at `steps` (Loshchilov 2016, 1608.03983)."""

    peak: float
    warmup: int
    steps: int
    end: float = 0.0

    def build(self) -> optax.Schedule:
        """The optax schedule; InputError unless the warm-up ends before the budget."""
        if not 0 <= self.warmup < self.steps:
            raise InputError(
                f"learning_rate.warmup {self.warmup} must lie below learning_rate.steps {self.steps}"
            )
        return optax.warmup_cosine_decay_schedule(0.0, self.peak, self.warmup, self.steps, self.end)


@dataclass(frozen=True)
class Exponential:
    """start * rate^step."""

    start: float
    rate: float

    def build(self) -> optax.Schedule:
        """The optax schedule."""
        return optax.exponential_decay(self.start, 1, self.rate)


@dataclass(frozen=True)
class Stages:
    """One constant rate after another, each for its number of steps."""

    rates: tuple[float, ...]
    lengths: tuple[int, ...]

    @property
    def steps(self) -> int:
        """The budget that the stages add up to."""
        return sum(self.lengths)

    def build(self) -> optax.Schedule:
        """The optax schedule; InputError unless every rate has its length."""
        if not self.rates or len(self.rates) != len(self.lengths) or min(self.lengths) < 1:
            raise InputError("learning_rate needs as many lengths, of at least 1 step, as rates")
        ends = [sum(self.lengths[: i + 1]) for i in range(len(self.lengths) - 1)]
        return optax.join_schedules([optax.constant_schedule(rate) for rate in self.rates], ends)


@dataclass(frozen=True)
class Adam:
    """Adam (Kingma and Ba 2014, 1412.6980), with decoupled weight decay and a clipped global norm where asked for.

    update = m / (sqrt(v + eps_root) + eps): `eps_root` is for papers that put epsilon inside the root. `accumulate`
    splits a batch into that many parts whose gradients are averaged before the update.
    """

    learning_rate: float | WarmupCosine | Exponential | Stages = 1e-3
    b1: float = 0.9
    b2: float = 0.999
    eps: float = 1e-8
    eps_root: float = 0.0
    weight_decay: float = 0.0
    clip_norm: float | None = None
    accumulate: int = 1

    def build(self) -> optax.GradientTransformation:
        """The optax transformation."""
        return optax.chain(
            optax.identity()
            if self.clip_norm is None
            else optax.clip_by_global_norm(self.clip_norm),
            optax.scale_by_adam(self.b1, self.b2, self.eps, self.eps_root),
            optax.add_decayed_weights(self.weight_decay),
            optax.scale_by_learning_rate(_schedule(self.learning_rate)),
        )


@dataclass(frozen=True)
class RMSProp:
    """update = g / (sqrt(v) + eps), v a running mean of g^2 (Tieleman and Hinton 2012, lecture 6.5 of their course)."""

    learning_rate: float | WarmupCosine | Exponential | Stages = 1e-3
    decay: float = 0.9
    eps: float = 1e-8
    accumulate: int = 1

    def build(self) -> optax.GradientTransformation:
        """The optax transformation."""
        return optax.rmsprop(_schedule(self.learning_rate), self.decay, self.eps, eps_in_sqrt=False)


@dataclass(frozen=True)
class Groups:
    """One optimiser for each top-level name of the parameters, such as a generator's and a discriminator's."""

    names: tuple[str, ...]
    optimizers: tuple[Adam | RMSProp, ...]
    accumulate: int = 1

    def build(self) -> optax.GradientTransformation:
        """The optax transformation; InputError unless every name has its optimiser, and later a parameter its name."""
        if len(self.names) != len(self.optimizers) or len(set(self.names)) != len(self.names):
            raise InputError("optimizer.names and optimizer.optimizers need one entry a group")
        groups: dict[Any, optax.GradientTransformation] = {
            name: one.build() for name, one in zip(self.names, self.optimizers, strict=True)
        }

        def labels(params: dict[str, Any]) -> dict[str, str]:
            if params.keys() != groups.keys():
                raise InputError(
                    f"optimizer.names are {', '.join(self.names)}, the parameters are {', '.join(params)}"
                )
            return {name: name for name in params}

        return optax.partition(groups, labels)


def _schedule(rate: float | WarmupCosine | Exponential | Stages) -> float | optax.Schedule:
    return rate if isinstance(rate, int | float) else rate.build()
