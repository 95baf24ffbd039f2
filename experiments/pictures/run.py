"""Pictures through the trained models of the package: `python experiments/pictures/run.py FILE.png FILE.png ...`.

Each PNG is compressed by the colour or the grey model, decompressed, and compared with its samples. Beside it are the
sizes of the same picture as PNG, WebP and, if its plugin is installed, JPEG XL, all lossless and at the highest effort
that Pillow offers. The numbers are written to experiments/results/pictures.json, and `make tables` puts them into
RESULTS.md. Pictures measured before stay; one that does not come back bit for bit ends the program.
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from gen_jax import InputError, runtime
from gen_jax.coding import files
from gen_jax.coding.codec import Codec
from gen_jax.disk import write_atomically
from gen_jax.evaluate.file_size import others
from gen_jax.included import RESULTS
from gen_jax.runs import results
from gen_jax.runs.provenance import machine, revision, versions
from gen_jax.runs.run import load_run

MODELS = {1: "sparse_transformer_mnist", 3: "image_transformer_cifar10_small"}  # by channels


def main() -> int:
    """Measure the pictures; after a picture that no model takes, print a sentence and return status 2."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("pictures", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, default=RESULTS / "pictures.json")
    args = parser.parse_args()
    runtime.set_up()
    try:
        record(args.pictures, args.out)
    except InputError as error:
        print(f"pictures: {error}", file=sys.stderr)
        return 2
    print(args.out)
    return 0


def record(pictures: Sequence[Path], out: Path) -> None:
    """Add a row for each picture to the file; it is written anew after each."""
    rows = json.loads(out.read_text())["rows"] if out.exists() else []
    for path in pictures:
        row = measured(path)
        rows = sorted(
            [*(r for r in rows if r["picture"] != path.name), row], key=lambda r: r["picture"]
        )
        tree = {
            "pictures": "lossless",
            **machine(),
            "versions": versions(),
            **revision(),
            "rows": rows,
        }
        write_atomically(out, results.dumps(tree))
        print(f"{path.name}: {row['bytes']:,} bytes, WebP {row['webp_bytes']:,}", file=sys.stderr)


def measured(path: Path) -> dict[str, Any]:
    """Sizes in bytes, and seconds of both ways with compilation; RuntimeError if the samples change."""
    with Image.open(path) as picture:
        model = MODELS[1 if picture.mode in ("1", "L") else 3]
    run = load_run(Path(model))
    codec = Codec(run.experiment.model, run.variables)
    content = files.read([path], codec.event)
    times = [time.perf_counter()]
    data, size = codec.compress(content)
    times.append(time.perf_counter())
    restored = codec.decompress(data)
    times.append(time.perf_counter())
    [(name, x)] = content.arrays.items()
    if not np.array_equal(restored.arrays[name], x):
        raise RuntimeError(f"{path} does not come back")
    return {
        "picture": path.name,
        "model": model,
        "shape": x.shape[1:],
        **{key: size.record()[key] for key in ("bytes", "bits_per_dim", "weights_bytes")},
        "file_bytes": path.stat().st_size,
        **others(x, codec.levels),
        "encode_seconds": round(times[1] - times[0], 1),
        "decode_seconds": round(times[2] - times[1], 1),
    }


if __name__ == "__main__":
    sys.exit(main())
