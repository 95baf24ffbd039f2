"""Which data the devices send each other in a compiled program, read from its text (XLA's HLO)."""

import math
import re
from collections.abc import Iterator
from typing import NamedTuple

KINDS = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")
COMPUTATION = re.compile(r"^(ENTRY )?%?(\S+) .*\{$")
COLLECTIVE = re.compile(rf"= (.*?) ({'|'.join(KINDS)})(-start)?\(")
CALLED = re.compile(
    r"(?:body|condition|to_apply|calls|\w+_computations?)=\{?(%[^\s,}]+(?:, %[^\s,}]+)*)"
)
CHANNEL = re.compile(r"channel_id=(\d+)")
CONSTANT = re.compile(r"(%\S+) = \w+\[\]\S* constant\((\d+)\)")
TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"')


class Collective(NamedTuple):
    """One instruction: `bytes` of the whole array, in a `group` of so many devices, `times` in a run of the program."""

    kind: str
    bytes: int
    group: int
    times: int

    @property
    def sent(self) -> float:
        """Bytes that each device sends in all, if the group is a ring; an all-reduce goes round twice."""
        rounds = {"all-reduce": 2.0, "collective-permute": self.group / (self.group - 1)}
        return self.times * self.bytes * rounds.get(self.kind, 1.0) * (self.group - 1) / self.group


def collectives(text: str, devices: int) -> list[Collective]:
    """The collectives of a program of so many devices; those of one device with itself are none.

    A loop whose number of rounds XLA does not know counts once. An all-reduce of which each device keeps a part (the
    fusion `all-reduce-scatter` of TPUs) is a reduce-scatter. The other fusions are parts of asynchronous instructions:
    those that have a channel in common count once.
    """
    bodies = dict(_computations(text))
    times, fused = _times(bodies), _fused(bodies)
    found: dict[str, Collective] = {}
    for name, lines in bodies.items():
        for line in lines if times[name] else ():
            match = COLLECTIVE.search(line)
            group = _group(line, devices)
            if not match or group == 1:
                continue
            kind, size = match[2], _bytes(match[1])
            if match[3] and kind == "all-gather":  # its operand is beside its result
                size = size * group // (group + 1)
            elif match[3] and kind == "collective-permute":
                size //= 2
            elif kind == "reduce-scatter":
                size *= group
            channel, part = CHANNEL.search(line), name in fused
            if name.startswith("all-reduce-scatter"):
                kind, part = "reduce-scatter", False
            key = f"{kind} {channel[1]}" if channel and part else f"{name} {line}"
            found[key] = Collective(kind, size, group, times[name])
    return list(found.values())


def totals(found: list[Collective]) -> dict[str, dict[str, int]]:
    """By kind: how many in a step, their bytes, and the bytes that each device sends."""
    rows = {}
    for kind in KINDS:
        of = [one for one in found if one.kind == kind]
        if of:
            rows[kind] = {
                "count": sum(one.times for one in of),
                "bytes": sum(one.times * one.bytes for one in of),
                "sent": round(sum(one.sent for one in of)),
            }
    return rows


def _computations(text: str) -> Iterator[tuple[str, list[str]]]:
    """Name and lines of each computation; that of the program itself is ENTRY."""
    name, lines = "", []
    for line in text.splitlines():
        if match := COMPUTATION.match(line):
            name, lines = "ENTRY" if match[1] else match[2].lstrip("%"), []
        elif line.startswith("}") and name:
            yield name, lines
            name = ""
        elif name:
            lines.append(line)


def _times(bodies: dict[str, list[str]]) -> dict[str, int]:
    """How often each computation runs."""
    callers: dict[str, list[tuple[str, int]]] = {}
    for name, lines in bodies.items():
        for line in lines:
            for called in _called(line):
                callers.setdefault(called, []).append((name, _trips(line, bodies)))
    known = {"ENTRY": 1}

    def of(name: str) -> int:
        if name not in known:
            known[name] = sum(times * of(caller) for caller, times in callers.get(name, []))
        return known[name]

    return {name: of(name) for name in bodies}


def _called(line: str) -> list[str]:
    return [one.strip("%") for names in CALLED.findall(line) for one in names.split(", ")]


def _trips(line: str, bodies: dict[str, list[str]]) -> int:
    """The rounds of a loop, by XLA's word or, where it counts from 0 to a constant, by its condition; otherwise 1."""
    if " while(" not in line:
        return 1
    if known := TRIPS.search(line):
        return int(known[1])
    condition = re.search(r"condition=%([^\s,]+)", line)
    *lines, root = bodies.get(condition[1], [""]) if condition else [""]
    compared = re.findall(r"%[^\s,)]+", root.partition("compare(")[2])
    bounds = (CONSTANT.search(one) for one in lines if "direction=LT" in root)
    return next((int(bound[2]) for bound in bounds if bound and bound[1] in compared), 1)


def _fused(bodies: dict[str, list[str]]) -> set[str]:
    """The computations of fusions."""
    lines = (line for lines in bodies.values() for line in lines if " fusion(" in line)
    return {called for line in lines for called in _called(line)}


def _bytes(shape: str) -> int:
    sizes = re.findall(r"(\w+)\[([\d,]*)\]", shape)
    return sum(
        _width(name) * math.prod(int(n) for n in axes.split(",") if n) for name, axes in sizes
    )


def _width(name: str) -> int:
    """Bytes of a type, such as f32 or pred."""
    bits = re.search(r"\d+$", name)
    return max(1, int(bits[0]) // 8) if bits else 1


def _group(line: str, devices: int) -> int:
    """How many devices take part together, in any of the forms in which XLA writes it."""
    if match := re.search(r"replica_groups=\{\{([\d,]+)\}", line):
        return len(match[1].split(","))
    if match := re.search(r"replica_groups=\[\d+,(\d+)\]", line):
        return int(match[1])
    if match := re.search(r"replica_groups=mesh\[(.*?)\] \{(.*?)\}", line):
        sizes = dict(re.findall(r"'(\w+)'=(\d+)", match[1]))
        return math.prod(int(sizes[name]) for name in re.findall(r"'(\w+)'", match[2]))
    return devices
