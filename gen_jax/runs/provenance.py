"""Where a number comes from: the source code, the versions of its packages, and the machine.

The source is described by its git revision, its changes since a recorded one, and a digest of everything that
determines the bits of a result.
"""

import hashlib
import importlib.metadata
import os
import platform
import re
import subprocess
from pathlib import Path
from typing import Any

import jax

from gen_jax.included import CONFIGS, PACKAGE

PACKAGES = (
    "jax",
    "jaxlib",
    "flax",
    "optax",
    "diffrax",
    "orbax-checkpoint",
    "grain",
    "tensorflow-datasets",
    "numpy",
)


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that affect a number."""
    return {
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in PACKAGES},
    }


def digest() -> str:
    """SHA-256 of the package's Python files and the versions; with config, data and machine it determines the bits."""
    sha = hashlib.sha256(repr(versions()).encode())
    for path in sorted(PACKAGE.rglob("*.py")):
        if CONFIGS in path.parents:  # in a wheel; they are no code of the package
            continue
        text = path.read_bytes()
        sha.update(f"{path.relative_to(PACKAGE).as_posix()} {len(text)}\n".encode())
        sha.update(text)
    return sha.hexdigest()


def revision() -> dict[str, Any]:
    """The git revision of the source checkout and whether it had changes; null if the package is not a checkout.

    New files count only inside the package: samples left in the checkout change nothing.
    """
    head = _git("rev-parse", "HEAD")
    if head is None:
        return {"git": None, "dirty": None}
    changed = _git("status", "--porcelain", "--untracked-files=no")
    return {"git": head, "dirty": bool(changed or _new_files())}


def changed_since(commit: Any) -> str | None:
    """How the package in the working tree differs from that of a recorded commit, by git; None if it does not."""
    if commit is None:
        return "no git revision is recorded"
    if not isinstance(commit, str) or not re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", commit):
        return f"the recorded git revision {commit!r:.80} is not a revision"
    if _git("rev-parse", "HEAD") is None:
        return "the installed gen_jax is not a git checkout"
    if _git("cat-file", "-e", f"{commit}^{{commit}}") is None:
        return f"revision {commit[:12]} is not known here"
    changed = _git("diff", "--no-ext-diff", "--name-only", commit, "--", PACKAGE.name)
    new = _new_files()
    if changed is None or new is None:
        return f"git cannot compare with revision {commit[:12]}"
    count = len({*changed.splitlines(), *new.splitlines()})
    return (
        f"{PACKAGE.name}/ differs from revision {commit[:12]} (files: {count})" if count else None
    )


def machine() -> dict[str, Any]:
    """Kind and number of devices, the processor's name and the number of threads that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)  # Linux only
    threads = len(affinity(0)) if affinity else os.cpu_count()
    return {
        "device": jax.devices()[0].device_kind,
        "devices": jax.device_count(),
        "cpu": cpu_name(),
        "threads": threads,
    }


def cpu_name() -> str:
    """The processor's model name, or its architecture if the system does not tell the name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _new_files() -> str | None:
    """Files of the package that git does not track."""
    return _git("ls-files", "--others", "--exclude-standard", "--", PACKAGE.name)


def _git(*args: str) -> str | None:
    """The output of a git command in the checkout; None if it fails or there is no checkout."""
    if not (PACKAGE.parent / ".git").exists():
        return None
    command = ["git", "-C", str(PACKAGE.parent), *args]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
