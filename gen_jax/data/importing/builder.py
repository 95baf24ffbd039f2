"""The TFDS builder behind an import: arrays in memory to ArrayRecord, in the order of the index."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from etils import epath

from gen_jax.data.importing.found import Content
from gen_jax.data.importing.levels import storage


class Imported(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """A data set of the user's own files."""

    pkg_dir_path = epath.Path(__file__).parent
    VERSION = tfds.core.Version("1.0.0")

    def __init__(self, *, name: str, content: Content, metadata: dict[str, Any], **kwargs):
        self.name = name  # pyright: ignore[reportAttributeAccessIssue]  as TFDS's own AdhocBuilder does
        self.content = content
        self.extra = metadata
        super().__init__(**kwargs)

    def _info(self):
        content = self.content
        features = {
            "image": tfds.features.Tensor(shape=content.shape, dtype=storage(content.levels)),
            "index": tfds.features.Scalar(np.int64),
        }
        if content.num_classes:
            features["label"] = tfds.features.ClassLabel(num_classes=content.num_classes)
        metadata = {
            "levels": content.levels,
            "num_classes": content.num_classes,
            "class_names": content.class_names,
            "alphabet": content.alphabet,
        }
        return tfds.core.DatasetInfo(
            builder=self,
            description=f"Imported by gen-jax from {self.extra['source']}.",
            features=tfds.features.FeaturesDict(features),
            metadata=tfds.core.MetadataDict(metadata | self.extra),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager):
        del dl_manager  # the files are the user's own
        return {split: self._generate_examples(split) for split in self.content.x}

    def _generate_examples(self, split: str) -> Iterator[tuple[int, dict]]:
        labels = self.content.labels.get(split)
        for i, image in enumerate(self.content.x[split]):
            example = {"image": image, "index": i}
            yield i, example if labels is None else example | {"label": int(labels[i])}
