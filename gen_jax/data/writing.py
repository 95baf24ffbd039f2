"""Run a builder so that the data folder holds the whole set afterwards, or what it held before."""

import contextlib
import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def write(builder_class: Any, root: Path, **options: Any) -> Path:
    """The folder of the set under `root`, written unless it is there.

    One that is there without a test split is written again, and replaced where that gives one. Complete downloads stay
    in `root/downloads`, checked by SHA-256.
    """
    import tensorflow_datasets as tfds

    tfds.disable_progress_bar()
    folder = root / builder_class.name / str(builder_class.VERSION)
    if "test" in _splits_of(folder):
        return folder
    with _staging(root) as stage:
        builder = builder_class(data_dir=stage, file_format="array_record", **options)
        builder.download_and_prepare(download_dir=root / "downloads")
        if _splits_of(folder) and "test" not in builder.info.splits:
            return folder
        folder.parent.mkdir(exist_ok=True)
        if folder.exists():
            folder.replace(stage / "replaced")
        Path(builder.data_path).replace(folder)
    return folder


def _splits_of(folder: Path) -> list[str]:
    """Names of the splits that a prepared folder holds; none where nothing readable is there."""
    try:
        info = json.loads((folder / "dataset_info.json").read_text())
        return [split["name"] for split in info["splits"]]
    except (OSError, ValueError, KeyError):
        return []


@contextlib.contextmanager
def _staging(root: Path) -> Iterator[Path]:
    """A folder beside the sets; at the end it goes, and so does what else is new and empty or half downloaded."""
    downloads = root / "downloads"
    there = {
        path for path in (root, *root.parents, downloads, *downloads.rglob("*")) if path.exists()
    }
    root.mkdir(parents=True, exist_ok=True)
    stage = Path(tempfile.mkdtemp(prefix=".preparing-", dir=root))
    try:
        yield stage
    finally:
        shutil.rmtree(stage, ignore_errors=True)
        for path in set(downloads.rglob("*.tmp.*")) - there:
            shutil.rmtree(path, ignore_errors=True)
        folders = {root, *root.parents, downloads, *downloads.rglob("*")} - there
        for path in sorted(folders, key=lambda path: len(path.parts), reverse=True):
            with contextlib.suppress(OSError):  # a file, or a folder that holds one
                path.rmdir()
