"""Models in stages: log p(x) >= sum_k log p(v_k | v_<k), with values v(x) that together determine x.

v is a function of x, so the sum is the log of one term of p(x) = sum_v p(v, x): a lower bound without noise, and
exactly the length of the code. It is log p(x) itself if no other values give the same x. Sampling and the codec go
through the stages in the same order.
"""

from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Integer

from gen_jax.conditions import Cond, joined, label_of
from gen_jax.density import Codec, Kind, Value, fold_in
from gen_jax.typing import Nats, PRNGKey, Scalar, Variables


class Stage(NamedTuple):
    """An exact autoregressive mass, as an unbound module, and its variables.

    `needs`: the earlier stages whose values are its conditions, in the order of its `conditions`. It is given the label
    too if it has classes.
    """

    name: str
    model: Any
    variables: Variables
    needs: tuple[int, ...] = ()

    def cond(self, label: Any, values: Sequence[Any]) -> Any:
        """The condition of this stage, given the label and the values of the stages before."""
        return stage_condition(self.model, self.needs, label, values)


def stage_condition(model: Any, needs: Sequence[int], label: Any, values: Sequence[Any]) -> Any:
    """What a stage is given: the label if it has classes, and the values of the stages that it needs."""
    return joined(label if model.num_classes else None, [values[k] for k in needs])


class Staged(nn.Module):
    """Any number of stages; `num_classes` are those of the stages that have classes."""

    num_classes: ClassVar[int] = 0
    kind: ClassVar[Kind] = "mass"
    value: ClassVar[Value] = "bound"
    codec: ClassVar[Codec] = "direct"

    def stages(self, variables: Variables) -> tuple[Stage, ...]:
        """The stages in order."""
        raise TypeError(f"{type(self).__name__} does not define its stages")

    def parts(self, x: Integer[Array, "B *event"]) -> tuple[Integer[Array, "B ..."], ...]:
        """v(x): the values of each stage."""
        raise TypeError(f"{type(self).__name__} does not define its parts")

    def whole(self, parts: Sequence[Integer[Array, "B ..."]]) -> Integer[Array, "B *event"]:
        """x from the values of all stages: here the last is x."""
        return parts[-1]

    def log_prob_stages(self, x: Integer[Array, "B *event"], cond: Cond = None) -> tuple[Nats, ...]:
        """log p(v_k | v_<k) of each stage, nats."""
        module, variables = self.unbind()
        parts, label, nats = self.parts(x), label_of(cond), []
        for stage, part in zip(module.stages(variables), parts, strict=True):
            given = stage.cond(label, parts)
            nats.append(stage.model.apply(stage.variables, part, None, given, method="log_prob"))
        return tuple(nats)

    def log_prob(
        self, x: Integer[Array, "B *event"], key: PRNGKey | None = None, cond: Cond = None
    ) -> Nats:
        del key  # no noise
        return jnp.sum(jnp.stack(self.log_prob_stages(x, cond)), axis=0)

    def sample(
        self, key: PRNGKey, n: int, cond: Cond = None, temperature: float | Scalar = 1.0
    ) -> Int[Array, "n *event"]:
        module, variables = self.unbind()
        values: list[Any] = []
        for k, stage in enumerate(module.stages(variables)):
            args = (fold_in(key, k), n, stage.cond(label_of(cond), values), temperature)
            values.append(stage.model.apply(stage.variables, *args, method="sample"))
        return self.whole(values)

    def reconstruct(
        self, x: Integer[Array, "B *event"], key: PRNGKey, cond: Cond = None
    ) -> Int[Array, "B *event"]:
        """A draw of the last stage given the values before it."""
        module, variables = self.unbind()
        *earlier, _ = self.parts(x)
        last = module.stages(variables)[-1]
        args = (key, len(x), last.cond(label_of(cond), earlier))
        return self.whole([*earlier, last.model.apply(last.variables, *args, method="sample")])

    def measure(
        self, x: Integer[Array, "B *event"], key: PRNGKey, cond: Cond = None
    ) -> dict[str, Array]:
        """-log p of each stage in nats, by its name."""
        del key  # no noise
        module, variables = self.unbind()
        names = [stage.name for stage in module.stages(variables)]
        nats = self.log_prob_stages(x, cond)
        return {name: -log_p for name, log_p in zip(names, nats, strict=True)}

    def diagnosis(self, measured: dict[str, np.ndarray]) -> tuple[dict[str, float], dict[str, str]]:
        """Means over the split; no findings."""
        return {name: float(nats.mean()) for name, nats in measured.items()}, {}
