"""Shared by all builders: features, metadata, `--source` and progress messages."""

import itertools
import logging
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from etils import epath

from gen_jax import progress

Example = tuple[int, Any, Any]
LOG = logging.getLogger(__name__)
TELL_EVERY = 10_000  # examples
# Of both ImageNets' training images: a fair sample of all classes, whatever their order.
HELD_OUT_EVERY = 128


def storage(levels: int | None) -> type[np.unsignedinteger] | type[np.float32]:
    """The smallest unsigned type for 0..levels-1, or float32 for continuous data."""
    if levels is None:
        return np.float32
    return np.uint8 if levels <= 256 else np.uint16


def info(
    builder: tfds.core.DatasetBuilder,
    description: str,
    shape: tuple[int, ...],
    levels: int | None,
    num_classes: int = 0,
    citation: str = "",
    **metadata: object,
) -> tfds.core.DatasetInfo:
    """Features `image` (of `shape`), `index` and, with classes, `label`; metadata `levels`, `num_classes` and more.

    For continuous data `levels` is None.
    """
    features = {
        # Bytes: TFDS's default, a list of integers, takes 1.5 times the space, and 2.5 times as long to read.
        "image": tfds.features.Tensor(
            shape=shape, dtype=storage(levels), encoding=tfds.features.Encoding.BYTES
        ),
        "index": tfds.features.Scalar(np.int64),
    }
    if num_classes:
        features["label"] = tfds.features.ClassLabel(num_classes=num_classes)
    return tfds.core.DatasetInfo(
        builder=builder,
        description=description,
        features=tfds.features.FeaturesDict(features),
        metadata=tfds.core.MetadataDict(levels=levels, num_classes=num_classes, **metadata),
        citation=citation,
        disable_shuffling=True,
    )


class Builder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """A builder of integers or reals. `source` is the user's file or folder of originals; None: download them.

    It is never registered with TFDS, which has its own `mnist` and others.
    """

    pkg_dir_path = epath.Path(__file__).parent
    VERSION = tfds.core.Version("1.0.0")
    TAKES_SOURCE = True

    def __init__(self, *, source: str | None = None, **kwargs):
        self.source, self.done = source, 0
        super().__init__(**kwargs)

    def _published(self, url: str) -> Any:
        """`size` and SHA-256 `checksum` of the file at `url`, from checksums.tsv."""
        return (self.url_infos or {})[url]

    def _generate_examples(self, examples: Iterable[Example]) -> Iterator[tuple[int, dict]]:
        for index, image, label in progress.counted(examples, f"write {self.name}"):
            self.done += 1
            if self.done % TELL_EVERY == 0:
                LOG.info("%s: %s examples", self.name, f"{self.done:,}")
            example = {"image": image, "index": int(index)}
            yield int(index), example if label is None else {**example, "label": int(label)}

    def _hold_out(self, images: np.ndarray, labels: np.ndarray | None, count: int) -> dict:
        """Generators of `train` and `validation`, the last `count` examples; indices are those of the original."""
        examples, cut = list(numbered(images, labels)), len(images) - count
        return {
            "train": self._generate_examples(examples[:cut]),
            "validation": self._generate_examples(examples[cut:]),
        }


def held_out(index: int) -> bool:
    """Whether a training image of ImageNet is in `validation`: positions 127, 255, 383, ..."""
    return index % HELD_OUT_EVERY == HELD_OUT_EVERY - 1


def numbered(images: Iterable, labels: Iterable | None = None) -> Iterator[Example]:
    """(position, image, label), counted from zero; the label is None if there are no labels."""
    return zip(itertools.count(), images, itertools.repeat(None) if labels is None else labels)
