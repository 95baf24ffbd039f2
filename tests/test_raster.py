"""Layers of pixel-by-pixel models in their two forms, and the memory that stepping keeps."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import CASES, build, conditions

from gen_jax.errors import InputError
from gen_jax.models.autoregressive.gated_pixel_cnn import VerticalConv
from gen_jax.models.autoregressive.raster import Raster
from gen_jax.nn.at import Row, Site
from gen_jax.nn.causal_conv import HorizontalConv
from gen_jax.nn.masked_conv import MaskedConv

pytestmark = pytest.mark.usefixtures("x64")
H, W = 4, 5
RASTER = [
    name for name, case in CASES.items() if isinstance(case.model, Raster) and not case.option
]


def normal(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape))


def both_forms(module, x, groups, strict):
    """The outputs at all sites at once, and one site after the other; and how they depend on x at (0, 2, 2)."""
    variables = jax.tree.map(lambda leaf: normal(3, *leaf.shape), module.init(jax.random.key(1), x))
    whole = module.apply(variables, x)
    pixels = x.reshape(len(x), H * W, -1)

    @jax.jit
    def step(memory, site):
        pixel, group = site // groups, site % groups
        at = Site(pixel // W, pixel % W, group, H, W)
        own = pixels[:, pixel]
        parts = own.reshape(len(x), groups, -1)
        if strict:  # as far as it is written
            written = jnp.where(jnp.arange(groups)[:, None] < group, parts, 0).reshape(own.shape)
            before = jnp.where(pixel > 0, pixels[:, pixel - 1], 0)
            entering = jnp.where(group == 0, before, written)
        else:
            entering = parts[:, group]
        y, new = module.apply({**variables, **memory}, entering, at, mutable=["cache"])
        return new, y

    @jax.jit
    def begin(memory, row):
        before = jnp.moveaxis(jnp.where(row > 0, x[:, row - 1], 0), 0, 1)
        at = Row(row, H, W)
        return module.apply({**variables, **memory}, before, at, mutable=["cache"])[1]

    memory, _ = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), jax.eval_shape(step, {}, 0))
    stepped = []
    for site in range(H * W * groups):
        if site % (W * groups) == 0:
            memory = begin(memory, site // (W * groups))
        memory, y = step(memory, site)
        stepped.append(y)
    stepped = jnp.stack(stepped, axis=1).reshape(len(x), H, W, -1)
    jacobian = jax.jacobian(lambda x: module.apply(variables, x)[0, 2, 2])(x)[:, 0]
    return whole, stepped, np.asarray(jacobian) != 0


@pytest.mark.parametrize(("groups", "strict"), [(1, True), (1, False), (3, True), (3, False)])
@pytest.mark.parametrize("kind", ["masked", "horizontal"])
def test_a_convolution_is_masked_and_steps(kind, groups, strict):
    """Gradients vanish where the mask is closed and nowhere else; site by site it gives the same."""
    layer, size = {"masked": (MaskedConv, 3), "horizontal": (HorizontalConv, 2)}[kind]
    module = layer(6, size, groups, strict)
    whole, stepped, read = both_forms(module, normal(0, 2, H, W, 3), groups, strict)
    for output, inputs in enumerate(read):
        expected = np.zeros((H, W, 3), bool)
        expected[1, 1:4] = kind == "masked"
        expected[2, 1] = True
        own = np.arange(3) if groups == 3 else np.zeros(3, int)
        group = output // 2 if groups == 3 else 0
        expected[2, 2] = own < group if strict else own <= group
        np.testing.assert_array_equal(inputs, expected)
    np.testing.assert_allclose(stepped, whole, atol=1e-12)


@pytest.mark.parametrize("strict", [True, False])
def test_a_convolution_over_rows_steps(strict):
    module, x = VerticalConv(4, 2, 3, strict), normal(0, 2, H, W, 3)
    variables = module.init(jax.random.key(1), x)
    whole, memory = module.apply(variables, x), {"cache": {"rows": jnp.zeros((1, W, 2, 3))}}
    rows = jnp.moveaxis(x, 0, 2)
    for row in range(H):
        entering = rows[row - strict] if row or not strict else jnp.zeros_like(rows[0])
        at = Row(jnp.array(row), H, W)
        y, memory = module.apply({**variables, **memory}, entering, at, mutable=["cache"])
        np.testing.assert_allclose(jnp.swapaxes(y, 0, 1), whole[:, row], atol=1e-12)


@pytest.mark.parametrize("name", RASTER)
def test_only_stepping_has_a_memory(name):
    """Neither `init` nor the parallel form creates a cache; a step keeps its shapes and types."""
    model = CASES[name].model
    x, cond = jnp.zeros((2, *model.event.shape), jnp.int32), conditions(model, 2)
    made = jax.eval_shape(model.init, jax.random.key(0), x, cond)
    assert "cache" not in made

    def stepped(variables):
        begun = model.apply(variables, 2, cond, method="init_cache")
        after, _ = model.apply(variables, begun, jnp.array(0), method="step")
        return begun, after

    begun, after = jax.eval_shape(stepped, made)
    assert begun == after


@pytest.mark.parametrize("part", ["memory", "terms"])
def test_a_step_refuses_a_cache_without_a_part(part):
    """A layer without its memory is refused: it would silently start again at every site."""
    model = CASES["gated_pixel_cnn"].model
    _, variables = build(model)
    cache = model.apply(variables, 2, method="init_cache")
    absent = cache._replace(**{part: type(getattr(cache, part))()})
    with pytest.raises(InputError, match="no cache of GatedPixelCNN"):
        model.apply(variables, absent, jnp.array(0), method="step")
