"""The set-up of a process, before its first computation."""

import functools
import logging
import os
import subprocess
import sys
from pathlib import Path

from gen_jax import processes
from gen_jax.errors import InputError, first_line
from gen_jax.processes import Joining

# JAX settings that change bits or would reject our code, with the values that the code is written for.
SETTINGS = {
    "jax_numpy_dtype_promotion": "standard",
    "jax_numpy_rank_promotion": "allow",
    "jax_transfer_guard": "allow",
    "jax_threefry_partitionable": True,
}
# XLA ends the process at an unknown flag, so another process reads the flags first.
READ_FLAGS = "from jaxlib import _jax; _jax.CompileOptions().executable_build_options.debug_options"


def set_up(joining: Joining | None = None) -> None:
    """Fix JAX's settings regardless of the environment; join other processes; set up compilation cache and logs.

    The cache is `$JAX_COMPILATION_CACHE_DIR` or `~/.cache/gen_jax`. InputError if JAX finds no device, XLA does not
    know a flag, 64-bit numbers are enabled, other processes cannot be joined, or a scheduler started several processes
    and `joining` is None.
    """
    import jax

    from gen_jax.runs.logging import LOG, log_to_stderr

    for name, value in SETTINGS.items():
        jax.config.update(name, value)
    if jax.config.jax_enable_x64:  # pyright: ignore[reportAttributeAccessIssue]
        raise InputError(
            "JAX_ENABLE_X64 is on, but models, samples and files use 32 bits: unset it"
        )
    _check_flags(os.environ.get("XLA_FLAGS", ""))
    if joining is None:
        processes.check_alone()
    else:
        processes.join(joining)
    _check_devices()
    cache = os.environ.get("JAX_COMPILATION_CACHE_DIR") or str(
        Path("~/.cache/gen_jax").expanduser()
    )
    jax.config.update("jax_compilation_cache_dir", cache)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    log_to_stderr()
    if not processes.first():
        LOG.setLevel(logging.CRITICAL)


def simulate(devices: int) -> None:
    """Before `set_up`: compute on the CPU, which JAX presents as so many devices unless XLA_FLAGS has a number."""
    import jax

    jax.config.update("jax_platforms", "cpu")
    if "xla_force_host_platform_device_count" not in os.environ.get("XLA_FLAGS", ""):
        jax.config.update("jax_num_cpu_devices", devices)


@functools.cache
def _check_flags(flags: str) -> None:
    """InputError if XLA would end the process because of the flags."""
    if not flags.strip():
        return
    tried = subprocess.run([sys.executable, "-c", READ_FLAGS], capture_output=True, text=True)
    lines = [line for line in tried.stderr.splitlines() if "XLA_FLAGS" in line]
    if tried.returncode and lines:
        raise InputError(f"XLA refuses XLA_FLAGS: {lines[-1].partition('] ')[2] or lines[-1]}")


def _check_devices() -> None:
    """InputError, with JAX's message, if JAX finds no device."""
    import jax

    try:
        jax.devices()
    except (RuntimeError, AssertionError) as error:
        platforms = jax.config.jax_platforms  # pyright: ignore[reportAttributeAccessIssue]
        asked = f" (JAX_PLATFORMS is {platforms})" if platforms else ""
        why = f": {first_line(error)}" if str(error) else ""
        raise InputError(f"JAX finds no device{asked}{why}") from error
