"""Names of classes in records: `gen_jax:NAME` of a class in `registry.py`, else `module:qualname`.

A config from elsewhere is data, and importing a module runs it. So a class that is no part of gen_jax is imported only
where it is trusted, and then only where the module's source, read but not run, defines such a class.
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

Trust = bool | Collection[str]  # all classes, or those of these names; classes of gen_jax always
OWN = "gen_jax"


def name_of(cls: type, public: bool = True) -> str:
    """The name of a class in records; InputError at a class of gen_jax that has no public name but is to have one."""
    module, qualname = cls.__module__, cls.__qualname__
    if MODULES.get(qualname) == module or not (public or is_foreign(module)):
        return f"{OWN}:{qualname}"
    if is_foreign(module):
        return f"{module}:{qualname}"
    raise InputError(f"a config cannot hold {module}:{qualname}: it is not in gen_jax/registry.py")


def current(name: str) -> str:
    """The name that records have now, of a name in any record."""
    return f"{OWN}:{BY_PATH[name].name}" if name in BY_PATH else name


def find(name: str, trust: Trust = False, files: Files = NONE) -> type:
    """The dataclass of that name; InputError where it is not trusted, cannot be imported or is no dataclass.

    A class that is not of gen_jax is made from its source in `files`, else imported from where it is installed. Where
    names alone are trusted no source is run: the class has to be in this process already, of the same source.
    """
    name = current(name)
    module, _, qualname = name.partition(":")
    if not is_foreign(name):
        if module != OWN or qualname not in MODULES:
            raise InputError(
                f"{name:.200} is no class of gen_jax that a config can hold{near(qualname, MODULES)}"
            )
        return getattr(importlib.import_module(MODULES[qualname]), qualname)
    if not (trust if isinstance(trust, bool) else name in trust):
        raise InputError(
            f"{name:.200} is no class of gen_jax, and importing it would run its code; --trust allows it, where you"
            " trust what you were given"
        )
    cls: Any = sources.find(name, files, run=trust is True)
    if cls is None:
        cls = _imported(name)
    if not isinstance(cls, type) or not dataclasses.is_dataclass(cls):
        raise InputError(f"{name} is no dataclass")
    return cls


def _imported(name: str) -> Any:
    """The class of an installed module, which is run for it."""
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
    """Whether the class, or module, belongs to another package than gen_jax."""
    module = name.partition(":")[0]
    return module != OWN and not module.startswith(f"{OWN}.")


def names(tree: Any) -> Iterator[str]:
    """All classes that a stored config names."""
    if isinstance(tree, dict):
        if isinstance(tree.get("type"), str):
            yield tree["type"]
        fields = tree.get("fields")
        tree = list(fields.values()) if isinstance(fields, dict) else []
    for item in tree if isinstance(tree, list) else ():
        yield from names(item)


def foreign(tree: Any) -> list[str]:
    """Those that are not of gen_jax."""
    return sorted({name for name in names(tree) if is_foreign(name)})


def _not_importable(name: str) -> InputError:
    return InputError(f"{name:.200} is not importable: put the class into an installed module")


def _defined(module: str, qualname: str) -> bool:
    """Whether the module's source has such a class; also where it runs already, or is no source that can be read."""
    if module in sys.modules:
        return True
    try:
        source = _spec(module).loader.get_source(module)
    except (AttributeError, ImportError, ValueError, SyntaxError):
        return False
    return source is None or sources.defines(source, qualname)


def _spec(module: str) -> Any:
    """Where a module lies, without importing the packages that it is in; None where nothing is found."""
    found, path, parts = None, None, module.split(".")
    for count in range(1, len(parts) + 1):
        name = ".".join(parts[:count])
        specs = (finder.find_spec(name, path) for finder in sys.meta_path)
        found = next((spec for spec in specs if spec is not None), None)
        if found is None:
            return None
        path = found.submodule_search_locations
        if path is None and count < len(parts):
            return None
    return found
