"""Results in words: a number with its sign, error and unit; a diverged training; distances."""

import math
import re
from collections.abc import Mapping
from typing import Any

SIGN = {"exact": "", "bound": "<= ", "estimate": "~ "}
FAR = 2.0  # times the bits of the uniform distribution


def summary(result: dict[str, Any]) -> str:
    """A result in one phrase, with its sign; its distances if it has no likelihood."""
    if result["nats"] is None:
        return distances(result)
    value, nats, bits, stderr = (result[n] for n in ("value", "nats", "bits_per_dim", "stderr"))
    unit, nats_per = result.get("unit", "bits/dim"), result.get("nats_per", "example")
    how = solved(result.get("solver"), result.get("draws"))
    number = figure(value, nats, bits, stderr, unit, nats_per, how)
    where = f"{result['num_examples']} {nats_per}s of {result['dataset']} {result['split']}"
    return f"{number}, {result['value']}, {where}{trained(result)}"


def figure(
    value: str,
    nats: float,
    bits_per_dim: float | None,
    stderr: float | None,
    unit: str,
    nats_per: str = "example",
    how: str = "",
) -> str:
    """A number with its sign, standard error (unknown for one example) and unit; in nats if there are no bits.

    `how` the number was computed, if it is an estimate, stands in brackets. Of pieces: nats per step, the number of
    papers, come first.
    """
    sign, known = SIGN[value], stderr is not None and not math.isnan(stderr)
    error = f"± {stderr:.4f}" if known else "(standard error not known)"
    if bits_per_dim is None:
        return f"{sign}{nats:.4f} {error} {unit}" + (f" ({how})" if how else "")
    if nats_per == "step":
        if stderr is not None and known:
            error = f"± {stderr * nats / bits_per_dim:.4f}"
        return f"{sign}{nats:.4f} {error} nats/step ({sign}{bits_per_dim:.4f} {unit})"
    in_nats = f"{sign}{nats:.2f} nats"
    return f"{sign}{bits_per_dim:.4f} {error} {unit} ({f'{how}; {in_nats}' if how else in_nats})"


def solved(solver: Mapping[str, Any] | None, draws: int | None = None) -> str:
    """The method, tolerance and trace of an ODE solver, and the number of draws; empty without a solver."""
    if solver is None:
        return ""
    tolerance = re.sub(r"e([+-])0", r"e\1", f"{solver['tolerance']:g}")
    trace = "exact trace" if solver["trace"] == "exact" else solver["trace"]
    drawn = [] if draws is None else [f"{draws:,} draw{'s' * (draws > 1)}"]
    return ", ".join([solver["method"], tolerance, trace, *drawn])


def trained(result: Mapping[str, Any]) -> str:
    """ ", trained with flips", after how training examples were changed; empty if they were not."""
    return f", trained with {result['augment']}" if result.get("augment") else ""


def kind_of(result: Mapping[str, Any]) -> str:
    """Whether a number is exact, a bound or an estimate; an estimate with the solver and draws behind it."""
    how = solved(result.get("solver"), result.get("draws"))
    return f"{result['value']} ({how})" if how else result["value"]


def divergence(bits_per_dim: float | None, levels: int | None, unit: str) -> str | None:
    """A sentence if a number exceeds twice the uniform distribution's, log2 of the levels; otherwise None."""
    if bits_per_dim is None or levels is None or bits_per_dim <= FAR * math.log2(levels):
        return None
    return (
        f"{bits_per_dim:.4g} {unit} is far worse than a uniform distribution ({math.log2(levels):.2f}): training"
        " diverged or has hardly begun"
    )


def distances(result: dict[str, Any]) -> str:
    """Both distances of a result, each with that of training examples, and the classifier behind the features."""
    record = result["distances"]
    frechet, kernel, stderr = (record[name] for name in ("frechet", "kernel", "kernel_stderr"))
    train = record["train"]
    return (
        f"Frechet distance {frechet:.3f} (training examples {train['frechet']:.3f}), kernel distance {kernel:.4f} ±"
        f" {stderr:.4f} ({train['kernel']:.4f} ± {train['kernel_stderr']:.4f}), on {record['features']} features,"
        f" {record['samples']:,} samples against {record['examples']:,} of {result['dataset']} {result['split']}"
    )
