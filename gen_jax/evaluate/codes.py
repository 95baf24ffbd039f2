"""The codes of examples under a model with codebooks, and how often each code is used."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int

from gen_jax import sharding
from gen_jax.density import root_key
from gen_jax.evaluate.draw import in_batches
from gen_jax.ops import vq
from gen_jax.runs.run import Trained


def codes_of(run: Trained, x: np.ndarray) -> dict[str, np.ndarray]:
    """The codes of each codebook by name, (B, *places, groups) or (B, places)."""
    program = jax.jit(partial(run.experiment.model.apply, method="codes_of"))
    parts: list[dict[str, np.ndarray]] = []
    for rows, _ in in_batches(run, len(x), root_key(0)):
        batch = sharding.put_rows(x[rows].astype(np.int32), run.mesh)
        codes = jax.device_get(program(run.variables, batch))
        parts.append({name: part[: len(x[rows])] for name, part in codes.items()})
    # A compiled function sorts names; a model's codebooks are in the order of generation.
    names = run.experiment.model.codebooks
    return {name: np.concatenate([part[name] for part in parts]) for name in names}


def counts(codes: np.ndarray, num_codes: int) -> Int[np.ndarray, " codes"]:
    """How often each code is used."""
    return np.bincount(codes.ravel(), minlength=num_codes)


def perplexity(counted: Int[np.ndarray, " codes"]) -> float:
    """exp(entropy) of the use of the codes."""
    return float(vq.perplexity(jnp.asarray(counted / counted.sum())))
