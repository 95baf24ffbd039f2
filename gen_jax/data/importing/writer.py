"""Write a data set beside and rename: the data folder holds all of it or nothing, and nothing is overwritten."""

import contextlib
import fcntl
import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gen_jax.data import prepared
from gen_jax.data.importing.found import Content
from gen_jax.errors import InputError

# The dot hides it; what lies in it is one level too deep to count as prepared.
TEMPORARY = ".importing-"


def checksum(content: Content) -> str:
    """SHA-256 of shape, levels, classes, alphabet, counts, and the integers and labels of each split in order."""
    header = {
        "shape": content.shape,
        "levels": content.levels,
        "num_classes": content.num_classes,
        "class_names": content.class_names,
        "alphabet": content.alphabet,
        "splits": sorted((name, len(x)) for name, x in content.x.items()),
    }
    digest = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    for name in sorted(content.x):
        x = content.x[name]
        digest.update(x.astype(x.dtype.newbyteorder("<")).tobytes())
        if name in content.labels:
            digest.update(content.labels[name].astype("<i4").tobytes())
    return digest.hexdigest()


def there_already(name: str, content: Content, root: Path) -> Path | None:
    """The folder of a data set with this very content; InputError where the name is taken by another."""
    place = root / name
    if not place.exists() or (place.is_dir() and not any(place.iterdir())):
        return None
    if name not in prepared.prepared_names(root):
        raise InputError(
            f"{place} is there already and was not imported; choose another name or remove it"
        )
    folder = prepared.prepared_folder(name, root)
    told = _metadata(folder).get("checksum") == checksum(content)
    if told and checksum(_read_back(name, list(content.x), root)) == checksum(content):
        return folder
    raise InputError(
        f"data set {name!r} is there already with other content; choose another name, or remove it: rm -r {place}"
    )


def write(name: str, content: Content, source: str, root: Path) -> Path:
    """The folder of the new data set; InputError, and the data folder as it was, where the disk refuses."""
    made = [path for path in (root, *root.parents) if not path.exists()]
    try:
        root.mkdir(parents=True, exist_ok=True)
        with _workplace(root, name) as beside:
            _prepare(name, content, source, beside)
            _check(name, content, beside)
            _publish(beside / name, root / name)
    except BaseException as error:
        for path in made:
            with contextlib.suppress(OSError):
                path.rmdir()
        if isinstance(error, (OSError, RuntimeError)):
            what = getattr(error, "strerror", None) or str(error).partition(";")[0]
            raise InputError(
                f"cannot write data set {name!r} in {root}: {what}; nothing is kept"
            ) from error
        raise
    return prepared.prepared_folder(name, root)


@contextlib.contextmanager
def _workplace(root: Path, name: str) -> Iterator[Path]:
    """A folder beside, held by one process; what a killed one left in it goes away."""
    beside = root / f"{TEMPORARY}{name}"
    beside.mkdir(exist_ok=True)
    with (beside / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise InputError(f"another process is importing {name!r} in {root}") from error
        shutil.rmtree(beside / name, ignore_errors=True)
        try:
            yield beside
        finally:
            shutil.rmtree(beside, ignore_errors=True)


def _prepare(name: str, content: Content, source: str, beside: Path) -> None:
    import tensorflow_datasets as tfds

    from gen_jax.data.importing.builder import Imported

    tfds.disable_progress_bar()
    builder = Imported(
        name=name,
        content=content,
        metadata={"checksum": checksum(content), "source": source},
        data_dir=beside,
        file_format="array_record",
    )
    builder.download_and_prepare()


def _check(name: str, content: Content, beside: Path) -> None:
    """Read what was written: some disks tell of trouble only then."""
    try:
        good = checksum(_read_back(name, list(content.x), beside)) == checksum(content)
    except InputError as error:
        raise OSError(0, "what was written cannot be read back") from error
    if not good:
        raise OSError(0, "what was written reads back different")


def _publish(finished: Path, place: Path) -> None:
    """One rename; it fails where a data set has come to the place meanwhile."""
    finished.rename(place)


def _read_back(name: str, splits: list[str], root: Path) -> Content:
    read = {split: prepared.load(name, split, root) for split in splits}
    metadata = _metadata(prepared.prepared_folder(name, root))
    return Content(
        {split: examples.x for split, examples in read.items()},
        {split: examples.labels for split, examples in read.items() if examples.labels is not None},
        metadata["levels"],
        metadata["num_classes"],
        metadata["class_names"],
        metadata["alphabet"],
    )


def _metadata(folder: Path) -> dict[str, Any]:
    try:
        return dict(json.loads((folder / "metadata.json").read_text()))
    except FileNotFoundError:
        return {}  # made by someone else
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"{folder} is damaged; remove it or choose another name") from error
