"""A model's diagnosis at validation, besides its likelihood: `measure` per example, `diagnosis` over all examples."""

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from gen_jax import sharding
from gen_jax.conditions import conditional
from gen_jax.data.prepared import Split
from gen_jax.density import Functional, fold_in
from gen_jax.diagnosed import Diagnosed
from gen_jax.runs.likelihood import batches
from gen_jax.typing import PRNGKey, Variables


class Diagnosis:
    """Compiled once per batch size; empty for a model without a diagnosis."""

    def __init__(self, model: Functional, mesh: Mesh, batch_size: int, key: PRNGKey):
        self.model, self.mesh, self.batch_size = model, mesh, batch_size
        self.key = fold_in(key, "diagnosis")
        self.measure = jax.jit(
            sharding.over(mesh, self._measure), out_shardings=NamedSharding(mesh, P())
        )

    def _measure(self, variables, batch, index):
        key = fold_in(self.key, index)
        return self.model.model.apply(variables, batch["x"], key, batch["cond"], method="measure")

    def __call__(
        self, variables: Variables, split: Split, limit: int | None = None
    ) -> tuple[dict[str, float], dict[str, str]]:
        """Scalars and findings over all examples, or the first `limit`."""
        model, parts = self.model.model, []
        if not isinstance(model, Diagnosed):
            return {}, {}
        for index, batch, counted in batches(
            split, limit, self.batch_size, self.mesh, conditional(model)
        ):
            measured = jax.device_get(self.measure(variables, batch, index))
            parts.append(jax.tree.map(lambda rows, counted=counted: rows[counted], measured))
        whole = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        return model.diagnosis(whole)
