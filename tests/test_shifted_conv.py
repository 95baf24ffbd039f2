"""Shifted and masked convolutions: windows by loops, the row and site forms, weight normalisation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from gen_jax.nn.shifted_conv import Project, ShiftedConv, Upsample
from gen_jax.ops import reach, shifted_conv
from gen_jax.ops.gates import concat_elu, gated_linear

pytestmark = pytest.mark.usefixtures("x64")
WINDOWS = [(2, 3, 1, 1), (2, 2, 1, 1), (1, 3, 1, 1), (2, 1, 0, 1), (2, 3, 1, 2), (2, 2, 1, 2)]


def normal(seed, *shape):
    return jax.random.normal(jax.random.key(seed), shape, jnp.float64)


def columns_first(x, left, right):
    """Rows of an image (B, H, W, F) as (H, W padded, B, F)."""
    return jnp.pad(jnp.transpose(x, (1, 2, 0, 3)), ((0, 0), (left, right), (0, 0), (0, 0)))


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


@pytest.mark.parametrize(("height", "width", "left", "stride"), WINDOWS)
def test_rows_and_sites_are_the_image(height, width, left, stride):
    """The share of the rows above and the own row add up to the parallel form."""
    module = ShiftedConv(5, height=height, width=width, left=left, stride=stride)
    x = normal(0, 2, 4, 6, 3)
    variables = jax.jit(module.init)(jax.random.key(1), x)
    whole = module.apply(variables, x)
    above_of = jax.jit(lambda *rows: module.apply(variables, *rows, method="above"))
    site_of = jax.jit(lambda window: module.apply(variables, window, method="site"))
    rows = columns_first(x, left, width - 1 - left)
    zeros = jnp.zeros_like(rows[:1])
    rows = jnp.concatenate([zeros, rows])
    for r in range(4 // stride):
        window = rows[stride * r + 2 - height : stride * r + 2]
        row = above_of(*window)
        np.testing.assert_allclose(jnp.swapaxes(row, 0, 1), whole[:, r], atol=1e-12)
        above = above_of(*window[:-1], 0 * window[-1])
        for c in range(6 // stride):
            own = window[-1][stride * c : stride * c + width]
            site = above[c] + site_of(own)
            np.testing.assert_allclose(site, whole[:, r, c], atol=1e-12)


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
    found = shifted_conv.interleave(shifted_conv.upsample(x, kernel))
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


def test_projection_splits_into_parts():
    module, one, two = Project(4), normal(0, 3, 5), normal(1, 3, 2)
    variables = module.init(jax.random.key(2), one, two)
    whole = module.apply(variables, one, two)
    parts = module.apply(variables, one, 0, 7, method="part")
    parts = parts + module.apply(variables, two, 5, 7, bias=False, method="part")
    np.testing.assert_allclose(parts, whole, atol=1e-12)


def test_concatenated_elu():
    """[elu(x), elu(-x)] and its slope, zero included; the gate multiplies by a sigmoid."""
    x = jnp.array([-3.0, -1e-9, 0.0, 0.5, 40.0])
    plain = lambda x: jax.nn.elu(jnp.concatenate([x, -x]))  # noqa: E731
    np.testing.assert_allclose(concat_elu(x), plain(x), rtol=1e-12)
    np.testing.assert_allclose(jax.jacobian(concat_elu)(x), jax.jacobian(plain)(x), rtol=1e-12)
    np.testing.assert_allclose(gated_linear(jnp.array([2.0, 0.0])), [1.0])


def test_receptive_fields_of_windows():
    image = reach.pixels(4, 4)
    above = reach.window(image, [(-1, 0), (-1, 1)])
    assert not above[0].any()
    assert {tuple(p) for p in np.argwhere(above[2, 3])} == {(1, 3)}
    coarse = reach.window(image, [(-1, 0), (0, 0)], stride=2)
    assert {tuple(p) for p in np.argwhere(coarse[1, 1])} == {(1, 2), (2, 2)}
    fine = reach.repeated(coarse, also_next_column=True)
    assert np.array_equal(fine[2, 1], coarse[1, 0] | coarse[1, 1])
    assert np.array_equal(fine[3, 2], coarse[1, 1])
