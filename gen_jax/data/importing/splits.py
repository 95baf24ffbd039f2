"""Which split a name tells: one of its words, in upper or lower case. A name that is nearly one is refused."""

import re
from collections.abc import Iterable

from gen_jax.errors import InputError

ORDER = ("train", "validation", "test")
ALIASES = {
    "train": "train",
    "training": "train",
    "valid": "validation",
    "val": "validation",
    "validation": "validation",
    "test": "test",
    "testing": "test",
}
IDX_ALIASES = {**ALIASES, "t10k": "test"}
# Words that often follow a split's name without a space.
SUFFIXES = (
    "s|sets?|data|dataset|imgs?|images?|pics?|photos?|pictures?|labels?|splits?|parts?|files?|fold"
)
NEAR = re.compile(rf"({'|'.join(ALIASES)})(\d+|{SUFFIXES}|{'|'.join(ALIASES)})+")
OTHER = {
    "trn": "train",
    "tst": "test",
    **dict.fromkeys(("dev", "devel", "validate", "eval", "evaluation", "holdout"), "validation"),
}
IMAGES, LABELS = ("x", "images", "image", "data"), ("y", "labels", "label", "targets", "target")


def split_of(name: str) -> str | None:
    """The split with this name or alias, or None."""
    return ALIASES.get(name.lower())


def nearly(name: str) -> str | None:
    """The split that a name nearly tells: in one of its words, run together, with swapped letters, or by a synonym."""
    for word in _words(name):
        written = NEAR.fullmatch(word)
        if word in ALIASES:
            return ALIASES[word]
        if written:
            return ALIASES[written[1]]
        if word in OTHER:
            return OTHER[word]
        for alias, split in ALIASES.items():
            if word in _swapped(alias):
                return split
    return None


def split_in(name: str) -> str | None:
    """The split that a word of a file's name tells, or None; InputError if it nearly tells one."""
    splits = {IDX_ALIASES[word] for word in _words(name) if word in IDX_ALIASES}
    if len(splits) > 1:
        raise InputError(f"{name} names several splits: {', '.join(sorted(splits))}")
    near = None if splits else nearly(name)
    if near:
        raise InputError(
            f"{name} looks like the split {near}; rename it so that {near} is a separate word, or no part of it"
        )
    return splits.pop() if splits else None


def key_of(name: str) -> tuple[str, bool] | None:
    """(split, whether labels) of an array: `train`, `train_labels`, `x_train`, `y_train`, `train_images`, ..."""
    match name.lower().split("_"):
        case [word] if word in ALIASES:
            return ALIASES[word], False
        case [left, right]:
            for word, role in ((left, right), (right, left)):
                if word in ALIASES and role in (*IMAGES, *LABELS):
                    return ALIASES[word], role in LABELS
    return None


def known_keys() -> Iterable[str]:
    """Possible names of arrays, for suggestions."""
    for word in ("train", "valid", "validation", "test"):
        yield from (word, f"{word}_labels", f"{word}_images", f"x_{word}", f"y_{word}")


def _words(name: str) -> list[str]:
    """The words of a name in lower case: letters and digits; a capital after a small letter begins a word."""
    parted = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    return re.findall(r"[a-z0-9]+", parted.lower())


def _swapped(word: str) -> set[str]:
    """All words that differ by a swap of two neighbouring letters."""
    return {
        word[:i] + word[i + 1] + word[i] + word[i + 2 :] for i in range(len(word) - 1)
    } - {word}  # fmt: skip
