"""Omniglot from a few drawings: every container, the held-out drawers, damage."""

import zipfile
from pathlib import Path

import numpy as np
import pytest
from originals import RNG, assert_split, npz, originals, png, prepare, refusal_of

from gen_jax import image
from gen_jax.data.builders import BUILDERS

DRAWN = {
    "background": RNG.integers(0, 2, (3 * 20, 105, 105), np.uint8),
    "evaluation": RNG.integers(0, 2, (20, 105, 105), np.uint8),
}
CHARACTERS = {
    "background": ["Greek/character01", "Greek/character02", "Latin/character01"],
    "evaluation": ["Manipuri/character07"],
}


def omniglot_source(kind: str, folder: Path) -> Path:
    if kind == "npz":
        return npz(folder / "x.npz", **DRAWN)
    if kind == "packed":
        bits = {k: np.packbits(a.reshape(len(a), -1), axis=1) for k, a in DRAWN.items()}
        return npz(folder / "x.npz", **{f"{k}_packed": a for k, a in bits.items()})
    for key, characters in CHARACTERS.items():
        for i in reversed(range(len(DRAWN[key]))):  # the order of the names counts, not this
            content = png(DRAWN[key][i] == 0)  # paper is white
            name = f"images_{key}/{characters[i // 20]}/{900 - i // 20:04}_{i % 20 + 1:02}.png"
            if kind == "folders":
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (folder / name).write_bytes(content)
            else:
                with zipfile.ZipFile(folder / f"images_{key}.zip", "a") as archive:
                    archive.writestr(name, content)
    return folder


@pytest.mark.parametrize("kind", ["npz", "packed", "folders", "zips"])
def test_omniglot_holds_out_drawers_19_and_20(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(BUILDERS["omniglot"], "ORIGINALS", originals(DRAWN))
    prepare("omniglot", tmp_path / "data", omniglot_source(kind, tmp_path))
    drawer = np.arange(60) % 20 + 1
    for name, expected in (
        ("train", DRAWN["background"][drawer <= 18]),
        ("validation", DRAWN["background"][drawer >= 19]),
        ("test", DRAWN["evaluation"]),
    ):
        split = assert_split("omniglot", name, tmp_path / "data", expected)
    assert (split.event, split.labels) == (image(105, 105, levels=2), None)


def test_damaged_omniglot_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(BUILDERS["omniglot"], "ORIGINALS", originals(DRAWN))
    source, data = omniglot_source("folders", tmp_path / "o"), tmp_path / "data"
    one = source / "images_background" / "Latin" / "character01" / "0898_20.png"
    content = one.read_bytes()
    one.write_bytes(content[:20])
    assert f"{source / 'images_background'} cannot be read" in refusal_of("omniglot", data, source)
    one.unlink()
    assert "has 59 drawings, not 60" in refusal_of("omniglot", data, source)
    one.write_bytes(png(np.zeros((105, 105), bool)))
    assert "images_background is not the published" in refusal_of("omniglot", data, source)
