"""Shifted and masked convolutions: windows by loops, the row and site forms, weight normalisation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from gen_jax.models.autoregressive.pixel_cnn_pp import enlarged, pixels, window
from gen_jax.nn.at import Row, Site
from gen_jax.nn.shifted_conv import LeftConv, Project, RowProject, ShiftedConv, Upsample
from gen_jax.ops import shifted_conv
from gen_jax.ops.gates import concat_elu, gated_linear

pytestmark = pytest.mark.usefixtures("x64")
WINDOWS = [(2, 3, 1, 1), (2, 2, 1, 1), (1, 3, 1, 1), (2, 1, 0, 1), (2, 3, 1, 2), (2, 2, 1, 2)]


def normal(seed, *shape):
    return jax.random.normal(jax.random.key(seed), shape, jnp.float64)


@pytest.mark.parametrize(("height", "width", "left", "stride"), WINDOWS)
def test_the_window(height, width, left, stride):
    """y[r, c] = sum_ij x[s r - h + 1 + i, s c - left + j] K[i, j], by loops."""
    x, kernel = np.asarray(normal(0, 2, 4, 6, 3)), np.asarray(normal(1, height, width, 3, 5))
    expected = np.zeros((2, 4 // stride, 6 // stride, 5))
    for r in range(4 // stride):
        for c in range(6 // stride):
            for i in range(height):
                for j in range(width):
                    row, column = stride * r - height + 1 + i, stride * c - left + j
                    if 0 <= row < 4 and 0 <= column < 6:
                        expected[:, r, c] += x[:, row, column] @ kernel[i, j]
    found = shifted_conv.shifted_conv(jnp.asarray(x), jnp.asarray(kernel), left, stride)
    np.testing.assert_allclose(found, expected, atol=1e-12)


def stepper(module, variables):
    """A layer's two step programs, for the start of a row and for a site; each also returns the memory."""

    def step(kind):
        def stepped(memory, place, *x):
            at = kind(*map(jnp.asarray, place), 4, 6)
            return module.apply({**variables, **memory}, *x, at=at, mutable=["cache"])

        return jax.jit(stepped)

    first = lambda row, column, *sides: Site(row, column, jnp.zeros((), int), *sides)  # noqa: E731
    return step(Row), step(first)


@pytest.mark.parametrize(("height", "width", "left", "stride"), [w for w in WINDOWS if w[1] == 3])
def test_rows_of_an_upper_stream_are_the_image(height, width, left, stride):
    module = ShiftedConv(5, height=height, width=width, left=left, stride=stride)
    x = normal(0, 2, 4, 6, 3)
    variables = jax.jit(module.init)(jax.random.key(1), x)
    whole, (at_row, _) = module.apply(variables, x), stepper(module, variables)
    rows = jnp.moveaxis(x, 0, 2)
    memory = jax.tree.map(jnp.zeros_like, at_row({}, (0,), rows[0])[1])
    for r, row in enumerate(rows):
        y, memory = at_row(memory, (r,), row)
        if r % stride == 0:
            np.testing.assert_allclose(jnp.swapaxes(y, 0, 1), whole[:, r // stride], atol=1e-12)


@pytest.mark.parametrize(("height", "width", "left", "stride"), [w for w in WINDOWS if w[1] < 3])
def test_sites_of_a_left_stream_are_the_image(height, width, left, stride):
    """`begin` does not read the row's input; each site then gets the terms of the rows above and of its own row."""
    module = LeftConv(5, height=height, width=width, left=left, stride=stride)
    x = normal(0, 2, 4, 6, 3)
    variables = jax.jit(module.init)(jax.random.key(1), x)
    whole, (begin, at_site) = module.apply(variables, x), stepper(module, variables)
    nothing = jnp.full((6, 2, 3), jnp.nan)
    memory = jax.tree.map(jnp.zeros_like, begin({}, (0,), nothing)[1])
    for r in range(4):
        _, memory = begin(memory, (r,), nothing)
        for c in range(6):
            y, memory = at_site(memory, (r, c), x[:, r, c])
            if r % stride == c % stride == 0:
                np.testing.assert_allclose(y, whole[:, r // stride, c // stride], atol=1e-12)


@pytest.mark.parametrize("width", [2, 3])
def test_upsampling_is_the_cropped_transposed_convolution(width):
    """Width 2: the transposed convolution; width 3: its columns from the second on."""
    x, kernel = normal(0, 2, 3, 4, 5), normal(1, 2, width, 5, 6)
    full = lax.conv_general_dilated(
        x,
        kernel[::-1, ::-1],
        (1, 1),
        ((1, 1), (width - 1, width - 1)),
        lhs_dilation=(2, 2),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    expected = full[:, :6, width - 2 : width - 2 + 8]
    norm = jnp.sqrt(jnp.sum(kernel**2, axis=(0, 1, 2)))
    params = {"direction": kernel, "scale": norm, "bias": jnp.zeros(6)}
    found = Upsample(6, width=width).apply({"params": params}, x)
    np.testing.assert_allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize(
    "module",
    [
        ShiftedConv(5, height=2, width=3, left=1),
        ShiftedConv(5, init_scale=0.1, height=2, width=2, left=1, stride=2),
        Upsample(5, width=3),
        Project(5, init_scale=0.1),
    ],
)
def test_the_first_batch_sets_mean_and_scale(module):
    """Outputs of the initialisation's batch have mean 0 and standard deviation init_scale, every kernel norm |g|."""
    x = 3 + 2 * normal(0, 8, 6, 6, 4)
    variables = module.init(jax.random.key(1), x)
    y = np.asarray(module.apply(variables, x)).reshape(-1, 5)
    np.testing.assert_allclose(y.mean(axis=0), 0.0, atol=1e-9)
    np.testing.assert_allclose(y.std(axis=0), module.init_scale, rtol=1e-6)
    longer = jax.tree.map(lambda leaf: leaf, variables)
    longer["params"]["direction"] = 7 * variables["params"]["direction"]
    np.testing.assert_allclose(np.asarray(module.apply(longer, x)).reshape(-1, 5), y, atol=1e-9)


def test_a_projection_reads_its_row_once():
    """A term read as a whole row in `begin`, plus the input of each site, equals the parallel form."""
    module, term, own = RowProject(4), normal(0, 3, 1, 6, 5), normal(1, 3, 1, 6, 2)
    variables = module.init(jax.random.key(2), term, own)
    whole = module.apply(variables, term, own)
    np.testing.assert_array_equal(Project(4).apply(variables, term, own), whole)
    begin, at_site = stepper(module, variables)
    row = jnp.swapaxes(term[:, 0], 0, 1)
    _, memory = begin({}, (0,), row, jnp.full((6, 3, 2), jnp.nan))
    for c in range(6):
        y, memory = at_site(memory, (0, c), 0 * row, own[:, 0, c])
        np.testing.assert_allclose(y, whole[:, 0, c], atol=1e-12)


def test_concatenated_elu():
    """[elu(x), elu(-x)] and its slope, zero included; the gate multiplies by a sigmoid."""
    x = jnp.array([-3.0, -1e-9, 0.0, 0.5, 40.0])
    plain = lambda x: jax.nn.elu(jnp.concatenate([x, -x]))  # noqa: E731
    np.testing.assert_allclose(concat_elu(x), plain(x), rtol=1e-12)
    np.testing.assert_allclose(jax.jacobian(concat_elu)(x), jax.jacobian(plain)(x), rtol=1e-12)
    np.testing.assert_allclose(gated_linear(jnp.array([2.0, 0.0])), [1.0])


def test_receptive_fields_of_windows():
    image = pixels(4, 4)
    above = window(image, [(-1, 0), (-1, 1)])
    assert not above[0].any()
    assert {tuple(p) for p in np.argwhere(above[2, 3])} == {(1, 3)}
    coarse = window(image, [(-1, 0), (0, 0)], stride=2)
    assert {tuple(p) for p in np.argwhere(coarse[1, 1])} == {(1, 2), (2, 2)}
    fine = enlarged(coarse, also_next_column=True)
    assert np.array_equal(fine[2, 1], coarse[1, 0] | coarse[1, 1])
    assert np.array_equal(fine[3, 2], coarse[1, 1])
