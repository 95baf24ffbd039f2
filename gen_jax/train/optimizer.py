"""Optimisers and schedules as values: a config can print them and a work directory can store them."""

from dataclasses import dataclass

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
class Adam:
    """Adam (Kingma and Ba 2014, 1412.6980), with decoupled weight decay and a clipped global norm where asked for.

    update = m / (sqrt(v + eps_root) + eps): `eps_root` is for papers that put epsilon inside the root. `accumulate`
    splits a batch into that many parts whose gradients are averaged before the update.
    """

    learning_rate: float | WarmupCosine | Exponential = 1e-3
    b1: float = 0.9
    b2: float = 0.999
    eps: float = 1e-8
    eps_root: float = 0.0
    weight_decay: float = 0.0
    clip_norm: float | None = None
    accumulate: int = 1

    def build(self) -> optax.GradientTransformation:
        """The optax transformation."""
        rate = (
            self.learning_rate
            if isinstance(self.learning_rate, int | float)
            else self.learning_rate.build()
        )
        return optax.chain(
            optax.identity()
            if self.clip_norm is None
            else optax.clip_by_global_norm(self.clip_norm),
            optax.scale_by_adam(self.b1, self.b2, self.eps, self.eps_root),
            optax.add_decayed_weights(self.weight_decay),
            optax.scale_by_learning_rate(rate),
        )
