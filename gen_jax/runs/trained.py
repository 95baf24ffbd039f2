"""Trained models that come with the package, by name: exported folders in `gen_jax/trained/`."""

from pathlib import Path

from gen_jax.errors import InputError, near
from gen_jax.included import PACKAGE

TRAINED = PACKAGE / "trained"


def names() -> list[str]:
    """The names of the trained models."""
    return sorted(path.parent.name for path in TRAINED.glob("*/config.json"))


def folder(path: str | Path) -> Path:
    """A folder as it is, or that of the trained model with this name, which a folder of the same name hides.

    InputError for a name that is only similar to one.
    """
    path = Path(path)
    if path.exists() or path.is_symlink() or len(path.parts) != 1:
        return path
    if str(path) in names():
        return TRAINED / path
    if similar := near(str(path), names()):
        raise InputError(f"{path} is neither a work directory nor a trained model{similar}")
    return path
