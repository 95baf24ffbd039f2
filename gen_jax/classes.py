"""Names of classes in records: `gen_jax:NAME` for a class in `registry.py`, otherwise `module:qualname`.

A config from elsewhere is data, but importing a module runs code. So a class from outside gen_jax is imported only if
it is trusted, and only if the module's source, read but not run, defines such a class.
"""

import dataclasses
import importlib
import sys
from collections.abc import Collection, Iterator
from typing import Any

from gen_jax import sources
from gen_jax.errors import InputError, near
from gen_jax.former import BY_PATH
from gen_jax.registry import MODULES
from gen_jax.sources import NONE, Files

Trust = bool | Collection[str]  # all classes, or those with these names; classes of gen_jax always
PACKAGE = "gen_jax"


def name_of(cls: type, public: bool = True) -> str:
    """The name of a class in records; InputError for a class of gen_jax without public name, if `public`."""
    module, qualname = cls.__module__, cls.__qualname__
    if MODULES.get(qualname) == module or not (public or is_foreign(module)):
        return f"{PACKAGE}:{qualname}"
    if is_foreign(module):
        return f"{module}:{qualname}"
    raise InputError(f"a config cannot hold {module}:{qualname}: it is not in gen_jax/registry.py")


def current(name: str) -> str:
    """The current name of a class, given its name in any record, old or new."""
    return f"{PACKAGE}:{BY_PATH[name].name}" if name in BY_PATH else name


def find(name: str, trust: Trust = False, files: Files = NONE) -> type:
    """The dataclass with this name; InputError if it is not trusted, cannot be imported or is not a dataclass.

    A class from outside gen_jax is made from its source in `files`, or imported if it is installed. If only names are
    trusted, no source is run: the class must already be in this process, from the same source.
    """
    name = current(name)
    module, _, qualname = name.partition(":")
    if not is_foreign(name):
        if module != PACKAGE or qualname not in MODULES:
            raise InputError(
                f"{name:.200} is not a class of gen_jax that a config can name{near(qualname, MODULES)}"
            )
        return getattr(importlib.import_module(MODULES[qualname]), qualname)
    if not (trust if isinstance(trust, bool) else name in trust):
        raise InputError(
            f"{name:.200} is not a class of gen_jax, and importing it would run its code; --trust allows that, if you"
            " trust its author"
        )
    cls: Any = sources.find(name, files, run=trust is True)
    if cls is None:
        cls = _imported(name)
    if not isinstance(cls, type) or not dataclasses.is_dataclass(cls):
        raise InputError(f"{name} is not a dataclass")
    return cls


def _imported(name: str) -> Any:
    """A class of an installed module, which is imported."""
    module, _, qualname = name.partition(":")
    if not _defined(module, qualname):
        raise _not_importable(name)
    try:
        cls: Any = importlib.import_module(module)
        for part in qualname.split("."):
            cls = getattr(cls, part)
    except (Exception, SystemExit) as error:  # whatever the module raises
        raise _not_importable(name) from error
    return cls


def is_foreign(name: str) -> bool:
    """Whether the class or module belongs to another package than gen_jax."""
    module = name.partition(":")[0]
    return module != PACKAGE and not module.startswith(f"{PACKAGE}.")


def names(tree: Any) -> Iterator[str]:
    """The names of all classes in a stored config."""
    if isinstance(tree, dict):
        if isinstance(tree.get("type"), str):
            yield tree["type"]
        fields = tree.get("fields")
        tree = list(fields.values()) if isinstance(fields, dict) else []
    for item in tree if isinstance(tree, list) else ():
        yield from names(item)


def foreign(tree: Any) -> list[str]:
    """The names of classes from outside gen_jax in a stored config."""
    return sorted({name for name in names(tree) if is_foreign(name)})


def _not_importable(name: str) -> InputError:
    return InputError(f"{name:.200} is not importable: put the class into an installed module")


def _defined(module: str, qualname: str) -> bool:
    """Whether the module's source has such a class; True also if the module is loaded or has no readable source."""
    if module in sys.modules:
        return True
    try:
        source = _spec(module).loader.get_source(module)
    except (AttributeError, ImportError, ValueError, SyntaxError):
        return False
    return source is None or sources.defines(source, qualname)


def _spec(module: str) -> Any:
    """The spec of a module, found without importing its packages; None if there is no such module."""
    spec, path, parts = None, None, module.split(".")
    for count in range(1, len(parts) + 1):
        name = ".".join(parts[:count])
        specs = (finder.find_spec(name, path) for finder in sys.meta_path)
        spec = next((spec for spec in specs if spec is not None), None)
        if spec is None:
            return None
        path = spec.submodule_search_locations
        if path is None and count < len(parts):
            return None
    return spec
