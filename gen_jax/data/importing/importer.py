"""The whole import: read, split, check, cut into tiles, write."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gen_jax.data import prepared
from gen_jax.data.builders.common import storage
from gen_jax.data.conversion import UNCHANGED, Conversion
from gen_jax.data.importing import pieces, readers, rules, sounds, writer
from gen_jax.data.importing.content import Channels, Content, Part, Reading
from gen_jax.data.importing.folders import from_png, passed_over
from gen_jax.data.importing.kinds import FOLDERS, WORDS, kind_and_files
from gen_jax.data.importing.names import Names, parse_names
from gen_jax.data.importing.splits import ORDER
from gen_jax.errors import InputError


@dataclass(frozen=True)
class Options:
    """Options of the command line; None stands for the default of the format."""

    levels: int | None = None
    tiles: int | None = None
    length: int | None = None
    split: str | None = None
    mono: bool = False
    max_bytes: int | None = None
    channels: Channels = None
    classes: bool = False
    short: sounds.Short = None
    names: str | None = None
    windows: sounds.Windows = "all"
    conversion: Conversion = UNCHANGED


@dataclass(frozen=True)
class Outcome:
    """The imported data set, and notes on what was decided."""

    name: str
    folder: Path
    content: Content
    notes: list[str]

    def record(self) -> dict[str, Any]:
        """The output of `--json`."""
        return {
            "name": self.name,
            "folder": str(self.folder),
            "splits": {name: len(x) for name, x in self.content.x.items()},
            "shape": list(self.content.shape),
            "levels": self.content.levels,
            "num_classes": self.content.num_classes,
            "class_names": self.content.class_names,
            "conversion": self.content.conversion,
            "checksum": writer.checksum(self.content),
            "notes": self.notes,
        }

    def sentences(self) -> list[str]:
        """What was decided and read, one sentence per line, the folder last."""
        counts = ", ".join(f"{len(x)} {name}" for name, x in self.content.x.items())
        return [
            *self.notes,
            f"{counts}: {self._examples()} of {self.content.levels} levels",
            self._classes(),
            f"{self.name} is in {self.folder}",
        ]

    def _examples(self) -> str:
        shape, unit = self.content.shape, self.content.presentation.get("unit")
        if len(shape) == 2:
            return f"windows of {shape[0]} steps of {shape[1]} values"
        if len(shape) == 3:
            height, width, channels = shape
            many = "channel" if channels == 1 else "channels"
            return f"images {height} high, {width} wide, {channels} {many},"
        return f"windows of {shape[0]} {unit}s" if unit else f"vectors of {shape[0]} values"

    def _classes(self) -> str:
        labels = [*self.content.labels.values()]
        if not labels:
            return "no classes"
        counts = np.bincount(np.concatenate(labels), minlength=self.content.num_classes)
        named = [
            f"{rules.named(label, self.content.class_names)} ({count})"
            for label, count in enumerate(counts.tolist())
        ]
        return f"{len(named)} classes with their examples: {rules.listed(named)}"


def import_files(
    name: str, paths: list[Path], options: Options = Options(), data_dir: Path | None = None
) -> Outcome:
    """Write a user's files as a prepared data set; InputError, with nothing written, if anything does not fit."""
    _check_name(name)
    root = data_dir or prepared.default_data_dir()
    try:
        content, notes = read(paths, options)
        folder = writer.there_already(name, content, root)
    except OSError as error:
        where = error.filename or ", ".join(map(str, paths))
        raise InputError(f"cannot read {where}: {error.strerror or error}") from error
    if folder:
        notes.append("the same data set is there already; nothing is written")
    else:
        source = paths[0].resolve().name + (f" and {len(paths) - 1} more" if paths[1:] else "")
        folder = writer.write(name, content, source, root)
    return Outcome(name, folder, content, notes)


def read(paths: list[Path], options: Options) -> tuple[Content, list[str]]:
    """The content to write, and a sentence for each decision."""
    kind, files, passed = kind_and_files(paths)
    if options.length is not None and kind not in ("text", "wav", "npz"):
        raise InputError(f"--length is for text, sound and pieces, {paths[0]} is {WORDS[kind]}")
    if options.tiles is not None and kind in ("text", "wav"):
        raise InputError(f"--tiles is for images, {paths[0]} is {WORDS[kind]}")
    if kind == "wav" and options.levels is not None:
        raise InputError(f"--levels is for integers, {paths[0]} is sound, coded with the mu-law")
    if kind != "png" and options.conversion:
        raise InputError(
            f"--convert, --crop and --resize are for pictures, {paths[0]} is {WORDS[kind]}"
        )
    if kind != "wav" and options.mono:
        raise InputError(f"--mono is for sound, {paths[0]} is {WORDS[kind]}")
    if kind != "wav" and options.short:
        raise InputError(f"--short is for sound, {paths[0]} is {WORDS[kind]}")
    if kind != "wav" and options.windows != "all":
        raise InputError(f"--windows is for sound, {paths[0]} is {WORDS[kind]}")
    if kind not in ("npz", "idx") and options.channels:
        raise InputError(
            f"--channels-{options.channels} is for arrays, {paths[0]} is {WORDS[kind]}"
        )
    for option, present in (("classes", options.classes), ("names", options.names is not None)):
        if kind not in FOLDERS and present:
            raise InputError(f"--{option} is for folders of files, {paths[0]} is {WORDS[kind]}")
    if options.classes and options.names is not None:
        raise InputError("--classes is for class folders, --names for names of files: give one")
    names = parse_names(options.names, options.split)
    reading = _read(kind, files, options, names)
    if kind == "npz" and not reading.pieces and options.length is not None:
        raise InputError(f"--length is for text, sound and pieces, {paths[0]} has no *_lengths")
    if reading.pieces and options.tiles is not None:
        raise InputError(f"--tiles is for images, {paths[0]} has pieces")
    parts, notes = reading.parts, [*passed_over(passed), *reading.notes]
    if names and names.ranges:
        notes += names.notes
    elif not reading.cut:
        parts, more = rules.divide(parts, options.split, reading.class_names)
        notes += more
    parts = {name: parts[name] for name in ORDER if name in parts}
    levels, note = rules.choose_levels(parts, options.levels, reading.levels)
    notes.append(note)
    if options.tiles is not None:
        parts, more = rules.tile(parts, options.tiles)
        notes += more
    if kind == "wav":
        parts, more = sounds.cut_windows(
            parts, options.length or sounds.DEFAULT_LENGTH, options.short, options.windows
        )
        notes += more
    lengths = {}
    if reading.pieces:
        parts, lengths, more = pieces.cut_windows(parts, options.length or pieces.DEFAULT_LENGTH)
        notes += more
    _check_alike(parts)
    notes += rules.missing_classes(parts, reading.class_names)
    dtype = storage(levels)
    labels = {name: part.labels for name, part in parts.items() if part.labels is not None}
    seen = max((int(values.max()) + 1 for values in labels.values()), default=0)
    content = Content(
        {name: np.asarray(part.x).astype(dtype) for name, part in parts.items()},
        labels,
        levels,
        reading.num_classes or seen,
        reading.class_names,
        reading.presentation,
        reading.rest,
        lengths,
        reading.conversion,
    )
    return content, notes


def _read(kind: str, files: list[Path], options: Options, names: Names | None) -> Reading:
    limit = options.max_bytes
    if kind == "png":
        tiled, converted = options.tiles is not None, options.conversion
        return from_png(files, tiled, limit, options.classes, names, converted)
    if kind in ("text", "wav"):
        by_names = names is not None and names.ranges
        rule = rules.DEFAULT_SHARES if options.split is None or by_names else options.split
        shares = rules.parse_shares(rule)
        if kind == "wav":
            return sounds.from_wav(files, shares, options.mono, limit, options.classes, names)
        return readers.from_text(files, options.length or readers.DEFAULT_LENGTH, shares, limit)
    if kind == "cifar":
        return readers.from_cifar(files, limit)
    reader = {"npz": readers.from_npz, "idx": readers.from_idx}[kind]
    return reader(files, limit, options.channels)


def _check_name(name: str) -> None:
    from gen_jax.data.builders import BUILDERS

    if not re.fullmatch("[a-z][a-z0-9_]*", name):
        raise InputError(
            f"{name!r} cannot name a data set: use a lower-case letter, then lower-case letters, digits and _"
        )
    if name in BUILDERS:
        raise InputError(
            f"{name!r} is a built-in data set; run `gen-jax data prepare {name}` or choose another name"
        )


def _check_alike(parts: dict[str, Part]) -> None:
    """InputError if splits differ in shape, or only some of them have labels."""
    (_, first), *others = parts.items()
    for _, part in others:
        shape, other = np.shape(first.x[0]), np.shape(part.x[0])
        if shape != other:
            raise InputError(
                f"{part.origins[0]} has examples of shape {other}, {first.origins[0]} of shape {shape}"
            )
        if (part.labels is None) != (first.labels is None):
            without = part if part.labels is None else first
            raise InputError(f"{without.origins[0]} has no labels, but other splits have")
