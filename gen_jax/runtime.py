"""What a process sets up once, before the first computation."""

import functools
import os
import subprocess
import sys
from pathlib import Path

from gen_jax.errors import InputError, first_line

# What a shell may ask of JAX that decides bits or refuses what ours are written in, and what they are written under.
WRITTEN_UNDER = {
    "jax_numpy_dtype_promotion": "standard",
    "jax_numpy_rank_promotion": "allow",
    "jax_transfer_guard": "allow",
    "jax_threefry_partitionable": True,
}
# XLA ends the process at a flag that it does not know: the flags are read in another one first.
READ_FLAGS = "from jaxlib import _jax; _jax.CompileOptions().executable_build_options.debug_options"


def set_up() -> None:
    """The conditions of every number whatever the shell says, a device, the compilation cache, logs on standard error.

    The cache is `$JAX_COMPILATION_CACHE_DIR`, else `~/.cache/gen_jax`. InputError where JAX finds no device, XLA
    does not know a flag, or numbers are to be of 64 bits.
    """
    import jax

    from gen_jax.runs.logging import log_to_stderr

    for name, value in WRITTEN_UNDER.items():
        jax.config.update(name, value)
    if jax.config.jax_enable_x64:  # pyright: ignore[reportAttributeAccessIssue]
        raise InputError(
            "JAX_ENABLE_X64 is on, and models, samples and files are of 32 bits: unset it"
        )
    _check_flags(os.environ.get("XLA_FLAGS", ""))
    _check_devices()
    cache = os.environ.get("JAX_COMPILATION_CACHE_DIR") or str(
        Path("~/.cache/gen_jax").expanduser()
    )
    jax.config.update("jax_compilation_cache_dir", cache)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    log_to_stderr()


@functools.cache
def _check_flags(flags: str) -> None:
    """InputError where XLA would end the process over the flags."""
    if not flags.strip():
        return
    tried = subprocess.run([sys.executable, "-c", READ_FLAGS], capture_output=True, text=True)
    told = [line for line in tried.stderr.splitlines() if "XLA_FLAGS" in line]
    if tried.returncode and told:
        raise InputError(f"XLA refuses XLA_FLAGS: {told[-1].partition('] ')[2] or told[-1]}")


def _check_devices() -> None:
    """InputError where JAX finds no device, in its words."""
    import jax

    try:
        jax.devices()
    except (RuntimeError, AssertionError) as error:
        platforms = jax.config.jax_platforms  # pyright: ignore[reportAttributeAccessIssue]
        asked = f" (JAX_PLATFORMS is {platforms})" if platforms else ""
        why = f": {first_line(error)}" if str(error) else ""
        raise InputError(f"JAX finds no device{asked}{why}") from error
