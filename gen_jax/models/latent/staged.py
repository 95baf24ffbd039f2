"""Models in stages: log p(x) >= log p(v_1) + log p(v_2 | v_1) + ... with values v(x), the last of which is x itself.

v is a function of x, so the sum is the log of one term of p(x) = sum_v p(v, x): a lower bound without noise, and
exactly the length of the code. Sampling and the codec go through the stages in the same order.
"""

from typing import Any, ClassVar, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Int, Integer

from gen_jax.density import Codec, Kind, Value, fold_in
from gen_jax.typing import Nats, PRNGKey, Scalar, Variables


class Stage(NamedTuple):
    """An exact autoregressive mass, as an unbound module, and its variables."""

    model: Any
    variables: Variables


class Staged(nn.Module):
    """The first stage is conditioned on the class, if any; each later stage on the values of the stage before."""

    num_classes: ClassVar[int] = 0
    kind: ClassVar[Kind] = "mass"
    value: ClassVar[Value] = "bound"
    codec: ClassVar[Codec] = "direct"

    def stages(self, variables: Variables) -> tuple[Stage, ...]:
        """The stages in order."""
        raise TypeError(f"{type(self).__name__} does not define its stages")

    def parts(self, x: Integer[Array, "B *event"]) -> tuple[Integer[Array, "B *of"], ...]:
        """v(x): the values of each stage; the last is x."""
        raise TypeError(f"{type(self).__name__} does not define its parts")

    def log_prob_stages(
        self, x: Integer[Array, "B *event"], cond: Array | None = None
    ) -> tuple[Nats, ...]:
        """log p(v_k | v_{k-1}) of each stage, nats."""
        module, variables = self.unbind()
        nats = []
        for stage, part in zip(module.stages(variables), self.parts(x), strict=True):
            nats.append(stage.model.apply(stage.variables, part, None, cond, method="log_prob"))
            cond = part
        return tuple(nats)

    def log_prob(
        self, x: Integer[Array, "B *event"], key: PRNGKey | None = None, cond: Array | None = None
    ) -> Nats:
        del key  # no noise
        return jnp.sum(jnp.stack(self.log_prob_stages(x, cond)), axis=0)

    def sample(
        self, key: PRNGKey, n: int, cond: Array | None = None, temperature: float | Scalar = 1.0
    ) -> Int[Array, "n *event"]:
        module, variables = self.unbind()
        values: Any = cond
        for k, stage in enumerate(module.stages(variables)):
            args = (fold_in(key, k), n, values, temperature)
            values = stage.model.apply(stage.variables, *args, method="sample")
        return values

    def reconstruct(self, x: Integer[Array, "B *event"], key: PRNGKey) -> Int[Array, "B *event"]:
        """A draw from the last stage given the values before it."""
        module, variables = self.unbind()
        last, before = module.stages(variables)[-1], self.parts(x)[-2]
        return last.model.apply(last.variables, key, len(x), before, method="sample")
