"""The laws of an exact mixture, p(x) = 1/K sum_z p(x | z): every member is an autoregressive mass."""

import math
from collections.abc import Callable, Iterator
from dataclasses import replace

import jax
import numpy as np

from gen_jax.laws.autoregressive import SAME
from gen_jax.laws.row import Row
from gen_jax.laws.subject import Subject

Law = Callable[[Subject], Iterator[Row]]


def of_members(law: Law) -> Law:
    """The law applied to p(x | z), for which it must hold for every z."""

    def rows(s: Subject) -> Iterator[Row]:
        return (replace(row, law=f"{row.law}, given z") for row in law(s.members))

    return rows


def mean(s: Subject) -> Iterator[Row]:
    """log p(x) = log 1/K sum_z p(x | z), computed from log_prob of the members."""
    member, apart = s.members, 0.0
    whole, part = jax.jit(s.pure.log_prob), jax.jit(member.pure.log_prob)
    for x, _, _ in s.chunks(s.every[0], None):
        every = (np.full(len(x), z, np.int32) for z in range(s.model.num_members))
        logs = np.stack([part(member.variables, s.ordered(x, z), cond=z[:, None]) for z in every])
        average = np.logaddexp.reduce(logs.astype(np.float64)) - math.log(len(logs))
        log_prob = np.asarray(whole(s.variables, x), np.float64)
        apart = np.maximum(apart, np.max(np.abs(log_prob - average) / np.maximum(1.0, -average)))
    note = f"{s.model.num_members} members, {len(s.every[0])} real and extreme events"
    yield Row("log_prob is the mean of the members", float(apart), SAME, "relative", note)
