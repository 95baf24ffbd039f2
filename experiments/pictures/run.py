"""Pictures through the trained models of the package: `python experiments/pictures/run.py FILE.png FILE.png ...`.

Each PNG is compressed by the colour or the grey model, decompressed, and compared with the original. Beside it are the
sizes of the same picture as PNG, WebP and, if its plugin is installed, JPEG XL, all lossless and at the highest effort
that Pillow offers. With `--ordinary` the files are photographs of which small PNG files of several kinds are made. The
numbers are written to experiments/results/pictures.json, and `make tables` puts them into RESULTS.md. Pictures measured
before stay; one that does not come back bit for bit ends the program.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ordinary import COLOUR, FILES, GREY, write
from PIL import Image

from gen_jax import InputError, runtime
from gen_jax.coding import files
from gen_jax.coding.codec import Codec
from gen_jax.data.png import Png, read_every_png, read_png
from gen_jax.disk import write_atomically
from gen_jax.evaluate.file_size import formats, others, saved
from gen_jax.included import RESULTS
from gen_jax.runs import results
from gen_jax.runs.provenance import machine, revision, versions
from gen_jax.runs.run import load_run


def main() -> int:
    """Measure the pictures; after a picture that no model takes, print a sentence and return status 2."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("pictures", type=Path, nargs="+")
    parser.add_argument("--ordinary", action="store_true", help="make small PNG files of them")
    parser.add_argument("--out", type=Path, default=RESULTS / "pictures.json")
    args = parser.parse_args()
    runtime.set_up()
    try:
        if args.ordinary:
            record_ordinary(args.pictures, args.out)
        else:
            record(args.pictures, args.out)
    except InputError as error:
        print(f"pictures: {error}", file=sys.stderr)
        return 2
    print(args.out)
    return 0


def record(pictures: Sequence[Path], out: Path) -> None:
    """Add a row for each picture to `rows` of the file; it is written anew after each."""
    _add(out, "rows", (measured(path) for path in pictures))


def record_ordinary(photos: Sequence[Path], out: Path) -> None:
    """Add a row for each ordinary PNG of each photograph, and each model that codes it, to `ordinary` of the file."""
    for photo in photos:
        with tempfile.TemporaryDirectory() as folder:
            paths = write(Path(folder), read_png(photo).samples)
            every = [(path, model) for path in paths for model in FILES[path.stem]]
            rows = ({**measured(*one), "photo": photo.name} for one in every)
            _add(out, "ordinary", rows)


def _add(out: Path, part: str, rows: Iterable[dict[str, Any]]) -> None:
    key = lambda row: (row.get("photo", ""), row["picture"], row["model"])  # noqa: E731
    code = revision()  # before the file of results changes
    for row in rows:
        before = json.loads(out.read_text()) if out.exists() else {"rows": []}
        others = [r for r in before.get(part, []) if key(r) != key(row)]
        tree = {
            "pictures": "lossless",
            **machine(),
            "versions": versions(),
            **code,
            **{name: before[name] for name in ("rows", "ordinary") if name in before},
            part: sorted([*others, row], key=key),
        }
        write_atomically(out, results.dumps(tree))
        print(f"{row['picture']}, {row['kind']}: {row['bytes']:,} bytes", file=sys.stderr)


def measured(path: Path, model: str = "") -> dict[str, Any]:
    """Sizes in bytes, and seconds of both ways with compilation; RuntimeError if the picture changes.

    By default grey without alpha goes to the grey model, everything else to the colour model.
    """
    picture = read_every_png(path)
    grey = picture.kind.endswith("grey") and picture.depth <= 8
    model = model or (GREY if grey else COLOUR)
    run = load_run(Path(model))
    codec = Codec(run.experiment.model, run.variables)
    content = files.read([path], codec.event)
    times = [time.perf_counter()]
    data, size = codec.compress(content)
    times.append(time.perf_counter())
    restored = codec.decompress(data)
    times.append(time.perf_counter())
    with tempfile.TemporaryDirectory() as folder:
        files.write(restored, Path(folder) / "restored.png", codec.levels)
        again = read_every_png(Path(folder) / "restored.png")
    names = ("kind", "palette", "transparency")
    same = all(getattr(again, name) == getattr(picture, name) for name in names)
    if not same or not np.array_equal(again.samples, picture.samples):
        raise RuntimeError(f"{path} does not come back")
    [x] = content.arrays.values()
    return {
        "picture": path.name,
        "kind": picture.kind,
        "model": model,
        "shape": picture.samples.shape,
        **{key: size.record()[key] for key in ("bytes", "bits_per_dim", "weights_bytes")},
        "side_bytes": size.side_bytes,
        "file_bytes": path.stat().st_size,
        **(_sizes(path, picture) if content.sides else others(x, codec.levels)),
        "encode_seconds": round(times[1] - times[0], 1),
        "decode_seconds": round(times[2] - times[1], 1),
    }


def _sizes(path: Path, picture: Png) -> dict[str, int]:
    """The picture as PNG, which is the file itself, and in the other formats, if it has no 16 bits."""
    sizes = {"png_bytes": path.stat().st_size}
    if picture.depth <= 8:
        clear = picture.transparency or "alpha" in picture.kind
        with Image.open(path) as opened:
            colour = opened.convert("RGBA" if clear else "RGB")
        for name, options in formats().items():
            if name != "png":  # `exact` keeps the colours under full transparency
                sizes[f"{name}_bytes"] = saved(colour, {**options, "exact": True})
    return sizes


if __name__ == "__main__":
    sys.exit(main())
