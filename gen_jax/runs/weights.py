"""A trained model as a small folder: config.json, metrics.jsonl, result.json and the evaluated weights as weights.npz.

The certificate goes along where it is of these weights, and the source of classes that are not of gen_jax. Arrays lie
under their paths in the tree of variables, so any reader of .npz can take them; the archive's own checksums find
damage. It samples and evaluates like a work directory and cannot be trained on.
"""

import functools
import os
from pathlib import Path
from typing import Any

import jax
import numpy as np

from gen_jax import disk
from gen_jax.data.npz import Headers, read_npz
from gen_jax.errors import InputError
from gen_jax.runs.workdir import WorkDir

STEP = "step"


def export(
    workdir: WorkDir, variables: dict[str, Any], step: int, out: Path, certificate: bool = False
) -> int:
    """Write the folder, which must not exist, and return the bytes of its weights; `certificate` copies that too."""
    if os.path.lexists(out):
        raise InputError(f"{out} exists; export to a new folder")
    kept = [workdir.config, workdir.metrics, workdir.result]
    if certificate:
        kept.append(workdir.certificate)
    out.parent.mkdir(parents=True, exist_ok=True)
    with disk.new_folder(out) as folder:
        for path in kept:
            if path.exists():
                disk.write_atomically(folder / path.name, disk.read_plain(path))
        WorkDir(folder).write_sources(workdir.source_files())
        write(WorkDir(folder).weights, variables, step)
    return WorkDir(out).weights.stat().st_size


def write(path: Path, variables: dict[str, Any], step: int) -> None:
    """Write the step and the variables as weights.npz."""
    with disk.new_file(path) as file:
        np.savez_compressed(file, **{STEP: np.asarray(step), **_named(variables)})


def load(path: Path, like: Any) -> tuple[int, Any]:
    """Step and variables of the shapes of `like`; InputError where the file is damaged or of another model."""
    expected = {STEP: (), **{name: leaf.shape for name, leaf in _named(like).items()}}

    def fits(headers: Headers) -> None:
        """Before anything is read."""
        found = {name: header.shape for name, header in headers.items()}
        if found != expected or any(h.dtype.kind not in "biuf" for h in headers.values()):
            raise InputError(
                f"{path} holds the weights of another model than config.json beside it"
            )

    arrays = read_npz(path, check=fits)
    leaves = [arrays[name].astype(leaf.dtype) for name, leaf in _named(like).items()]
    return int(arrays[STEP]), jax.tree.unflatten(jax.tree.structure(like), leaves)


def _named(tree: Any) -> dict[str, Any]:
    """Leaves by path, such as params/layers_0/link/kernel, in the tree's order."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    name = functools.partial(jax.tree_util.keystr, simple=True, separator="/")
    return {name(path): leaf for path, leaf in leaves}
