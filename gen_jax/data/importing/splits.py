"""Which part of one body of examples becomes train, validation and test."""

import re
from fractions import Fraction

import numpy as np

from gen_jax.data.importing.found import ORDER, SPLIT_NAMES, Part
from gen_jax.errors import InputError, near

DEFAULT = "train=0.9,validation=0.05,test=0.05"
SHARE = re.compile(r"1|0?\.\d{1,9}|\d{1,9}/[1-9]\d{0,8}")


def parse(rule: str) -> dict[str, Fraction]:
    """`train=0.8,validation=0.1,test=0.1` as exact shares that add up to one, in that order of splits."""
    shares = {}
    for item in rule.split(","):
        name, _, share = (word.strip() for word in item.partition("="))
        if name not in SPLIT_NAMES:
            raise InputError(
                f"--split: {name!r} is none of train, validation, test{near(name, SPLIT_NAMES)}"
            )
        if not SHARE.fullmatch(share) or not 0 < Fraction(share) <= 1:
            raise InputError(
                f"--split: the share of {name} should be such as 0.8 or 4/5, not {share!r}"
            )
        if SPLIT_NAMES[name] in shares:
            raise InputError(f"--split names {SPLIT_NAMES[name]} twice")
        shares[SPLIT_NAMES[name]] = Fraction(share)
    if sum(shares.values()) != 1:
        raise InputError(
            f"--split: the shares of {rule!r} add up to {float(sum(shares.values()))}, not 1"
        )
    return {name: shares[name] for name in ORDER if name in shares}


def bounds(count: int, shares: dict[str, Fraction]) -> dict[str, tuple[int, int]]:
    """Contiguous ranges of 0..count, each bound rounded down."""
    ends = [int(count * sum(list(shares.values())[: i + 1])) for i in range(len(shares))]
    return dict(zip(shares, zip([0, *ends], ends, strict=False), strict=True))


def divide(parts: dict[str, Part], rule: str | None) -> tuple[dict[str, Part], list[str]]:
    """Cut train by the rule, by `DEFAULT` where train is all there is; else leave the splits as they are.

    Examples stay in order. Where they have labels each class is cut by itself, so that a set sorted by class
    has all classes in every split.
    """
    if rule is None and set(parts) != {"train"}:
        missing = [name for name in ORDER if name not in parts]
        return parts, [f"no {' and no '.join(missing)} split: the files hold none"] * bool(missing)
    shares = parse(DEFAULT if rule is None else rule)
    if "train" not in parts:
        raise InputError(
            f"--split cuts the training examples, the files hold only {', '.join(parts)}"
        )
    twice = [name for name in shares if name != "train" and name in parts]
    if twice:
        raise InputError(f"--split names {twice[0]}, which the files hold already")
    cut = _cut(parts["train"], shares)
    counts = ", ".join(f"{name} {len(part)}" for name, part in cut.items())
    how = "each class by itself, in order" if parts["train"].labels is not None else "in order"
    why = "by --split" if rule else f"by default ({DEFAULT})"
    rest = {name: part for name, part in parts.items() if name != "train"}
    return cut | rest, [f"{len(parts['train'])} examples are split {why}, {how}: {counts}"]


def _cut(part: Part, shares: dict[str, Fraction]) -> dict[str, Part]:
    labels = np.zeros(len(part), np.int32) if part.labels is None else part.labels
    chosen: dict[str, list[np.ndarray]] = {name: [] for name in shares}
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        for name, (start, stop) in bounds(len(members), shares).items():
            chosen[name].append(members[start:stop])
    cut = {name: part.take(np.sort(np.concatenate(groups))) for name, groups in chosen.items()}
    for name in cut:
        if not len(cut[name]):
            raise InputError(
                f"{part.origins[0]}: {len(part)} examples are too few, split {name} would be empty;"
                " give other shares with --split"
            )
    return cut
