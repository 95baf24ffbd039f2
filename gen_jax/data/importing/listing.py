"""Which prepared data sets were imported."""

import contextlib
import json
from pathlib import Path

from gen_jax.data import prepared


def imported(data_dir: Path | None = None) -> dict[str, str]:
    """Names of the imported sets in the folder, each with what it came from; one that is damaged is left out."""
    found = {}
    for name in prepared.prepared_names(data_dir):
        with contextlib.suppress(OSError, ValueError, KeyError):
            folder = prepared.prepared_folder(name, data_dir)
            metadata = json.loads((folder / "metadata.json").read_text())
            if "checksum" in metadata:
                found[name] = f"Imported from {metadata['source']}."
    return found
