"""A config as a JSON tree: each dataclass by name (`classes.py`) with its fields; and the checks of its values.

A work directory stores the whole tree and rebuilds the config from it without the config file. Certificates and
compressed files are bound to a tree of only those fields that differ from their defaults, the identity.
"""

import dataclasses
import functools
import json
import sys
import types
import typing
from collections.abc import Callable, Collection
from typing import Any

from beartype.door import is_bearable

from gen_jax import classes, sources
from gen_jax.classes import Trust
from gen_jax.errors import InputError
from gen_jax.former import BY_NAME, Former
from gen_jax.sources import NONE, Files


def to_tree(value: Any) -> Any:
    """A JSON tree that `from_tree` turns into an equal value: each class by name, with every field."""
    return _tree(value, classes.name_of, hints_of)


def identity(value: Any) -> Any:
    """The tree of a value with only those fields that differ from their defaults.

    So moving a class or adding a field with a default does not change it. Part of a model, such as a member of an
    ensemble, has an identity too, although a config cannot name its class.
    """
    return _tree(value, functools.partial(classes.name_of, public=False), lambda cls: ())


def former(value: Any) -> Any:
    """The identity to which compressed files of version 1 are bound: path and fields as in old records."""

    def former_of(cls: type) -> Former | None:
        return BY_NAME.get(classes.name_of(cls).removeprefix(f"{classes.PACKAGE}:"))

    def path(cls: type) -> str:
        row = former_of(cls)
        return row.path if row else classes.name_of(cls)

    def fields(cls: type) -> Collection[str]:
        row = former_of(cls)
        return row.fields if row else hints_of(cls)

    return _tree(value, path, fields)


def _tree(
    value: Any, name: Callable[[type], str], always: Callable[[type], Collection[str]]
) -> Any:
    """A tree with classes by `name`; a field with its default value is omitted unless it is in `always`."""

    def default(field: dataclasses.Field) -> Any:
        if field.default_factory is not dataclasses.MISSING:
            return _tree(field.default_factory(), name, always)
        missing = field.default is dataclasses.MISSING
        return dataclasses.MISSING if missing else _tree(field.default, name, always)

    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        cls, fields = type(value), {}
        hints, wanted = hints_of(cls), always(cls)
        for field in dataclasses.fields(cls):
            if field.name not in hints:
                continue
            tree = _tree(as_float(getattr(value, field.name), hints[field.name]), name, always)
            if field.name in wanted or tree != default(field):
                fields[field.name] = tree
        return {"type": name(cls), "fields": fields}
    if isinstance(value, tuple | list):
        return [_tree(item, name, always) for item in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise InputError(
        f"a config may contain numbers, strings, tuples and dataclasses, not {type(value).__name__}"
    )


def foreign(value: Any) -> set[type]:
    """The classes in a config that are from outside gen_jax."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        cls = type(value)
        inner = (foreign(getattr(value, name)) for name in hints_of(cls))
        return set().union({cls} if classes.is_foreign(cls.__module__) else (), *inner)
    return set().union(*map(foreign, value)) if isinstance(value, tuple | list) else set()


def from_tree(tree: Any, hint: Any = Any, trust: Trust = False, files: Files = NONE) -> Any:
    """The value that `to_tree` wrote; InputError if a class cannot be found or does not match the hint."""
    if isinstance(tree, list):
        return tuple(from_tree(item, hint, trust, files) for item in tree)
    if not isinstance(tree, dict):
        return tree
    cls = class_of(tree, trust, files)
    if hint is not Any and not issubclass(cls, tuple(_classes(hint))):
        raise InputError(f"{tree['type']} is in the place of {named(hint)}")
    hints = hints_of(cls)
    unknown = tree["fields"].keys() - hints.keys()
    if unknown:
        raise InputError(f"{tree['type']} has no field {', '.join(sorted(unknown))}")
    fields = {}
    for name, node in tree["fields"].items():
        value = from_tree(node, hints[name], trust, files)
        value = fields[name] = as_float(value, hints[name])
        if hints[name] is not Any and not fits(value, hints[name]):
            raise InputError(
                f"{tree['type']}: {name} is {value!r:.80}, the field is {named(hints[name])}"
            )
    try:
        return typing.cast(Any, cls)(**fields)
    except TypeError as error:
        raise InputError(f"{tree['type']} was written by another version: {error}") from error


def class_of(node: dict[str, Any], trust: Trust, files: Files) -> type:
    """The dataclass that a node of a tree names."""
    name = node.get("type")
    if not isinstance(name, str) or not isinstance(node.get("fields"), dict):
        raise InputError(f"the stored config lacks class and fields in {json.dumps(node):.80}")
    return classes.find(name, trust, files)


def _classes(hint: Any) -> list[type]:
    """All classes in a type hint."""
    if isinstance(hint, type):
        return [hint]
    return [cls for inner in typing.get_args(hint) for cls in _classes(inner)]


def differences(a: Any, b: Any, path: str = "") -> list[str]:
    """A line 'path: a -> b' for each difference of two trees."""
    if isinstance(a, dict) and isinstance(b, dict):
        inner = (a.get("fields", a), b.get("fields", b))
        if a.get("type") == b.get("type"):
            names = sorted(inner[0].keys() | inner[1].keys())
            nested = (
                differences(inner[0].get(n), inner[1].get(n), f"{path}.{n}".lstrip("."))
                for n in names
            )
            return [line for lines in nested for line in lines]
        return [f"{path}: {a.get('type')} -> {b.get('type')}"]
    return [] if a == b else [f"{path}: {json.dumps(a)} -> {json.dumps(b)}"]


def hints_of(cls: Any) -> dict[str, Any]:
    """The fields of a config class with their types."""
    hints = typing.get_type_hints(cls, localns=sources.namespace(cls))
    names = [field.name for field in dataclasses.fields(cls) if field.init]
    if "parent" in names:  # a Linen module: these two fields are the library's
        names = [name for name in names if name not in ("parent", "name")]
    return {name: hints[name] for name in names}


def fits(value: Any, hint: Any) -> bool:
    """Like `is_bearable`, but it checks every item of a tuple, and a bool is not an int."""
    inner = typing.get_args(hint)
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return any(fits(value, option) for option in inner)
    if isinstance(value, tuple) and inner[1:] == (...,):
        return all(fits(item, inner[0]) for item in value)
    return is_bearable(value, hint) and (hint is bool or not isinstance(value, bool))


def as_float(value: Any, hint: Any) -> Any:
    """A whole number as an exact float if the field is a float; any other value unchanged."""
    whole = type(value) is int and value.bit_length() <= sys.float_info.mant_dig
    return float(value) if whole and not fits(value, hint) and fits(0.0, hint) else value


def named(hint: Any) -> str:
    """A type hint as a user reads it."""
    return getattr(hint, "__name__", None) or str(hint)
