"""SHA-256 of weights and configs, to which certificates and compressed files are bound."""

import hashlib
import json
from typing import Any

import jax
import numpy as np

from gen_jax import sharding
from gen_jax.typing import Variables


def of_variables(variables: Variables) -> str:
    """SHA-256 of the paths, types, shapes and bytes of all leaves."""
    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(dict(variables)):
        array = np.ascontiguousarray(_whole(leaf))
        digest.update(f"{jax.tree_util.keystr(path)} {array.dtype} {array.shape}\n".encode())
        digest.update(array.data)
    return digest.hexdigest()


def _whole(leaf: Any) -> np.ndarray:
    return sharding.whole(leaf) if isinstance(leaf, jax.Array) else np.asarray(leaf)


def of_tree(tree: dict[str, Any]) -> str:
    """SHA-256 of a JSON tree, such as a config."""
    return hashlib.sha256(json.dumps(tree, sort_keys=True).encode()).hexdigest()
