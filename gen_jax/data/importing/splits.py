"""Which split a name says: a whole word of it, in any case. What nearly says one is refused, never guessed."""

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
# A word that stands beside a split's, or is written together with it.
BESIDE = (
    "s|sets?|data|dataset|imgs?|images?|pics?|photos?|pictures?|labels?|splits?|parts?|files?|fold"
)
NEAR = re.compile(rf"({'|'.join(ALIASES)})(\d+|{BESIDE}|{'|'.join(ALIASES)})+")
OTHER = {
    "trn": "train",
    "tst": "test",
    **dict.fromkeys(("dev", "devel", "validate", "eval", "evaluation", "holdout"), "validation"),
}
IMAGES, LABELS = ("x", "images", "image", "data"), ("y", "labels", "label", "targets", "target")


def split_of(name: str) -> str | None:
    """The split whose name this is."""
    return ALIASES.get(name.lower())


def nearly(name: str) -> str | None:
    """The split that a name nearly says: in one of its words, run together, by swapped letters, or by another word."""
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
    """The split that a file's name says in one of its words, None for none; InputError where it nearly says one."""
    found = {IDX_ALIASES[word] for word in _words(name) if word in IDX_ALIASES}
    if len(found) > 1:
        raise InputError(f"{name} names several splits: {', '.join(sorted(found))}")
    near = None if found else nearly(name)
    if near:
        raise InputError(
            f"{name} nearly says the split {near}; rename it so that {near} is a word of its own, or none is"
        )
    return found.pop() if found else None


def key_of(name: str) -> tuple[str, bool] | None:
    """(split, whether labels) of an array: `train`, `train_labels`, `x_train`, `y_train`, `train_images`, ..."""
    match name.lower().split("_"):
        case [word] if word in ALIASES:
            return ALIASES[word], False
        case [one, other]:
            for word, role in ((one, other), (other, one)):
                if word in ALIASES and role in (*IMAGES, *LABELS):
                    return ALIASES[word], role in LABELS
    return None


def known_keys() -> Iterable[str]:
    """What arrays may be called, for those who nearly did."""
    for word in ("train", "valid", "validation", "test"):
        yield from (word, f"{word}_labels", f"{word}_images", f"x_{word}", f"y_{word}")


def _words(name: str) -> list[str]:
    """Lower-case letters and digits; a capital after a small letter begins a word too."""
    parted = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    return re.findall(r"[a-z0-9]+", parted.lower())


def _swapped(word: str) -> set[str]:
    """The word with two neighbours exchanged."""
    return {
        word[:i] + word[i + 1] + word[i] + word[i + 2 :] for i in range(len(word) - 1)
    } - {word}  # fmt: skip
