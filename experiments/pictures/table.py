"""The table of `run.py` for RESULTS.md."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gen_jax.bench import record

HEAD = """Pictures through the trained models of the package (`python experiments/pictures/run.py`), each restored bit
for bit; sizes in bytes, all lossless. The models know only 32x32 colour and 28x28 grey images, so a picture is coded in
such tiles, and no tile sees its neighbours. `to WebP`: our bytes divided by those of WebP. `both ways`: seconds to
encode and to decode, with compilation."""
ORDINARY = """Ordinary PNG files of several kinds, crops of one photograph, each restored bit for bit; sizes in bytes
(`python experiments/pictures/run.py --ordinary PHOTO.png`). `sides`: the part of `gen_jax` that is palettes and side
planes, not coded by the model. The colour model codes grey and palettes too, with its distribution restricted to the
colours that the picture can have; the grey model knows digits and clothes only. WebP
has no 16 bits, and JPEG XL is measured with 8 only."""
COLUMNS: record.Columns = {
    "picture": lambda row: row["picture"],
    "size": lambda row: "x".join(map(str, row["shape"])),
    "model": lambda row: f"`{row['model']}`",
    "gen_jax": lambda row: f"{row['bytes']:,}",
    "bits/dim": lambda row: f"{row['bits_per_dim']:.3f}",
    "PNG": lambda row: f"{row['png_bytes']:,}",
    "WebP": lambda row: f"{row['webp_bytes']:,}" if "webp_bytes" in row else "-",
    "JPEG XL": lambda row: f"{row['jpeg_xl_bytes']:,}" if "jpeg_xl_bytes" in row else "-",
    "to WebP": lambda row: f"{row['bytes'] / row['webp_bytes']:.3f}",
    "both ways": lambda row: f"{row['encode_seconds']:.0f} + {row['decode_seconds']:.0f} s",
}
SHARED = ("size", "model", "gen_jax", "bits/dim", "PNG", "WebP", "JPEG XL")
OF_KINDS: record.Columns = {
    "kind": lambda row: row["kind"],
    **{name: COLUMNS[name] for name in SHARED},
    "sides": lambda row: f"{row['side_bytes']:,}",
}


def text(path: Path, hardware: Callable[[dict[str, Any]], str]) -> str:
    """One row per picture, then one per ordinary PNG file; empty if there is no file."""
    if not path.exists():
        return ""
    stored = json.loads(path.read_text())
    lines = [HEAD, "", record.table(COLUMNS, stored["rows"]), "", totals(stored["rows"]), ""]
    if ordinary := stored.get("ordinary"):
        lines += [ORDINARY, "", record.table(OF_KINDS, ordinary), ""]
    return "\n".join([*lines, hardware(stored), "", ""])


def totals(rows: list[dict[str, Any]]) -> str:
    """The sums over all photographs, and how they compare."""
    ours, *others = (
        sum(row[name] for row in rows)
        for name in ("bytes", "png_bytes", "webp_bytes", "jpeg_xl_bytes")
    )
    names = ("PNG", "WebP", "JPEG XL")
    ratios = ", ".join(
        f"{ours / other:.3f} of {name}" for name, other in zip(names, others, strict=True)
    )
    return f"All {len(rows)}: {ours:,} bytes, {ratios}."
