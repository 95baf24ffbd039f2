"""Each device has the whole of a kernel or table before its data meet it: `gathered`, in the loss of every model.

Otherwise XLA splits the activations as it splits the parameter, and gathers those of all layers.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
import pytest
from cases import CASES
from families import FAMILIES
from jax.extend.core import Jaxpr, Literal
from test_bits_back import MODELS as LATENT
from test_devices import KEY, mesh_of

from gen_jax import functional, sharding
from gen_jax.conditions import zeros
from gen_jax.ops.convolution import gathered
from gen_jax.runs.state import create_state

MODELS = {name: case.larger for name, case in CASES.items()} | FAMILIES | LATENT


class Of(NamedTuple):
    """What a value is computed from: a parameter that is not gathered yet, and the data."""

    part: bool = False
    data: bool = False


def either(*ofs):
    return Of(any(of.part for of in ofs), any(of.data for of in ofs))


def followed(jaxpr, ofs, found):
    """What the results are computed from; `found` gets the equations where parts of a parameter meet data."""
    known = dict(zip(jaxpr.invars, ofs, strict=True))
    for eqn in jaxpr.eqns:
        inputs = [Of() if isinstance(v, Literal) else known.get(v, Of()) for v in eqn.invars]
        # A vector is too small to be split.
        inputs = [
            Of(of.part and v.aval.ndim > 1, of.data)
            for of, v in zip(inputs, eqn.invars, strict=True)
        ]
        known |= zip(eqn.outvars, results(eqn, inputs, found), strict=True)
    return [Of() if isinstance(v, Literal) else known.get(v, Of()) for v in jaxpr.outvars]


def results(eqn, inputs, found):
    name, params = eqn.primitive.name, eqn.params
    if name == "sharding_constraint":
        return [Of(False, inputs[0].data)]
    if name == "scan":
        return rounds(params["jaxpr"].jaxpr, params["num_consts"], params["num_carry"], inputs, found)  # fmt: skip
    if name == "while":
        inputs = inputs[params["cond_nconsts"] :]
        first = params["body_nconsts"]
        return rounds(params["body_jaxpr"].jaxpr, first, len(inputs) - first, inputs, found)
    if name == "cond":
        each = [followed(branch.jaxpr, inputs[1:], found) for branch in params["branches"]]
        return [either(*ofs) for ofs in zip(*each, strict=True)]
    for body in (getattr(param, "jaxpr", param) for param in params.values()):
        if not isinstance(body, Jaxpr):
            continue
        if len(body.invars) == len(inputs) and len(body.outvars) == len(eqn.outvars):
            return followed(body, inputs, found)
    of = either(*inputs)
    if of.part and of.data:
        found.append(f"{name} of {', '.join(v.aval.str_short() for v in eqn.invars)}")
    return [Of(of.part and not of.data, of.data)] * len(eqn.outvars)


def rounds(body, consts, carried, inputs, found):
    """A loop: what its carry is computed from grows until it stays."""
    before, carry, rows = inputs[:consts], inputs[consts : consts + carried], inputs[consts + carried :]  # fmt: skip
    while True:
        outputs = followed(body, [*before, *carry, *rows], found)
        after = [either(*pair) for pair in zip(carry, outputs[:carried], strict=True)]
        if after == carry:
            return outputs
        carry = after


def met(loss, params, others, *data):
    """The equations of a loss in which parts of a parameter meet data."""
    args = (params, others, *data)
    jaxpr = jax.make_jaxpr(sharding.over(mesh_of(8, 8), loss))(*args).jaxpr
    counts = [len(jax.tree.leaves(arg)) for arg in args]
    ofs = [Of(True, False)] * counts[0] + [Of()] * counts[1] + [Of(False, True)] * sum(counts[2:])
    found = []
    followed(jaxpr, ofs, found)
    return sorted(set(found))


@pytest.mark.parametrize("name", MODELS)
def test_parameters_are_whole_where_they_meet_data(name):
    model = MODELS[name]
    pure = functional(model)
    dtype = jnp.float32 if model.event.levels is None else jnp.int32
    x = jax.ShapeDtypeStruct((2, *model.event.shape), dtype)
    cond = jax.eval_shape(lambda: zeros(model, 2))
    create = functools.partial(create_state, pure, optax.identity(), KEY)
    state = jax.eval_shape(create, {"x": x, "cond": cond})

    def loss(params, others, x, cond, key):
        return pure.loss({"params": params, **others}, x, key, cond=cond)[0]

    assert met(loss, state.params, state.collections, x, cond, KEY) == []


@pytest.mark.parametrize("whole", [True, False])
def test_a_table_that_is_read_in_parts_is_found(whole):
    """In a loop, and below a function that is computed again for the gradient."""

    @jax.checkpoint
    def rows(table, x):
        return (gathered(table) if whole else 2 * table)[x]

    def loss(table, others, x):
        return jax.lax.scan(lambda total, x: (total + rows(table, x), None), jnp.zeros(3), x)[0]

    found = met(loss, jnp.zeros((2, 3)), (), jnp.zeros(4, int))
    assert found == ([] if whole else ["dynamic_slice of float32[2,3], int32[], int32[]"])
