"""What the names of files tell: `--names`, a pattern with named groups, and `--split` as ranges of one of them."""

import re
from dataclasses import dataclass
from pathlib import Path

from gen_jax.data.importing.splits import ORDER, split_of
from gen_jax.errors import InputError, near

LABEL, INDEX = "label", "index"
RANGE = re.compile(r"(\d{1,9})-(\d{1,9})")


@dataclass(frozen=True)
class Names:
    """A pattern for the whole name of a file without its ending, and ranges of its group `index` by split.

    The group `label`, if there is one, is the class of a file.
    """

    pattern: re.Pattern[str]
    ranges: dict[str, range]

    def read(self, path: Path) -> tuple[str, str | None]:
        """Split and class of a file; InputError if its name does not fit."""
        match = self.pattern.fullmatch(path.stem)
        if match is None:
            raise InputError(f"{path} does not match --names {self.pattern.pattern!r}")
        groups = match.groupdict()
        return self._split(path, groups.get(INDEX)), groups.get(LABEL)

    def _split(self, path: Path, index: str | None) -> str:
        if not self.ranges:
            return "train"
        if index is None or not re.fullmatch(r"[0-9]+", index):
            raise InputError(f"{path}: the group index of --names is {index!r}, not a number")
        for split, numbers in self.ranges.items():
            if int(index) in numbers:
                return split
        raise InputError(f"{path}: index {index} is in no range of --split")

    @property
    def notes(self) -> list[str]:
        """A sentence about the ranges, or nothing if there are none."""
        each = [f"{split} {rows[0]} to {rows[-1]}" for split, rows in self.ranges.items()]
        return [f"split by the index in the names: {', '.join(each)}"] * bool(each)


def parse_names(pattern: str | None, split: str | None) -> Names | None:
    """`--names` with the ranges of `--split`, if it has any; None without a pattern. InputError if they do not fit."""
    items = [item.partition("=") for item in (split or "").split(",")]
    ranged = any(RANGE.fullmatch(rule.strip()) for _, _, rule in items)
    if pattern is None:
        if ranged:
            raise InputError(
                f"--split {split}: ranges are of the group index of --names, which is not given"
            )
        return None
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise InputError(f"--names {pattern!r} is not a regular expression: {error}") from error
    groups = compiled.groupindex
    for group in groups:
        if group not in (LABEL, INDEX):
            raise InputError(f"--names: {group!r} is not {LABEL} or {INDEX}{near(group, [LABEL])}")
    if not groups:
        raise InputError(
            f"--names {pattern!r} has neither a group (?P<{LABEL}>...) nor a group (?P<{INDEX}>...)"
        )
    if not ranged:
        return Names(compiled, {})
    if INDEX not in groups:
        raise InputError(f"--split {split}: ranges need a group (?P<{INDEX}>...) in --names")
    return Names(compiled, _ranges([(name.strip(), rule.strip()) for name, _, rule in items]))


def _ranges(items: list[tuple[str, str]]) -> dict[str, range]:
    """`train=10-49,test=0-9` as ranges by split, both ends included; InputError if two overlap."""
    ranges: dict[str, range] = {}
    for name, rule in items:
        split, match = split_of(name), RANGE.fullmatch(rule)
        if split is None:
            raise InputError(
                f"--split: {name!r} is not train, validation or test{near(name, ORDER)}"
            )
        if match is None or int(match[1]) > int(match[2]):
            raise InputError(f"--split: the range of {name} should be like 0-4, not {rule!r}")
        if split in ranges:
            raise InputError(f"--split names {split} twice")
        rows = range(int(match[1]), int(match[2]) + 1)
        for other, there in ranges.items():
            if max(rows[0], there[0]) <= min(rows[-1], there[-1]):
                raise InputError(f"--split: the ranges of {other} and {name} overlap")
        ranges[split] = rows
    return {name: ranges[name] for name in ORDER if name in ranges}
