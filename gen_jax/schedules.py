"""Learning rates as functions of the step. Unless a schedule sets its number of steps, that is the experiment's."""

from dataclasses import dataclass, replace
from typing import Any

import jax.numpy as jnp
import optax

from gen_jax.errors import InputError


@dataclass(frozen=True)
class WarmupCosine:
    """Linear from 0 to `peak` in `warmup` steps, then a cosine to `end` at `steps` (Loshchilov 2016, 1608.03983).

    `steps` is by default the experiment's number of steps.
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
                "learning_rate.steps is not set, and there is no experiment to take it from"
            )
        if not 0 <= self.warmup < steps:
            raise InputError(
                f"learning_rate.warmup {self.warmup} must be less than learning_rate.steps {steps}"
            )
        return optax.warmup_cosine_decay_schedule(0.0, self.peak, self.warmup, steps, self.end)

    def resized(self, before: int, steps: int) -> "WarmupCosine":
        """The same schedule over other steps: a shorter one warms up for proportionally fewer steps."""
        warmup = min(_shorter(self.warmup, before, steps), steps - 1)
        return replace(self, warmup=warmup, steps=None if self.steps is None else steps)


@dataclass(frozen=True)
class WarmupConstant:
    """Linear from 0 to `peak` in `warmup` steps, then constant."""

    peak: float
    warmup: int

    def build(self, steps: int | None = None) -> optax.Schedule:
        """The optax schedule, which has no fixed length; InputError for a negative warm-up."""
        del steps
        if self.warmup < 0:
            raise InputError(f"learning_rate.warmup must be at least 0, not {self.warmup}")
        if self.warmup == 0:
            return optax.constant_schedule(self.peak)
        return optax.linear_schedule(0.0, self.peak, self.warmup)

    def resized(self, before: int, steps: int) -> "WarmupConstant":
        """A shorter schedule warms up for proportionally fewer steps."""
        return replace(self, warmup=_shorter(self.warmup, before, steps))


@dataclass(frozen=True)
class InverseSqrt:
    """factor width^(-1/2) min(t^(-1/2), t warmup^(-3/2)) at step t = 1, 2, ...; the peak is at t = `warmup`.

    `width` is the network's (Vaswani et al. 2017, 1706.03762, equation 3, with factor 1).
    """

    factor: float
    width: int
    warmup: int

    def build(self, steps: int | None = None) -> optax.Schedule:
        """The schedule, which has no fixed length; InputError unless width and warm-up are at least 1."""
        del steps
        if min(self.width, self.warmup) < 1:
            raise InputError("learning_rate.width and learning_rate.warmup must be at least 1")

        def rate(count: Any) -> Any:
            t = jnp.asarray(count, jnp.result_type(float)) + 1
            shape = jnp.minimum(t**-0.5, t * self.warmup**-1.5)
            return self.factor * self.width**-0.5 * shape

        return rate

    def resized(self, before: int, steps: int) -> "InverseSqrt":
        """A shorter schedule has the same peak and is compressed in proportion; a longer one continues."""
        warmup = max(1, _shorter(self.warmup, before, steps))
        return replace(self, warmup=warmup, factor=self.factor * (warmup / self.warmup) ** 0.5)


@dataclass(frozen=True)
class ExponentialDecay:
    """Learning rate start * rate^step."""

    start: float
    rate: float

    def build(self, steps: int | None = None) -> optax.Schedule:
        """The optax schedule, which has no fixed length."""
        del steps
        return optax.exponential_decay(self.start, 1, self.rate)


@dataclass(frozen=True)
class PiecewiseConstant:
    """Constant learning rates one after another, each for its number of steps."""

    rates: tuple[float, ...]
    lengths: tuple[int, ...]

    @property
    def steps(self) -> int:
        """The total number of steps."""
        return sum(self.lengths)

    def build(self, steps: int | None = None) -> optax.Schedule:
        """The optax schedule; InputError unless every rate has its length."""
        del steps
        if not self.rates or len(self.rates) != len(self.lengths) or min(self.lengths) < 1:
            raise InputError("learning_rate needs as many lengths, of at least 1 step, as rates")
        ends = [sum(self.lengths[: i + 1]) for i in range(len(self.lengths) - 1)]
        return optax.join_schedules([optax.constant_schedule(rate) for rate in self.rates], ends)

    def resized(self, before: int, steps: int) -> "PiecewiseConstant":
        """The same schedule over other steps, without stages that would have no step."""
        ends = [round(sum(self.lengths[:i]) * steps / before) for i in range(len(self.lengths) + 1)]
        stages = [
            (rate, end - begin)
            for rate, begin, end in zip(self.rates, ends[:-1], ends[1:], strict=True)
            if end > begin
        ]
        rates, lengths = zip(*stages, strict=True)
        return PiecewiseConstant(rates, lengths)


def _shorter(warmup: int, before: int, steps: int) -> int:
    """The warm-up of a resized schedule: proportionally fewer steps if it is shorter."""
    return round(warmup * min(1.0, steps / before))
