"""Files that no import should take, each with one fault, and `good.npz`."""

import gzip
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
from originals import grey, idx, save_png
from PIL import Image

from gen_jax.data.png import SIGNATURE

EYE = np.eye(3, dtype=np.uint8)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def raw_png(side: int, depth: int, colour: int, packed: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", side, side, depth, colour, 0, 0, 0)
    pixels = chunk(b"IDAT", zlib.compress(packed))
    return SIGNATURE + chunk(b"IHDR", header) + pixels + chunk(b"IEND", b"")


def npz_files(folder: Path) -> None:
    arrays = {
        "other": {"images": EYE},
        "typo": {"train": EYE, "tset": EYE},
        "twice": {"valid": EYE, "validation": EYE},
        "float": {"train": EYE, "test": EYE.astype(np.float32)},
        "nan": {"train": np.full((2, 2), np.nan)},
        "words": {"train": np.array([["a"]])},
        "object": {"train": np.array([[1, None]], object)},
        "scalar": {"train": np.array(3)},
        "empty": {"train": EYE[:0]},
        "negative": {"train": EYE, "valid": EYE.astype(int) - 1},
        "high": {"train": EYE, "test": EYE * 200},
        "wide": {"train": EYE.astype(int) * 256},
        "shapes": {"train": EYE, "test": EYE[:, :2]},
        "short": {"train": EYE, "train_labels": [0, 1]},
        "minus": {"train": EYE, "train_labels": [0, 1, -1]},
        "half": {"train": EYE, "train_labels": [0, 0.5, 1]},
        "some": {"train": EYE, "train_labels": [0, 1, 1], "test": EYE},
        "lonely": {"train": EYE, "test_labels": [0, 1, 1]},
        "few": {"train": EYE},
        "good": {"train": EYE, "test": EYE},
        "images": {"test": grey(2)},
    }
    for name, content in arrays.items():
        np.savez(folder / f"{name}.npz", **content)
    (folder / "cut.npz").write_bytes((folder / "good.npz").read_bytes()[:-30])
    with zipfile.ZipFile(folder / "noarray.npz", "w") as archive:
        archive.writestr("train", "no array")


def png_files(folder: Path) -> None:
    pixels = grey(1, 6, 6)[0]
    colour = np.stack([pixels] * 3, 2)
    good = save_png(folder / "plain" / "a.png", pixels).read_bytes()
    for name in (
        "sizes",
        "mixed",
        "bits",
        "notpng",
        "text",
        "cutpng",
        "crc",
        "bomb",
        "large",
        "wide16",
    ):
        save_png(folder / name / "a.png", pixels)
    save_png(folder / "sizes" / "b.png", grey(1, 6, 7)[0])
    save_png(folder / "mixed" / "b.png", colour)
    save_png(folder / "bits" / "b.png", pixels > 100)
    Image.fromarray(pixels).save(folder / "notpng" / "b.png", format="BMP")
    (folder / "text" / "notes.md").write_text("text")
    (folder / "cutpng" / "b.png").write_bytes(good[:-20])
    at = good.index(b"IDAT") + 8
    (folder / "crc" / "b.png").write_bytes(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :])
    (folder / "bomb" / "b.png").write_bytes(raw_png(60_000, 8, 0, b"\0" * 9))
    (folder / "large" / "b.png").write_bytes(raw_png(10_000, 8, 0, b"\0" * 9))
    for name, level in (("a", 0), ("b", 200), ("c", 0)):
        save_png(folder / "bright" / f"{name}.png", np.full((2, 2), level, np.uint8))
    (folder / "wide16" / "b.png").write_bytes(raw_png(2, 16, 0, b"\0" * 10))
    (folder / "rgb16").mkdir()
    (folder / "rgb16" / "a.png").write_bytes(raw_png(2, 16, 2, b"\0" * 26))
    (folder / "little").mkdir()
    (folder / "little" / "a.png").write_bytes(raw_png(6, 8, 0, b"\0" * 20))
    (folder / "grey2").mkdir()
    (folder / "grey2" / "a.png").write_bytes(raw_png(4, 2, 0, b"\0\x1b" * 4))
    (folder / "grey2" / "b.png").write_bytes(good)
    for mode in ("P", "LA", "RGBA"):
        (folder / mode).mkdir()
        Image.fromarray(colour).convert(mode).save(folder / mode / "a.png")
    (folder / "clear").mkdir()
    Image.fromarray(pixels).save(folder / "clear" / "a.png", transparency=3)
    frames = [Image.fromarray(pixels), Image.fromarray(255 - pixels)]
    (folder / "moving").mkdir()
    frames[0].save(folder / "moving" / "a.png", save_all=True, append_images=frames[1:])
    for place in ("beside/train/a", "beside/other/a", "loose/train/a", "loose/b", "deep/x/y/a"):
        save_png(folder / f"{place}.png", pixels)
    for place in ("files/x/a", "files/b", "partly/train/x/a", "partly/test/a"):
        save_png(folder / f"{place}.png", pixels)
    (folder / "hollow" / "class").mkdir(parents=True)
    (folder / "empty").mkdir()
    (folder / "hidden").mkdir()
    (folder / "hidden" / ".a.png").write_bytes(good)
    (folder / "odd").mkdir()
    (folder / "odd" / "a.jpg").write_bytes(b"")


def other_files(folder: Path) -> None:
    images, labels = idx(grey(3)), idx(np.arange(3))
    (folder / "idx").mkdir()
    for name, content in {
        "magic": b"\0\1\x08\3" + images[4:],
        "type": idx(grey(3), kind=0x0D),
        "cut": images[:-1],
        "long": images + b"\0",
        "huge": images[:4] + b"\xff" * 12,
        "sides": images[:9],
        "one": images,
        "other": images,
        "labels": labels,
        "train-labels-idx1-ubyte": images,
        "fewer": idx(np.arange(2)),
    }.items():
        (folder / "idx" / f"{name}.idx").write_bytes(content)
    packed = gzip.compress(images)
    (folder / "damaged.gz").write_bytes(packed[:-12] + bytes([packed[-12] ^ 1]) + packed[-11:])
    (folder / "cut.gz").write_bytes(packed[:-3])
    (folder / "text.gz").write_bytes(gzip.compress(b"plain text"))
    (folder / "idxplus").mkdir()
    (folder / "idxplus" / "a.idx").write_bytes(images)
    (folder / "idxplus" / "readme").write_text("text")
    for place, content in {
        "c10/data_batch_1.bin": bytes(3073),
        "c10/test_batch.bin": bytes(3072),
        "c100/train.bin": bytes(3074) + bytes([19, 100]) + bytes(3072),
        "c100/test.bin": b"",
        "cx/data.bin": bytes(3073),
        "again/data_batch_1.bin": bytes(3073),
    }.items():
        (folder / place).parent.mkdir(exist_ok=True)
        (folder / place).write_bytes(content)
    (folder / "a.txt").write_text("to be or not to be")
    (folder / "b.txt").write_text("b")
    (folder / "empty.txt").write_text("")
    (folder / "a.doc").write_text("what")
