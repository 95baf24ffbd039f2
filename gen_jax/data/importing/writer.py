"""Imported data sets in the data folder: builder and checksum; nothing is overwritten."""

import contextlib
import hashlib
import json
import math
from functools import partial
from pathlib import Path
from typing import Any

from gen_jax.data import prepared, writing
from gen_jax.data.builders.common import Builder, info, numbered
from gen_jax.data.importing.content import Content
from gen_jax.errors import InputError


class Imported(Builder, skip_registration=True):
    """The builder of an imported data set, from arrays in memory."""

    def __init__(self, *, name: str, content: Content, **kwargs):
        self.name = name  # pyright: ignore[reportAttributeAccessIssue]  as TFDS's own AdhocBuilder does
        self.content = content
        super().__init__(**kwargs)

    def _info(self):
        content = self.content
        return info(
            self,
            f"Imported by gen-jax from {self.source}.",
            content.shape,
            content.levels,
            content.num_classes,
            class_names=content.class_names,
            presentation=content.presentation,
            rest=content.rest,
            pieces=content.pieces,
            conversion=content.conversion,
            checksum=checksum(content),
            source=self.source,
        )

    def _split_generators(self, dl_manager):
        del dl_manager  # the files are the user's
        return {
            split: self._generate_examples(numbered(x, self.content.labels.get(split)))
            for split, x in self.content.x.items()
        }


def checksum(content: Content) -> str:
    """SHA-256 of shape, levels, classes, presentation, rest, pieces, counts, and each split's integers and labels."""
    header = {
        "shape": content.shape,
        "levels": content.levels,
        "num_classes": content.num_classes,
        "class_names": content.class_names,
        **{
            "alphabet": [],
            **content.presentation,
        },  # the order from before there were presentations
        **({"rest": content.rest} if content.rest else {}),
        **({"pieces": content.pieces} if content.pieces else {}),
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
    """The folder of a data set with the same content; InputError if another data set has the name."""
    place = root / name
    if not place.exists() or (place.is_dir() and not any(place.iterdir())):
        return None
    if name not in prepared.prepared_names(root):
        raise InputError(
            f"{place} already exists and was not imported; choose another name or remove it"
        )
    folder = prepared.prepared_folder(name, root)
    recorded = _metadata(folder).get("checksum") == checksum(content)
    if recorded and checksum(_read_back(name, list(content.x), root)) == checksum(content):
        return folder
    raise InputError(
        f"data set {name!r} already exists with other content; choose another name, or remove it: rm -r {place}"
    )


def write(name: str, content: Content, source: str, root: Path) -> Path:
    """The folder of the new data set, after a check that it reads back the same; InputError if writing fails."""
    make = partial(Imported, name=name, content=content, source=source)
    return writing.write(name, make, root, check=lambda folder: _check(name, content, folder))


def imported(data_dir: Path | None = None) -> dict[str, str]:
    """The imported data sets in the folder and their origin, by name; damaged ones are skipped."""
    origins = {}
    for name in prepared.prepared_names(data_dir):
        with contextlib.suppress(InputError, KeyError):
            metadata = _metadata(prepared.prepared_folder(name, data_dir))
            if "checksum" in metadata:
                done = "".join(f"; {sentence}" for sentence in metadata.get("conversion", []))
                origins[name] = f"Imported from {metadata['source']}{done}."
    return origins


def _check(name: str, content: Content, folder: Path) -> None:
    """Read back what was written: some disks report errors only then."""
    try:
        good = checksum(_read_back(name, list(content.x), folder)) == checksum(content)
    except InputError as error:
        raise OSError(0, "the written data cannot be read back") from error
    if not good:
        raise OSError(0, "the written data reads back different")


def _read_back(name: str, splits: list[str], root: Path) -> Content:
    read = {split: prepared.load(name, split, root, memory=math.inf) for split in splits}
    metadata = _metadata(prepared.prepared_folder(name, root))
    return Content(
        {split: examples.x[:] for split, examples in read.items()},
        {split: examples.labels for split, examples in read.items() if examples.labels is not None},
        metadata["levels"],
        metadata["num_classes"],
        metadata["class_names"],
        metadata.get("presentation", {}),
        metadata.get("rest", {}),
        metadata.get("pieces", {}),
    )


def _metadata(folder: Path) -> dict[str, Any]:
    try:
        return dict(json.loads((folder / "metadata.json").read_text()))
    except FileNotFoundError:
        return {}  # another program made it
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"{folder} is damaged; remove it or choose another name") from error
