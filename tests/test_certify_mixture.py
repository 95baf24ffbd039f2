"""Certificates of mixtures: every member obeys the laws of its kind, and the whole is their mean."""

import jax.numpy as jnp
import numpy as np
import pytest
from cases import build, random_events
from families import FAMILIES

from gen_jax import MADEEnsemble
from gen_jax.laws import mixture
from gen_jax.laws.certify import laws_of
from gen_jax.laws.subject import Subject

MODELS = {name: FAMILIES[name] for name in ("ensemble", "orders")}


def subject(model):
    pure, variables = build(model)
    return Subject(pure, variables, np.asarray(random_events(model, 16)), None, 0)


@pytest.mark.parametrize("name", ["ensemble", pytest.param("orders", marks=pytest.mark.slow)])
def test_the_laws_hold(name):
    model = MODELS[name]
    s = subject(model)
    rows = [row for law in laws_of(model) for row in law(s)]
    assert [row for row in rows if not row.passed] == []
    names = {row.law for row in rows}
    assert {"causal, given z", "log_prob is the mean of the members", "code length"} < names


def test_a_mean_of_logarithms_is_caught(monkeypatch):
    mean = lambda self, x, key=None, cond=None: jnp.mean(self.joints(x), axis=1)  # noqa: E731
    monkeypatch.setattr(MADEEnsemble, "log_prob", mean)
    assert not any(row.passed for row in mixture.mean(subject(MODELS["ensemble"])))
