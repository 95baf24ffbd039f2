"""The laws of `gen_jax.laws`, over every model at seeded random parameters, in float64 and at tight limits."""

import functools

import jax
import numpy as np
import pytest
from cases import CASES, build, conditions, of_systems, random_events
from families import FAMILIES

from gen_jax import MADE
from gen_jax.conditions import conditional
from gen_jax.laws import autoregressive as laws
from gen_jax.laws import diffusion, flow, mixture, staged
from gen_jax.laws.subject import Subject
from gen_jax.models.autoregressive.base import ancestral

pytestmark = pytest.mark.usefixtures("x64")
every_model = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
every_system = pytest.mark.parametrize("case", of_systems())
LIMITS = {
    "all events sum to 1": 1e-10,
    "conditionals sum to 1": 1e-12,
    "log_prob is their sum": 1e-9,
    "step = parallel": 1e-12,
    "log_prob is the mean of the members": 1e-12,
    "round trip": 1e-11,
    "log-determinant": 1e-7,
    "trace": 4.0,  # standard errors
    "chain": 1e-12,
    "terms not below 0": 1e-12,
    "joint sums to 1": 1e-10,
    "bound is one of its terms": 1e-10,
    "no mass outside the views": 1e-10,
}  # of other rows as in a certificate
complete_context = functools.partial(laws.causal, complete=True)


@functools.cache
def subject(model, x64=True, events=16):
    """A model with random parameters, random events and all sites; what it compiles serves all laws."""
    pure, variables = build(model)
    cond = jax.tree.map(np.asarray, conditions(model, events))
    x = np.asarray(random_events(model, events), np.int32)
    return Subject(pure, variables, x, cond, seed=0, random_sites=model.num_sites)


def influence(model, variables):
    """influence[i, j]: the parameters of site i change when the values of site j do, all else bit-identical."""
    s = subject(model)
    s = Subject(s.pure, variables, s.x, s.cond, s.seed, s.random_sites)
    return laws.influence(s).moved.T


def assert_holds(law, model, limits=LIMITS, **options):
    rows = list(law(subject(model, **options)))
    assert rows
    for row in rows:
        assert row.measured <= limits.get(row.law, row.limit), row


@every_model
def test_normalises(case):
    """The probabilities of all events sum to 1, for every class."""
    assert_holds(laws.total, case.model)


@every_model
def test_depends_on_its_context_and_on_nothing_else(case):
    """A site's distribution changes with exactly the sites that `context` declares; none of them is later."""
    declared = np.stack([case.larger.context(site) for site in range(case.larger.num_sites)])
    assert not np.triu(declared).any()
    events = 16
    if isinstance(case.larger, MADE) and not case.larger.direct:
        events = 128  # a path through units that are seldom positive shows in few of them
    assert_holds(complete_context, case.larger, events=events)


@every_system
@pytest.mark.parametrize(
    "law", [laws.normalised, laws.steps, laws.same_draws, laws.martingale, laws.finite]
)
def test_holds(case, law):
    assert_holds(law, case.larger)


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if conditional(case.model)])
def test_depends_on_each_condition(name):
    """On the class and on each other value that it states."""
    for model in (CASES[name].model, CASES[name].larger):
        assert_holds(laws.depends, model)


@every_system
def test_samples_follow_the_density(case):
    """Chi-square of 20,000 samples against the enumerated probabilities."""
    assert_holds(laws.frequencies, case.model)


ORDERS = (
    "nade",
    "made",
    "gated_pixel_cnn_colour",
    "lm_conv",
    "wavenet_mixture_conditional",
    "lstm_text",
)


@pytest.mark.parametrize("name", ORDERS)
def test_completion_keeps_the_known_part(name):
    """Known sites stay bit for bit; the drawn ones equal those of the sampler given the same values."""
    model, n = CASES[name].larger, 4
    variables = subject(model).variables
    x, cond, known = random_events(model, n, 5), conditions(model, n), model.num_sites // 2
    draw = jax.jit(functools.partial(ancestral, model), static_argnums=2)
    first, second = (
        np.asarray(draw(variables, jax.random.key(k), n, cond, 1.0, x, known)) for k in (0, 1)
    )
    kept = model.sites[:known].ravel()
    np.testing.assert_array_equal(
        first.reshape(n, -1)[:, kept], np.asarray(x).reshape(n, -1)[:, kept]
    )
    assert np.any(first != second)
    everything = draw(
        variables, jax.random.key(0), n, cond, 1.0, first.astype(x.dtype), model.num_sites
    )
    np.testing.assert_array_equal(everything, first)


@pytest.mark.parametrize(
    ("name", "law"),
    [
        ("ensemble", mixture.mean),
        ("orders", mixture.mean),
        ("flow", flow.round_trip),
        ("flow", flow.determinant),
        ("image_flow", flow.round_trip),
        ("image_flow", flow.determinant),
        ("glow_points", flow.round_trip),
        ("glow_points", flow.determinant),
        ("glow", flow.round_trip),
        ("glow", flow.determinant),
        ("patch_flow", flow.round_trip),
        ("patch_flow", flow.determinant),
        ("continuous_flow", flow.trace),
        ("attention_flow", flow.determinant),
        ("diffusion", diffusion.chain),
        ("diffusion", diffusion.non_negative),
        ("vdm", diffusion.chain),
        ("vdm", diffusion.non_negative),
        ("stages", staged.joint),
        ("pyramid", staged.joint),
    ],
)
def test_of_a_family_holds(name, law):
    """The laws that are not statistical, up to float64 rounding; the others are tested with the certificates."""
    model = FAMILIES[name]
    pure, variables = build(model)
    shape = (8, *model.event.shape)
    reals = np.random.default_rng(0).normal(size=shape)
    x = reals if model.event.levels is None else np.asarray(random_events(model, 8))
    cond = jax.tree.map(np.asarray, conditions(model, 8))
    for row in law(Subject(pure, variables, x, cond, seed=0)):
        assert row.measured <= LIMITS[row.law], row


@pytest.mark.parametrize("case", of_systems(in_float32=True))
def test_float32_steps_agree_relatively(case):
    """In float32 the two forms agree to the limit of a certificate."""
    with jax.enable_x64(False):
        assert_holds(laws.steps, case.larger, limits={}, x64=False)
