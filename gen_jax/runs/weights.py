"""A trained model as a small folder: config.json, metrics.jsonl, result.json and the evaluated weights as weights.npz.

It also has the certificate, if that is of these weights, and the source of classes from outside gen_jax. Arrays are
named by their path in the tree of variables, so that any reader of .npz can use them; the archive's checksums detect
damage. The folder samples and evaluates like a work directory, but training cannot continue from it.
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
    """Write a new folder and return the size of its weights in bytes; `certificate`: copy the certificate too."""
    if os.path.lexists(out):
        raise InputError(f"{out} exists; export to a new folder")
    copied = [workdir.config, workdir.metrics, workdir.result]
    if certificate:
        copied.append(workdir.certificate)
    out.parent.mkdir(parents=True, exist_ok=True)
    with disk.new_folder(out) as folder:
        for path in copied:
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
    """The step, and variables of the shapes of `like`; InputError if the file is damaged or of another model."""
    expected = {STEP: (), **{name: leaf.shape for name, leaf in _named(like).items()}}

    def fits(headers: Headers) -> None:
        """InputError, before any array is read, if names, shapes or types are not those of the model."""
        shapes = {name: header.shape for name, header in headers.items()}
        if shapes != expected or any(h.dtype.kind not in "biuf" for h in headers.values()):
            raise InputError(
                f"{path} holds the weights of another model than the config.json next to it"
            )

    arrays = read_npz(path, check=fits)
    leaves = [arrays[name].astype(leaf.dtype) for name, leaf in _named(like).items()]
    return int(arrays[STEP]), jax.tree.unflatten(jax.tree.structure(like), leaves)


def _named(tree: Any) -> dict[str, Any]:
    """The leaves by path, such as params/layers_0/link/kernel, in the tree's order."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    name = functools.partial(jax.tree_util.keystr, simple=True, separator="/")
    return {name(path): leaf for path, leaf in leaves}
