"""The platform that programs are made for: JAX's own, or one without devices here for which XLA compiles."""

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar

import jax

_TARGET: ContextVar[str | None] = ContextVar("target", default=None)


def platform() -> str:
    """The platform of the program that is traced: cpu, gpu or tpu."""
    return _TARGET.get() or jax.default_backend()


@contextlib.contextmanager
def compiling_for(name: str) -> Iterator[None]:
    """Programs traced within are those of this platform; for another one nothing traced before is taken again."""
    if name == platform():
        yield
        return
    jax.clear_caches()
    token = _TARGET.set(name)
    try:
        yield
    finally:
        _TARGET.reset(token)
        jax.clear_caches()
