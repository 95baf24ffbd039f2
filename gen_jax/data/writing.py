"""Writing data sets: each is written in a hidden folder, checked and renamed, so that it is complete or absent."""

import contextlib
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from gen_jax import disk
from gen_jax.data import prepared
from gen_jax.errors import InputError, first_line

# A hidden folder; its content is one level too deep to count as prepared.
PREPARING = ".preparing-"
DOWNLOADS = "downloads"


def write(
    name: str,
    make: Callable[..., Any],
    root: Path,
    check: Callable[[Path], object] | None = None,
    replace: bool = False,
) -> Path:
    """The folder of the data set that the builder `make(data_dir=..., file_format=...)` prepares and `check` accepts.

    An existing data set is replaced only if `replace`, and only by one with a test split. Complete downloads stay in
    `root/downloads/NAME`. InputError if writing fails or another process writes that name.
    """
    import tensorflow_datasets as tfds

    tfds.disable_progress_bar()
    try:
        with _workplace(root, name) as workplace:
            builder = make(data_dir=workplace, file_format="array_record")
            builder.download_and_prepare(download_dir=root / DOWNLOADS / name)
            if check:
                check(workplace)
            for split, about in builder.info.splits.items():
                if about.num_bytes > prepared.MEMORY:  # stores its order
                    prepared.load(name, split, workplace, prepared.MEMORY)
            finished = Path(builder.data_path)
            place = root / name / finished.name
            if not (replace and splits_of(place)) or "test" in builder.info.splits:
                _publish(finished, place, replace)
            return place
    except (OSError, RuntimeError) as error:
        why = getattr(error, "strerror", None) or first_line(error).partition(";")[0]
        raise InputError(
            f"cannot write data set {name!r} in {root}: {why}; nothing was written"
        ) from error


def splits_of(folder: Path) -> list[str]:
    """Names of the splits in a prepared folder; empty if it cannot be read."""
    try:
        info = json.loads((folder / "dataset_info.json").read_text())
        return [split["name"] for split in info["splits"]]
    except (OSError, ValueError, KeyError):
        return []


def _publish(finished: Path, place: Path, replace: bool) -> None:
    """Rename the folder; fails if a data set that must not be replaced has appeared meanwhile."""
    place.parent.mkdir(exist_ok=True)
    if replace and place.exists():
        place.rename(finished.with_name("replaced"))
    finished.rename(place)


@contextlib.contextmanager
def _workplace(root: Path, name: str) -> Iterator[Path]:
    """A temporary folder, locked by this process; remains of a killed process are removed first.

    At the end it is removed, together with incomplete downloads and new folders that are empty.
    """
    new = [path for path in (root / name, root, *root.parents) if not path.exists()]
    workplace, downloads = root / f"{PREPARING}{name}", root / DOWNLOADS / name
    try:
        root.mkdir(parents=True, exist_ok=True)
        workplace.mkdir(exist_ok=True)
        with disk.locked(workplace / "lock", f"another process is writing {name!r} in {root}"):
            for remains in set(workplace.iterdir()) - {workplace / "lock"}:
                shutil.rmtree(remains, ignore_errors=True)
            try:
                yield workplace
            finally:
                for path in [workplace, *downloads.rglob("*.tmp.*")]:
                    shutil.rmtree(path, ignore_errors=True)
                _remove_empty([*downloads.rglob("*"), downloads, downloads.parent])
    finally:
        _remove_empty(new)


def _remove_empty(paths: list[Path]) -> None:
    for path in sorted(paths, key=lambda path: len(path.parts), reverse=True):
        with contextlib.suppress(OSError):  # a file, or a folder that contains one
            path.rmdir()
