"""What a process sets up once, before the first computation."""

import os
from pathlib import Path


def set_up() -> None:
    """Persistent compilation cache (`$JAX_COMPILATION_CACHE_DIR`, else `~/.cache/gen_jax`), logs on standard error."""
    import jax

    from gen_jax.train.logging import log_to_stderr

    cache = os.environ.get("JAX_COMPILATION_CACHE_DIR") or str(
        Path("~/.cache/gen_jax").expanduser()
    )
    jax.config.update("jax_compilation_cache_dir", cache)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    log_to_stderr()
