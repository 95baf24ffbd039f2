"""An experiment is a frozen dataclass that holds its model; a config file is Python that returns one.

`--set a.b=value` replaces a field with a type check. The same tree is written to a work directory as JSON, each
dataclass as `module:qualname` with its fields, and rebuilt from there without the file.
"""

import ast
import contextlib
import dataclasses
import importlib
import json
import runpy
import sys
import types
import typing
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from beartype.door import is_bearable

from gen_jax.data.prepared import Data
from gen_jax.errors import InputError, near
from gen_jax.train.optimizer import Adam


@dataclasses.dataclass(frozen=True)
class Evaluate:
    """Validation and checkpoint every so many steps; the batch size is part of the protocol where there is noise.

    `examples` limits the validation while training to the first so many; the final evaluation takes all of a split.
    """

    every: int = 500
    batch_size: int = 128
    examples: int | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Experiment:
    """Everything that decides the numbers of a run. Budgets are steps; `ema` is the decay of the averaged weights."""

    model: Any
    data: Data
    steps: int
    batch_size: int
    optimizer: Any = Adam()  # noqa: RUF009  a frozen value
    seed: int = 0
    ema: float = 0.999
    evaluate: Evaluate = Evaluate()

    def __post_init__(self):
        for field in ("steps", "batch_size"):
            if getattr(self, field) < 1:
                raise InputError(f"{field} must be at least 1, not {getattr(self, field)}")
        if not 0 <= self.seed < 2**32:
            raise InputError(f"seed must lie in [0, 2^32), not {self.seed}")
        if not 0 <= self.ema < 1:
            raise InputError(f"ema must lie in [0, 1), not {self.ema}")
        if self.evaluate.every < 1 or self.evaluate.batch_size < 1:
            raise InputError("evaluate.every and evaluate.batch_size must be at least 1")
        if self.evaluate.examples is not None and self.evaluate.examples < 1:
            raise InputError("evaluate.examples must be at least 1")
        if self.optimizer.accumulate < 1:
            raise InputError("optimizer.accumulate must be at least 1")
        if self.batch_size % self.optimizer.accumulate:
            raise InputError(
                f"batch_size {self.batch_size} does not split into {self.optimizer.accumulate} parts to accumulate"
            )

    @property
    def system(self) -> str:
        """The system's id: the file its model lives in."""
        return type(self.model).__module__.rsplit(".", 1)[-1]


def load_config(path: Path, overrides: Sequence[str] = ()) -> Experiment:
    """Run a config file and apply `--set` overrides; InputError where the file or an override is no good.

    As a program does, a config may import what lies in its own folder.
    """
    if not path.is_file():
        raise InputError(f"config not found: {path}")
    try:
        with _neighbours(path.resolve().parent):
            namespace = runpy.run_path(str(path), run_name=path.stem)
            if not callable(namespace.get("experiment")):
                raise InputError(f"{path} defines no experiment()")
            experiment = namespace["experiment"]()
    except SyntaxError as error:
        raise InputError(f"{error.filename or path} is no Python file: {error}") from error
    if not isinstance(experiment, Experiment):
        raise InputError(f"experiment() of {path} returns no Experiment but {experiment!r}")
    for override in overrides:
        experiment = replace(experiment, override)
    return experiment


@contextlib.contextmanager
def _neighbours(folder: Path) -> Iterator[None]:
    """Modules of the folder can be imported, after all others, and are forgotten again: the next folder has its own."""
    path, modules = sys.path, set(sys.modules)
    if str(folder) in path:
        yield
        return
    sys.path = [*path, str(folder)]
    try:
        yield
    finally:
        sys.path = path
        for name in set(sys.modules) - modules:
            file = getattr(sys.modules[name], "__file__", None)
            if "." not in name and file and Path(file).parent == folder:
                del sys.modules[name]


def replace(experiment: Experiment, override: str) -> Experiment:
    """Apply one `a.b=value`; InputError on an unknown field or a value of another type."""
    path, equals, text = override.partition("=")
    if not equals:
        raise InputError(f"--set needs FIELD=VALUE, not {override!r}")
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        value = text
    return _replace(experiment, path.split("."), value, path)


def _replace(node: Any, names: list[str], value: Any, path: str) -> Any:
    fields = _fields(node) if dataclasses.is_dataclass(node) else {}
    name, *rest = names
    if name not in fields:
        owner = type(node).__name__
        raise InputError(
            f"--set {path}: {owner} has no field {name!r}{near(name, fields)}; it has {', '.join(fields)}"
        )
    old, hint = getattr(node, name), fields[name]
    value = _replace(old, rest, value, path) if rest else _checked(value, hint, path)
    return type(node)(**{**{field: getattr(node, field) for field in fields}, name: value})


def _checked(value: Any, hint: Any, path: str) -> Any:
    if hint is Any:
        raise InputError(f"--set {path}: set one of its fields, not the whole of it")
    if type(value) is int and not _fits(value, hint) and _fits(0.0, hint):
        value = float(value)
    if not _fits(value, hint):
        name = getattr(hint, "__name__", None) or str(hint)
        raise InputError(
            f"--set {path}: {value!r} is a {type(value).__name__}, the field is {name}"
        )
    return value


def _fits(value: Any, hint: Any) -> bool:
    """`is_bearable` looks at one random item of a tuple and takes a bool for an int; here neither passes."""
    inner = typing.get_args(hint)
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return any(_fits(value, one) for one in inner)
    if isinstance(value, tuple) and inner[1:] == (...,):
        return all(_fits(item, inner[0]) for item in value)
    return is_bearable(value, hint) and (hint is bool or not isinstance(value, bool))


def _fields(node: Any) -> dict[str, Any]:
    hints = typing.get_type_hints(type(node))
    names = [field.name for field in dataclasses.fields(node) if field.init]
    if "parent" in names:  # a Linen module: what follows is the library's own
        names = [name for name in names if name not in ("parent", "name")]
    return {name: hints[name] for name in names}


def to_tree(value: Any) -> Any:
    """A JSON tree that `from_tree` turns into an equal value."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        cls = type(value)
        fields = {name: to_tree(getattr(value, name)) for name in _fields(value)}
        return {"type": f"{cls.__module__}:{cls.__qualname__}", "fields": fields}
    if isinstance(value, tuple | list):
        return [to_tree(item) for item in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise InputError(
        f"a config may hold numbers, strings, tuples and dataclasses, not {type(value).__name__}"
    )


def from_tree(tree: Any) -> Any:
    """The value that `to_tree` wrote; InputError where a class cannot be found."""
    if isinstance(tree, list):
        return tuple(from_tree(item) for item in tree)
    if not isinstance(tree, dict):
        return tree
    module, _, qualname = tree["type"].partition(":")
    try:
        cls = importlib.import_module(module)
        for name in qualname.split("."):
            cls = getattr(cls, name)
    except (ImportError, AttributeError) as error:
        raise InputError(
            f"{tree['type']} is not importable: put the class into an installed module"
        ) from error
    if not dataclasses.is_dataclass(cls):
        raise InputError(f"{tree['type']} is no dataclass")
    fields = {name: from_tree(value) for name, value in tree["fields"].items()}
    try:
        return typing.cast(Any, cls)(**fields)
    except TypeError as error:
        raise InputError(f"{tree['type']} was written by another version: {error}") from error


def differences(one: Any, other: Any, path: str = "") -> list[str]:
    """Lines 'path: a -> b' where two trees differ."""
    if isinstance(one, dict) and isinstance(other, dict):
        inner = (one.get("fields", one), other.get("fields", other))
        if one.get("type") == other.get("type"):
            names = sorted(inner[0].keys() | inner[1].keys())
            nested = (
                differences(inner[0].get(n), inner[1].get(n), f"{path}.{n}".lstrip("."))
                for n in names
            )
            return [line for lines in nested for line in lines]
        return [f"{path}: {one.get('type')} -> {other.get('type')}"]
    return [] if one == other else [f"{path}: {json.dumps(one)} -> {json.dumps(other)}"]
