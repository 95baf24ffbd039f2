"""The convolution's own gradients are those that autodiff takes of XLA's convolution."""

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import NamedSharding

from gen_jax import sharding
from gen_jax.nn import conv
from gen_jax.ops import convolution
from gen_jax.ops.convolution import convolve, dense

SHAPES = {  # image, kernel, padding, stride, spread, dilation
    "causal": ((5, 6, 5, 3), (2, 3, 3, 4), ((1, 0), (1, 1)), 1, 1, 1),
    "strict": ((2, 6, 5, 5), (2, 2, 5, 6), ((2, -1), (2, -1)), 1, 1, 1),
    "one channel": ((5, 6, 5, 1), (4, 7, 1, 6), ((3, 0), (3, 3)), 1, 1, 1),
    "few outputs": ((3, 6, 6, 8), (3, 3, 8, 2), "SAME", 1, 1, 1),
    "strided": ((5, 8, 6, 5), (4, 4, 5, 6), "SAME", 2, 1, 1),
    "strided 1x1": ((3, 5, 5, 5), (1, 1, 5, 6), "SAME", 2, 1, 1),
    "transposed": ((3, 3, 4, 5), (4, 4, 5, 6), ((2, 2), (2, 2)), 1, 2, 1),
    "dilated": ((3, 11, 5), (2, 5, 6), ((3, 0),), 1, 1, 3),
    "1x1": ((3, 5, 4, 5), (1, 1, 5, 6), "SAME", 1, 1, 1),
    "wider than the image": ((2, 4, 4, 5), (9, 9, 5, 6), "SAME", 1, 1, 1),
}


def of(shape, dtype="float64"):
    """Ours, XLA's, image, kernel and a gradient of the output."""
    image, kernel, padding, stride, spread, dilation = SHAPES[shape]
    axes = len(image) - 2
    layout = ("NHWC", "HWIO", "NHWC") if axes == 2 else ("NWC", "WIO", "NWC")
    steps = [(step,) * axes for step in (stride, spread, dilation)]

    def ours(x, kernel):
        return convolve(x, kernel, padding, stride, spread, dilation)

    def plain(x, kernel):
        return lax.conv_general_dilated(
            x, kernel, steps[0], padding, *steps[1:], dimension_numbers=layout
        )

    rng = np.random.default_rng(0)
    x, k = (jnp.asarray(rng.standard_normal(size), dtype) for size in (image, kernel))
    g = jnp.asarray(rng.standard_normal(jax.eval_shape(plain, x, k).shape), dtype)
    return ours, plain, x, k, g


def close(found, expected, tolerance):
    """Compare leaf by leaf, up to a fraction of the largest entry."""
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * np.abs(b).max())


def gradients(f):
    """Pull-back of `g`, as a function of x, kernel and g."""
    return lambda x, k, g: jax.vjp(f, x, k)[1](g)


@pytest.fixture
def alone(monkeypatch):
    """One device and at most two images of 5x5 per turn: the loop and the images left over after it."""
    monkeypatch.setattr(jax, "device_count", lambda: 1)
    monkeypatch.setattr(convolution, "ROWS", 60)


@pytest.mark.parametrize("shape", SHAPES)
def test_gradients_are_those_of_the_plain_convolution(shape, x64, alone):
    """In both arguments, in reverse mode, in forward mode, and in reverse mode again."""
    ours, plain, x, k, g = of(shape)

    def every(f):
        def squares(x, k):
            return sum(jnp.sum(jnp.sin(of_f) ** 2) for of_f in jax.vjp(f, x, k)[1](g))

        def found(x, k, g):
            forward = jax.jvp(f, (x, k), (x * x, k + 1))
            return forward, jax.vjp(f, x, k)[1](g), jax.grad(squares, (0, 1))(x, k)

        return jax.jit(found)(x, k, g)

    close(every(ours), every(plain), 1e-10)


@pytest.mark.parametrize("axes", [(0, None), (2, None), (None, 1), (1, 0)])
def test_gradients_of_mapped_arguments(axes, x64, alone):
    """`vmap` over images, over kernels and over both, of the convolution and of its gradients."""
    ours, plain, x, k, g = of("causal")
    x, k = (
        v if axis is None else jnp.stack([v, v + 1], axis)
        for v, axis in zip((x, k), axes, strict=True)
    )

    def mapped(f):
        of_one = jax.vmap(lambda x, k: (f(x, k), jax.vjp(f, x, k)[1](g)), axes)
        return jax.jit(of_one)(x, k)

    close(mapped(ours), mapped(plain), 1e-10)


def test_one_gradient_an_example_and_jacobians_in_both_modes(x64, alone):
    """What an analysis of examples and a flow's determinant take."""
    ours, plain, x, k, _ = of("causal")

    def every(f):
        a = jax.vmap(jax.grad(lambda k, one: jnp.sum(jnp.sin(f(one[None], k)))), (None, 0))(k, x)
        b = jax.vmap(jax.jacfwd(lambda one: f(one[None], k)[0, 0]))(x)
        c = jax.vmap(jax.jacrev(lambda one: f(one[None], k)[0, 0]))(x)
        return a, b, c

    close(every(ours), every(plain), 1e-10)


def test_gradients_inside_a_loop(x64, alone):
    """Steps of gradient descent in one `lax.scan` are the steps written out."""
    ours, _, x, k, g = of("causal")

    def step(k, _):
        return k - 0.1 * jax.grad(lambda k: jnp.sum(g * jnp.sin(ours(x, k))))(k), None

    looped, _ = jax.jit(lambda k: lax.scan(step, k, None, length=3))(k)
    for _ in range(3):
        k, _ = step(k, None)
    close(looped, k, 1e-12)


def test_gradients_over_eight_devices(x64, monkeypatch):
    """With the batch split over devices: the gradients of one device, and no device holds the whole batch."""
    monkeypatch.setattr(convolution, "ROWS", 60)  # a loop, were there one device
    ours, plain, x, k, g = of("causal")
    x, g = (jnp.concatenate([v] * 8)[:16] for v in (x, g))
    rows = NamedSharding(sharding.device_mesh(16), sharding.ROWS)
    split = jax.jit(gradients(ours)).lower(*jax.device_put((x, k, g), (rows, None, rows))).compile()
    found = split(jax.device_put(x, rows), k, jax.device_put(g, rows))
    close(found, gradients(plain)(x, k, g), 1e-10)
    assert found[0].sharding.shard_shape(x.shape)[0] == 2
    assert "all-gather" not in split.as_text()


def test_a_bfloat16_gradient_is_summed_in_float32(alone):
    """In bfloat16 the sum of a thousand ones stops at 256."""
    x, g, k = (
        jnp.ones(shape, jnp.bfloat16) for shape in ((1000, 2, 2, 8), (1000, 2, 2, 8), (2, 1, 8, 8))
    )
    dk = jax.vjp(lambda k: convolve(x, k, ((1, 0), (0, 0))), k)[1](g)[0]
    assert dk.dtype == jnp.bfloat16
    np.testing.assert_allclose(np.asarray(dk[0, 0], float), 2000, rtol=0.01)


def test_a_cropped_side_leaves_nothing_unset_in_float32():
    """XLA's own convolution does on a CPU. The gradients of a shift by one crop one side and pad the other."""
    rng = np.random.default_rng(0)
    x, g, kernel = (
        jnp.asarray(rng.standard_normal(shape), jnp.float32)
        for shape in ((3, 8, 8, 12), (3, 8, 8, 12), (1, 2, 12, 12))
    )
    for taps, shift in ((kernel[:, :1], 1), (kernel[:, :1], -1), (kernel, 2)):
        edges = (shift, taps.shape[1] - 1 - shift)
        y, pull = jax.vjp(lambda x, k, pad=((0, 0), edges): convolve(x, k, pad), x, taps)
        moved = np.pad(x, ((0, 0), (0, 0), (2, 2), (0, 0)))
        cuts = [moved[:, :, 2 - shift + a :][:, :, :8] for a in range(taps.shape[1])]
        expected = sum(cut @ taps[0, a] for a, cut in enumerate(cuts))
        np.testing.assert_allclose(y, expected, atol=1e-4)
        back = np.zeros_like(moved)
        for a in range(taps.shape[1]):
            back[:, :, 2 - shift + a :][:, :, :8] += g @ taps[0, a].T
        np.testing.assert_allclose(pull(g)[0], back[:, :, 2:10], atol=1e-4)


def test_a_product_of_two_dimensional_arrays(x64):
    """`dense` maps the last axis; a convolution of a 1x1 kernel is one."""
    _, plain, x, k, _ = of("1x1")
    close(dense(x, k[0, 0]), plain(x, k), 1e-12)
    assert "conv" not in str(jax.make_jaxpr(lambda x, k: convolve(x, k, "SAME"))(x, k))


def test_a_stride_and_a_spread_are_refused():
    """No layer uses a stride and a dilation together; the gradient would be wrong."""
    with pytest.raises(ValueError, match="stride"):
        convolve(jnp.zeros((1, 4, 4, 1)), jnp.zeros((2, 2, 1, 1)), "SAME", 2, 2)


@pytest.mark.parametrize(
    ("ours", "flax", "arguments"),
    [
        (conv.Dense, nn.Dense, {}),
        (conv.Conv, nn.Conv, {"window": (3, 3)}),
        (conv.Conv, nn.Conv, {"window": (4, 4), "stride": 2, "use_bias": False}),
        (conv.ConvTranspose, nn.ConvTranspose, {"window": (4, 4), "stride": 2}),
        (conv.ConvTranspose, nn.ConvTranspose, {"window": (3, 3), "stride": 2}),
        (conv.ConvTranspose, nn.ConvTranspose, {"window": (2, 3), "stride": 3}),
    ],
)
def test_modules_have_the_weights_and_outputs_of_flax(ours, flax, arguments):
    """The same names, initial values and outputs, bit for bit: stored weights stay valid."""
    x = jax.random.normal(jax.random.key(0), (2, 5, 6, 3))
    renamed = {"window": "kernel_size", "stride": "strides"}
    theirs = {renamed.get(name, name): value for name, value in arguments.items()}
    if "strides" in theirs:
        theirs["strides"] = (theirs["strides"],) * 2
    found, expected = (
        jax.jit(lambda x, module=module: module.init_with_output(jax.random.key(1), x))(x)
        for module in (ours(7, **arguments), flax(7, **theirs))
    )
    chex.assert_trees_all_equal(found, expected)
