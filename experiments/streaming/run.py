"""Train on a synthetic data set of ImageNet64's shape that stays on disk, and measure memory and rates.

`python experiments/streaming/run.py --images 1281167 --limit 2` writes pictures of 64x64x3 (half as sharp and of 16
levels, so that they take a third of the disk), reads batches of them, trains a small model in a process of its own,
evaluates it, and records the largest resident memory and images per second in experiments/results/streaming.json. At
the end the data is removed.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from gen_jax.data import prepared
from gen_jax.data.ahead import THREADS, Ahead
from gen_jax.data.batches import Batches
from gen_jax.data.builders.common import Builder, Example, info
from gen_jax.data.rows import Rows
from gen_jax.data.writing import write
from gen_jax.disk import write_atomically
from gen_jax.included import RESULTS

ROOT = Path(__file__).resolve().parents[2]
NAME, SIDE, CLASSES, HELD_OUT = "pictures_64", 64, 1000, 2048
BATCH, READ = 256, 100  # images, and batches to read


class Pictures(Builder, skip_registration=True):
    """Random pictures of 16 levels whose squares of 2x2 pixels have one colour."""

    name = NAME

    def __init__(self, *, images: int, **kwargs):
        self.images = images
        super().__init__(**kwargs)

    def _info(self):
        return info(self, "Random pictures.", (SIDE, SIDE, 3), 256, CLASSES)

    def _split_generators(self, dl_manager):
        del dl_manager
        sizes = {"train": self.images, "validation": HELD_OUT}
        return {
            split: self._generate_examples(pictures(size, seed))
            for seed, (split, size) in enumerate(sizes.items())
        }


def pictures(count: int, seed: int) -> Iterator[Example]:
    """Numbered pictures with classes."""
    rng = np.random.default_rng(seed)
    for index in range(count):
        small = 16 * rng.integers(0, 16, (SIDE // 2, SIDE // 2, 3), np.uint8)
        yield index, small.repeat(2, axis=0).repeat(2, axis=1), index % CLASSES


def reading(root: Path) -> dict[str, float]:
    """Images per second by one thread and by several, of batches in the order of training."""
    split = prepared.load(NAME, "train", root, 0.0)
    assert isinstance(split.x, Rows)
    rates = {}
    for name, seed, wrap in (("one_thread", 0, lambda make: make), ("ahead", 1, Ahead)):
        batch = wrap(Batches(split, BATCH, seed).batch)
        batch(0)
        began, cpu = time.perf_counter(), time.process_time()
        for step in range(1, READ + 1):
            batch(step)
        total = READ * BATCH
        rates[name] = round(total / (time.perf_counter() - began))
        rates[f"{name}_a_cpu_second"] = round(total / (time.process_time() - cpu))
    return rates


def training(root: Path, steps: int, limit: float) -> dict[str, Any]:
    """A training and an evaluation as commands: peak memory of the larger, and images trained on per second."""
    config = ROOT / "experiments" / "configs" / "independent_cifar10.py"
    sets = (f"steps={steps}", f"batch_size={BATCH}", f"evaluate.every={steps}")
    places = ["--data-dir", str(root), "--memory-limit", str(limit)]
    train = ["train", str(config), "--data", NAME, "--workdir", str(root / "run"), *places]
    for setting in sets:
        train += ["--set", setting]
    evaluate = ["evaluate", str(root / "run"), "--split", "train", "--limit", "20000", *places]
    for words in (train, evaluate):
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        subprocess.run([sys.executable, "-m", "gen_jax", *words], check=True, env=environment)
    rows = [json.loads(line) for line in (root / "run" / "metrics.jsonl").read_text().splitlines()]
    first, *_, last = [row for row in rows if row["split"] == "train"]
    rate = (last["step"] - first["step"]) * BATCH / (last["seconds"] - first["seconds"])
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    return {"steps": steps, "images_per_second": round(rate), "peak_memory_gib": round(peak, 2)}


def main() -> None:
    """Write, read, train, record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=4096)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--limit", type=float, default=0.01, help="--memory-limit, in GiB")
    parser.add_argument("--out", type=Path, default=RESULTS / "streaming.json")
    parser.add_argument("--root", type=Path, help="keep the data there, and use what is there")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = args.root or Path(folder)
        if NAME not in prepared.prepared_names(root):
            prepared.MEMORY = args.limit * 2**30
            write(NAME, lambda **where: Pictures(images=args.images, **where), root)
        files = prepared.prepared_folder(NAME, root)
        disk = sum(path.stat().st_size for path in files.iterdir())
        began = time.perf_counter()
        prepared.load(NAME, "train", root, 0.0)
        record = {
            "images": args.images,
            "shape": [SIDE, SIDE, 3],
            "gib_in_memory": round(args.images * SIDE * SIDE * 3 / 2**30, 2),
            "gib_on_disk": round(disk / 2**30, 2),
            "seconds_to_open": round(time.perf_counter() - began, 2),
            "threads": THREADS,
            "images_read_per_second": reading(root),
            "training": training(root, args.steps, args.limit),
        }
    write_atomically(args.out, json.dumps(record, indent=1) + "\n")
    print(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
