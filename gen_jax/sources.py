"""Source text of classes from outside gen_jax and installed packages, which is stored with a run.

Such a class is defined in the config, or in a file that a config or script imports from its folder. Loading the run
needs neither the file nor a path to it: the module is made from the stored text, if the user trusts it. The names of
such modules are removed afterwards, so that two runs may have different modules with the same name.
"""

import ast
import contextlib
import functools
import hashlib
import importlib
import importlib.abc
import importlib.util
import sys
import sysconfig
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path, PurePosixPath
from types import ModuleType
from typing import Any

from gen_jax.errors import InputError

Files = Mapping[str, str]  # text by relative path
NONE: Files = {}

# Classes with known source, by name and digest of the source; and their files and the names of their module.
_CLASSES: dict[tuple[str, str], type] = {}
_FILES: dict[type, tuple[Files, dict[str, Any]]] = {}


def digest(text: str) -> str:
    """SHA-256 of the text of a file."""
    return hashlib.sha256(text.encode()).hexdigest()


def of(classes: Collection[type]) -> dict[str, str]:
    """All files that these classes need, except gen_jax and installed packages.

    InputError for a class that could not be imported again, or if two files have the same name.
    """
    every: dict[str, str] = {}
    for cls in classes:
        if cls.__module__ == "__main__":
            raise InputError(
                f"{cls.__qualname__} is defined in a notebook or script, from which no other command can import it: put"
                " it into a separate file and import it"
            )
        if "<locals>" in cls.__qualname__:
            raise InputError(
                f"{cls.__qualname__} is defined inside a function, from which it cannot be imported: put it at the top"
                " level of a file"
            )
        for name, text in _files(cls).items():
            if every.setdefault(name, text) != text:
                raise InputError(f"the config needs two different files named {name}")
    return every


def namespace(cls: type) -> dict[str, Any] | None:
    """The names of the module of a class with known source, which `sys.modules` no longer has; None for others."""
    return _FILES[cls][1] if cls in _FILES else None


def find(name: str, files: Files, run: bool) -> type | None:
    """The class `module:qualname` of the files; None if they have no such module.

    If this process already has the class from the same source, that one is returned. Otherwise `run` allows running the
    source. InputError if that is not allowed, or if the source has no such class.
    """
    module, _, qualname = name.partition(":")
    needed = _closure(module.partition(".")[0], _within(files))
    if not needed:
        return None
    key = (name, _digest(needed))
    if key not in _CLASSES:
        path = _Importer(needed).path(module)
        if path is None or not defines(needed[path], qualname):
            raise InputError(f"{name:.200} is not in the source stored with it")
        if not run:
            raise InputError(f"the source stored with {name} is not that of the present {qualname}")
        _make(module, needed)
    if key not in _CLASSES:
        raise InputError(f"{name:.200} is not in the source stored with it")
    return _CLASSES[key]


def defines(text: str, qualname: str) -> bool:
    """Whether the source text defines a class of that name, without running it."""
    try:
        nodes = [*ast.walk(ast.parse(text))]
    except (SyntaxError, ValueError, RecursionError):
        return False
    last = qualname.rpartition(".")[2]
    return any(isinstance(node, ast.ClassDef) and node.name == last for node in nodes)


@contextlib.contextmanager
def neighbours(config: Path) -> Iterator[None]:
    """Allow imports from the folder of a config, after all other places.

    The names of these modules are removed again, since the next folder has others. Their classes stay known with their
    source.
    """
    folder, path, modules = config.parent, sys.path, set(sys.modules)
    if str(folder) in path:
        yield
        return
    sys.path = [*path, str(folder)]
    try:
        yield
    finally:
        sys.path, lookup = path, _in(folder)
        for name in set(sys.modules) - modules:
            file = getattr(sys.modules[name], "__file__", None)
            if file and folder in Path(file).parents and _top(file, name) == folder:
                _know(vars(sys.modules.pop(name)), name, lookup)


def know_config(config: Path, names: dict[str, Any]) -> None:
    """Remember the classes that the config itself defines, with its text as their source."""
    _know(names, config.stem, _in(config.parent))


def check(files: Any) -> Files:
    """The source files of a record; InputError if they are not Python files by name."""
    if not isinstance(files, dict) or not all(
        isinstance(text, str) and plain(name) for name, text in files.items()
    ):
        raise InputError("its sources are not Python files by name")
    return files


def plain(name: Any) -> bool:
    """Whether a relative name is that of a Python file inside the folder."""
    if not isinstance(name, str) or not name.endswith(".py") or "\\" in name or ":" in name:
        return False
    path = PurePosixPath(name)
    return (
        not path.is_absolute() and ".." not in path.parts and str(path) == name and "\0" not in name
    )


def _files(cls: type) -> Files:
    """The files that a class needs; none if it belongs to an installed package or to a package with several files."""
    if cls in _FILES:
        return _FILES[cls][0]
    module = sys.modules.get(cls.__module__)
    file = getattr(module, "__file__", None)
    single = "." not in cls.__module__ and not hasattr(module, "__path__")
    if module is None or file is None or not single or _installed(Path(file)):
        return NONE
    _know(vars(module), cls.__module__, _in(Path(file).parent))
    return _FILES[cls][0] if cls in _FILES else NONE


def _installed(file: Path) -> bool:
    places = ("stdlib", "platstdlib", "purelib", "platlib")
    roots = {Path(sysconfig.get_path(place)).resolve() for place in places}
    return not file.name.endswith(".py") or bool(roots & {*file.resolve().parents})


def _know(namespace: Mapping[str, Any], module: str, lookup: "_Lookup") -> None:
    """Remember all classes of a module with the files that it needs."""
    classes = [*_classes(namespace, module)]
    if not classes:
        return
    files = _closure(module.partition(".")[0], lookup)
    for cls in classes:
        _FILES[cls] = (files, dict(namespace))
        _CLASSES[f"{module}:{cls.__qualname__}", _digest(files)] = cls


def _classes(namespace: Mapping[str, Any], module: str) -> Iterator[type]:
    for value in [*namespace.values()]:
        if isinstance(value, type) and value.__module__ == module and value not in _FILES:
            yield value
            yield from _classes(vars(value), module)


def _make(module: str, files: Files) -> None:
    """Run a module of the files and remember its classes; InputError for whatever it raises."""
    importer = _Importer(files)
    tops = {name.partition("/")[0].removesuffix(".py") for name in files}
    hidden = {
        name: sys.modules.pop(name) for name in [*sys.modules] if name.partition(".")[0] in tops
    }
    sys.meta_path.insert(0, importer)
    try:
        importlib.import_module(module)
    except (Exception, SystemExit) as error:
        raise InputError(f"the source of {module} cannot be run: {error!r:.200}") from error
    finally:
        sys.meta_path.remove(importer)
        modules = {
            name: sys.modules.pop(name) for name in [*sys.modules] if name.partition(".")[0] in tops
        }
        sys.modules.update(hidden)
    for name, made in modules.items():
        _know(vars(made), name, _within(files))


class _Importer(importlib.abc.MetaPathFinder, importlib.abc.InspectLoader):
    """Imports modules from source text."""

    def __init__(self, files: Files):
        self._files = files

    def path(self, module: str) -> str | None:
        """The file of a module, or None."""
        name = module.replace(".", "/")
        return next((p for p in (f"{name}.py", f"{name}/__init__.py") if p in self._files), None)

    def find_spec(self, fullname: str, path: Any = None, target: ModuleType | None = None) -> Any:
        file = self.path(fullname)
        if file is None:
            return None
        package = file.endswith("/__init__.py")
        return importlib.util.spec_from_loader(fullname, self, origin=file, is_package=package)

    def get_source(self, fullname: str) -> str | None:
        file = self.path(fullname)
        return None if file is None else self._files[file]

    def is_package(self, fullname: str) -> bool:
        return (self.path(fullname) or "").endswith("/__init__.py")


# A function from the name of a top-level module or package to its files, {} if there is none.
_Lookup = Any


def _in(folder: Path) -> _Lookup:
    @functools.cache
    def lookup(top: str) -> Files:
        file, package = folder / f"{top}.py", folder / top
        if file.is_file():
            return {file.name: _text(file)}
        if not (package / "__init__.py").is_file():
            return NONE
        paths = sorted(package.rglob("*.py"))
        return {path.relative_to(folder).as_posix(): _text(path) for path in paths}

    return lookup


def _text(path: Path) -> str:
    """The text of a source file, decoded like Python does."""
    return importlib.util.decode_source(path.read_bytes())


def _within(files: Files) -> _Lookup:
    def lookup(top: str) -> Files:
        return {
            name: text
            for name, text in files.items()
            if name == f"{top}.py" or name.startswith(f"{top}/")
        }

    return lookup


def _closure(top: str, lookup: _Lookup) -> dict[str, str]:
    """The files of a top-level module, and of everything that they import from the same folder."""
    every: dict[str, str] = {}
    left, seen = [top], {top}
    while left:
        files = lookup(left.pop())
        every |= files
        new = {name for text in files.values() for name in _imports(text)} - seen
        seen |= new
        left += sorted(new)
    return dict(sorted(every.items()))


@functools.lru_cache(256)
def _imports(text: str) -> frozenset[str]:
    """The top-level names that a source text imports, anywhere in it."""
    names = set()
    try:
        nodes = [*ast.walk(ast.parse(text))]
    except (SyntaxError, ValueError, RecursionError):
        return frozenset()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            names.add(node.module.partition(".")[0])
    return frozenset(names)


def _digest(files: Files) -> str:
    return hashlib.sha256(repr(sorted(files.items())).encode()).hexdigest()


def _top(file: str, module: str) -> Path:
    """The folder from which a module is imported."""
    path = Path(file)
    up = module.count(".") + (path.name == "__init__.py")
    return path.parents[up]
