"""The binary files of CIFAR-10 and CIFAR-100: records of one or two label bytes and 3 x 32 x 32 bytes."""

import itertools
import re
from pathlib import Path

import numpy as np
from jaxtyping import Int32, UInt8

from gen_jax.data.importing.found import Found, Part
from gen_jax.errors import InputError

NAMES = {
    r"data_batch_(\d+)\.bin": (10, "train"),
    r"test_batch\.bin": (10, "test"),
    r"train\.bin": (100, "train"),
    r"test\.bin": (100, "test"),
}


def read(paths: list[Path]) -> Found:
    """Batches in the order of their number; CIFAR-100 by its 100 fine labels."""
    batches = []
    for path in paths:
        for pattern, (classes, split) in NAMES.items():
            match = re.fullmatch(pattern, path.name)
            if match:
                number = int(match[1]) if match.groups() else 0
                batches.append((split, number, path, classes))
                break
        else:
            raise InputError(
                f"{path} has no name of a CIFAR file: data_batch_1.bin, ..., test_batch.bin, train.bin, test.bin"
            )
    batches.sort(key=lambda batch: batch[:2])
    classes = batches[0][3]
    for batch in batches:
        if batch[3] != classes:
            raise InputError(
                f"{batches[0][2]} is of CIFAR-{classes}, {batch[2]} of CIFAR-{batch[3]}"
            )
    for one, other in itertools.pairwise(batches):
        if one[:2] == other[:2]:
            raise InputError(f"{one[2]} and {other[2]} are the same batch")
    parts = {}
    for split in ("train", "test"):
        mine = [batch[2] for batch in batches if batch[0] == split]
        if mine:
            records = [read_records(path, classes) for path in mine]
            x = np.concatenate([images for images, _ in records])
            origins = [
                str(path)
                for path, (images, _) in zip(mine, records, strict=True)
                for _ in range(len(images))
            ]
            parts[split] = Part(x, origins, np.concatenate([labels for _, labels in records]))
    notes = ["labels are the 100 fine ones, the 20 coarse ones are left out"] * (classes == 100)
    return Found(parts, num_classes=classes, notes=notes)


def read_records(
    path: Path, classes: int
) -> tuple[UInt8[np.ndarray, "N 32 32 3"], Int32[np.ndarray, " N"]]:
    """Images and (fine) labels of one file; InputError where its length or a label is none of the format."""
    label_bytes = 1 if classes == 10 else 2
    size = label_bytes + 3072
    content = np.fromfile(path, np.uint8)
    if not len(content) or len(content) % size:
        raise InputError(
            f"{path} has {len(content)} bytes, no multiple of the {size} of a CIFAR-{classes} record"
        )
    records = content.reshape(-1, size)
    labels = records[:, label_bytes - 1]
    if labels.max() >= classes:
        raise InputError(f"{path} has label {labels.max()}, CIFAR-{classes} has 0 to {classes - 1}")
    planes = records[:, label_bytes:].reshape(-1, 3, 32, 32)
    return np.ascontiguousarray(planes.transpose(0, 2, 3, 1)), labels.astype(np.int32)
