"""Sequence models written once for both forms: the cache, and steps against the parallel form over many blocks."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import CASES, build, conditions, random_events

from gen_jax import MADE, InputError, MADEEnsemble, functional, image
from gen_jax.models.autoregressive import made
from gen_jax.models.autoregressive.base import stepped_params
from gen_jax.models.autoregressive.sequence import Sequence

pytestmark = pytest.mark.usefixtures("x64")
SEQUENCES = {name: case for name, case in CASES.items() if isinstance(case.model, Sequence)}


@pytest.mark.parametrize("case", SEQUENCES.values(), ids=SEQUENCES.keys())
def test_only_steps_have_a_cache(case):
    """Neither `init` nor the parallel form creates a cache; a step refuses a cache that lacks the layers' part."""
    model = case.model
    x, cond = jnp.zeros((2, *model.event.shape), jnp.int32), conditions(model, 2)
    variables = jax.eval_shape(functional(model).init, jax.random.key(0), x, cond)
    assert "cache" not in variables
    _, updated = jax.eval_shape(functools.partial(model.apply, mutable=True), variables, x, cond)
    assert "cache" not in updated
    cache = jax.eval_shape(lambda v: model.apply(v, 2, cond, method="init_cache"), variables)
    step = functools.partial(model.apply, method="step")
    after, _ = jax.eval_shape(step, variables, cache, jnp.zeros((), int))
    assert jax.tree.leaves(cache) == jax.tree.leaves(after)  # shapes and types
    if cache.leaves:
        with pytest.raises(InputError, match="is no cache of"):
            jax.eval_shape(step, variables, cache._replace(leaves={}), jnp.zeros((), int))


@pytest.mark.parametrize("hidden", [(60,), (40, 50)])
def test_made_steps_over_several_blocks(hidden):
    """Outputs are prepared for a block of sites at a time; 35 sites are two blocks and part of a third."""
    model = MADE(image(5, 7, levels=3), hidden=hidden, order_seed=1)
    assert made.BLOCK < model.num_sites < 3 * made.BLOCK
    _, variables = build(model)
    x = random_events(model, 3)
    found = jax.jit(functools.partial(stepped_params, model))(variables, x)
    np.testing.assert_allclose(found, jax.jit(model.apply)(variables, x), rtol=1e-12, atol=1e-12)


def test_each_example_of_an_ensemble_steps_under_its_own_mask():
    model = MADEEnsemble(image(4, 5, levels=2), hidden=(30, 40), num_masks=3)
    _, variables = build(model)
    member, variables = model.bind(variables).given.unbind()
    x, masks = random_events(model, 5).reshape(5, -1), jnp.array([2, 0, 1, 1, 2])
    found = jax.jit(functools.partial(stepped_params, member))(variables, x, masks)
    parallel = jax.jit(member.apply)(variables, x, masks)
    np.testing.assert_allclose(found, parallel, rtol=1e-12, atol=1e-12)
    assert np.abs(parallel - member.apply(variables, x, masks[::-1])).max() > 0.1
