"""A trained model as a small folder: config.json, metrics.jsonl, result.json and the evaluated weights.

It also has the certificate, if that is of these weights, and the source of classes from outside gen_jax. The weights
are weights.npz (compressed) or weights.safetensors. Arrays are named by their path in the tree of variables, so that
any reader of these formats can use them. Damage is detected by the archive's checksums, or by the SHA-256 in the
metadata of a safetensors file. The folder samples and evaluates like a work directory, but training cannot continue
from it.
"""

import functools
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
from safetensors import safe_open
from safetensors.numpy import save

from gen_jax import disk, fingerprint
from gen_jax.data.npz import Headers, read_npz
from gen_jax.data.opening import open_regular
from gen_jax.errors import InputError, first_line
from gen_jax.runs.workdir import WorkDir

Arrays = dict[str, np.ndarray]
Shapes = dict[str, tuple[int, ...]]
Form = Literal["npz", "safetensors"]
STEP, DIGEST = "step", "sha256"


def export(
    workdir: WorkDir,
    variables: dict[str, Any],
    step: int,
    out: Path,
    certificate: bool = False,
    form: Form = "npz",
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
        write(WorkDir(folder), variables, step, form)
    return WorkDir(out).weights.stat().st_size


def write(workdir: WorkDir, variables: dict[str, Any], step: int, form: Form = "npz") -> None:
    """Write the step and the variables into the folder."""
    arrays: Any = {name: np.asarray(leaf, order="C") for name, leaf in named(variables).items()}
    with disk.new_file(workdir.path / f"weights.{form}") as file:
        if form == "npz":
            np.savez_compressed(file, **{STEP: np.asarray(step), **arrays})
        else:
            file.write(save(arrays, {STEP: str(step), DIGEST: _digest(variables, step)}))


def load(path: Path, like: Any) -> tuple[int, Any]:
    """The step, and variables of the shapes of `like`; InputError if the file is damaged or of another model."""
    expected = {name: leaf.shape for name, leaf in named(like).items()}
    read = _read_safetensors if path.suffix == ".safetensors" else _read_npz
    step, arrays, digest = read(path, expected)
    stored = jax.tree.unflatten(jax.tree.structure(like), [arrays[name] for name in expected])
    if digest is not None and digest != _digest(stored, step):
        raise InputError(f"{path} is damaged: its SHA-256 differs")
    return step, jax.tree.map(lambda array, leaf: array.astype(leaf.dtype), stored, like)


def _read_npz(path: Path, expected: Shapes) -> tuple[int, Arrays, None]:
    def fits(headers: Headers) -> None:
        """InputError, before any array is read, if names, shapes or types are not those of the model."""
        shapes = {name: header.shape for name, header in headers.items()}
        _check(path, shapes, {**expected, STEP: ()}, [h.dtype.kind for h in headers.values()])

    arrays = read_npz(path, check=fits)
    return int(arrays[STEP]), arrays, None


def _read_safetensors(path: Path, expected: Shapes) -> tuple[int, Arrays, str]:
    with open_regular(path):  # no pipe, no device
        pass
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            headers = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118  no mapping
            shapes = {name: tuple(header.get_shape()) for name, header in headers.items()}
            kinds = [header.get_dtype().lower()[0] for header in headers.values()]
            _check(path, shapes, expected, kinds)
            arrays = {name: file.get_tensor(name) for name in expected}
        return int(metadata[STEP]), arrays, metadata[DIGEST]
    except InputError:
        raise
    except Exception as error:  # whatever the reader raises
        raise InputError(f"{path} cannot be read: {first_line(error)}") from error


def _check(path: Path, shapes: Shapes, expected: Shapes, kinds: Iterable[str]) -> None:
    if shapes != expected or any(kind not in "biuf" for kind in kinds):
        raise InputError(
            f"{path} holds the weights of another model than the config.json next to it"
        )


def _digest(variables: Any, step: int) -> str:
    """SHA-256 of the step and of all leaves."""
    return fingerprint.of_variables({STEP: np.int64(step), **variables})


def named(tree: Any) -> dict[str, Any]:
    """The leaves by path, such as params/layers_0/link/kernel, in the tree's order."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    name = functools.partial(jax.tree_util.keystr, simple=True, separator="/")
    return {name(path): leaf for path, leaf in leaves}
