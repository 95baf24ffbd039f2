"""The KL term of the loss and the measures of a posterior: weights, floors, schedule, active units."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cases import random_events
from test_bounds import BOUNDS, all_events, build, quadrature

from gen_jax import InputError, functional
from gen_jax.models.latent.losses import KLTerm
from gen_jax.runs.state import create_state
from gen_jax.train.step import train_step

pytestmark = pytest.mark.usefixtures("x64")


def test_the_weight_of_the_kl_never_reaches_log_prob():
    """beta, annealing and free bits change the loss; bound and samples are bit for bit the same."""
    model = BOUNDS["vae"]
    other = dataclasses.replace(model, kl=KLTerm(7.0, annealing=10, free_bits=3.0, groups=2))
    _, variables = build(model)
    x, key = all_events(model), jax.random.key(0)
    scheduled = {**variables, "schedule": {"step": jnp.zeros((), jnp.int32)}}
    one, two = functional(model), functional(other)

    def numbers(pure):
        bound = jax.jit(functools.partial(pure.log_prob, draws=3))
        sample, loss = jax.jit(pure.sample, static_argnums=2), jax.jit(pure.loss)
        given = variables if pure is one else scheduled
        return bound(given, x, key), sample(given, key, 9), loss(given, x, key)[0]

    first, second = numbers(one), numbers(two)
    np.testing.assert_array_equal(first[0], second[0])
    np.testing.assert_array_equal(first[1], second[1])
    assert second[2] < first[2]  # the weight is 0 at step 0


def test_the_kl_term_by_hand():
    """Groups of consecutive units with a floor each; no gradient below it; a weight that rises and stays."""
    units = jnp.array([0.1, 0.2, 2.0, 1.0])
    assert KLTerm().floored(units) == pytest.approx(3.3)
    assert KLTerm(free_bits=5.0).floored(units) == pytest.approx(5.0)
    term = KLTerm(beta=2.0, annealing=10, free_bits=0.5, groups=2)
    assert term.floored(units) == pytest.approx(0.5 + 3.0)
    np.testing.assert_array_equal(jax.grad(term.floored)(units), [0, 0, 1, 1])
    assert [float(term.weight(t)) for t in (0, 5, 10, 99)] == pytest.approx([0.0, 1.0, 2.0, 2.0])
    assert float(KLTerm(beta=2.0).weight(0)) == 2.0


def test_the_schedule_counts_steps():
    """Steps, not calls of the loss, count (accumulation makes two calls); step t uses the weight after t steps."""
    model = dataclasses.replace(BOUNDS["vae"], kl=KLTerm(annealing=4))
    pure, optimizer, key = functional(model), optax.sgd(0.1), jax.random.key(0)
    batch = {"x": random_events(model, 4), "cond": None}
    state = jax.jit(functools.partial(create_state, pure, optimizer, key))(batch)
    weights = []
    step = jax.jit(
        functools.partial(
            train_step, model=pure, optimizer=optimizer, key=key, ema=0.9, accumulate=2
        )
    )
    for _ in range(6):
        state, metrics = step(state, batch)
        weights.append(float(metrics["kl_weight"]))
    assert weights == pytest.approx([0, 0.25, 0.5, 0.75, 1, 1])
    assert int(state.collections["schedule"]["step"]) == 6


def test_the_diagnosis_by_hand():
    """Population variance of E[z | x] over the data above 0.01; collapse needs a small KL and no active unit."""
    model = BOUNDS["vae"]
    mean = np.array([[0.0, 0.3], [0.1, -0.3], [0.0, 0.3], [0.1, -0.3]])
    measured = {
        "kl": np.array([[0.0], [0.1], [0.0], [0.1]]),
        "reconstruction": np.full(4, 2.0),
        "location": mean,
    }
    scalars, findings = model.diagnosis(measured)
    assert scalars == pytest.approx({"kl": 0.05, "reconstruction": 2.0, "active_units": 1.0})
    assert not findings
    scalars, findings = model.diagnosis({**measured, "location": 0.3 * mean})
    assert scalars["active_units"] == 0
    assert "none of 2 units active" in findings["posterior collapse"]
    assert not model.diagnosis({**measured, "location": 0 * mean, "kl": np.ones((4, 1))})[1]


def test_what_is_measured():
    """KL as by quadrature, E[z | x] of the encoder, reconstruction as the loss has it."""
    model = BOUNDS["vae"]
    _, variables = build(model)
    x = all_events(model)
    measured = model.apply(variables, x, jax.random.key(0), method="measure")
    np.testing.assert_allclose(measured["kl"][:, 0], quadrature("vae")["kl"], atol=1e-8)
    np.testing.assert_array_equal(
        measured["location"], model.apply(variables, x, method="encode")[0]
    )
    assert measured["reconstruction"].shape == (16,)
    assert np.all(np.asarray(measured["reconstruction"]) > 0)


def test_impossible_terms_are_refused():
    with pytest.raises(InputError, match="kl needs"):
        KLTerm(beta=-1.0)
