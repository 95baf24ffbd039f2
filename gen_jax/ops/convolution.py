"""Convolution (cross-correlation) over images of any number of axes, with gradients that are fast on CPU too.

y[r] = sum_a x[s r + d a - p] K[a], zeros outside. XLA computes the gradient in K as a convolution whose window is the
image: on CPU this has a quarter of the speed of matrix products, and is thirty times slower inside a loop. Here the
gradient for each tap is x^T g, where x is shifted by the tap and g is the gradient of y. It is computed for a few
images at a time, so that the shifted copies stay in the processor's cache. The gradient in x remains a convolution.
Both are exact: the same sums as autodiff in another order, in float32 or wider. On accelerators XLA computes all.

The convolution is a primitive, bilinear in x and K, because `jax.custom_vjp` would refuse forward mode.
"""

import functools
import itertools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Float

from gen_jax.target import platform

Pairs = tuple[tuple[int, int], ...]
Steps = tuple[int, ...]
ROWS = 4 * 28 * 28  # number of sites whose shifted copies are multiplied at a time
NARROW = 4  # up to this number of features the copies for all taps are joined to one product


class Window(NamedTuple):
    """How a kernel moves over an image, one entry for each axis; `spread` - 1 zeros are put between inputs."""

    padding: Pairs
    stride: Steps
    spread: Steps
    dilation: Steps


def convolve(
    x: Float[Array, "B *image I"],
    kernel: Float[Array, "*window I O"],
    padding: str | Pairs,
    stride: int | Steps = 1,
    spread: int | Steps = 1,
    dilation: int | Steps = 1,
) -> Float[Array, "B *image_out O"]:
    """The convolution; `padding` is "SAME", "VALID" or (before, after) for each axis; negative numbers crop.

    `spread` is the stride of a transposed convolution; ValueError if there is a stride too.
    """
    axes = x.ndim - 2
    stride, spread, dilation = (
        step if isinstance(step, tuple) else (step,) * axes for step in (stride, spread, dilation)
    )
    if max(stride) > 1 and max(spread) > 1:
        raise ValueError("a convolution has a stride or a spread, not both")
    if isinstance(padding, str):
        reach = [d * (n - 1) + 1 for n, d in zip(kernel.shape, dilation, strict=False)]
        padding = tuple(lax.padtype_to_pads(x.shape[1:-1], reach, stride, padding))
    if kernel.shape[:-2] == stride == spread == (1,) * axes and not any(map(any, padding)):
        return dense(x, kernel.reshape(kernel.shape[-2:]))
    window, kernel = Window(padding, stride, spread, dilation), gathered(kernel)
    if platform() != "cpu":
        return _plain(x, kernel, window=window)
    return convolve_p.bind(x, kernel, window=window)


def dense(x: Float[Array, "*batch I"], kernel: Float[Array, "I O"]) -> Float[Array, "*batch O"]:
    """x K over the last axis, as a product of two-dimensional arrays: the fastest form on CPU, gradients included.

    The batch must be the first axis, or it could not be sharded over devices.
    """
    y = x.reshape(-1, x.shape[-1]) @ gathered(kernel)
    return y.reshape(*x.shape[:-1], kernel.shape[-1])


def gathered(kernel: Array) -> Array:
    """The whole kernel or table on each device, in the type that a layer computes in; XLA splits its gradient again.

    Every parameter that may be split is read through this. Otherwise what is computed from it would be split in the
    same way, and the activations of all layers would be sent again and again.
    """
    whole = jax.sharding.get_abstract_mesh().shape.get("fsdp", 1) == 1
    return kernel if whole else lax.with_sharding_constraint(kernel, P())


def _plain(x: Array, kernel: Array, window: Window) -> Array:
    axes = tuple(range(x.ndim - 2))
    image = (0, x.ndim - 1, *(axis + 1 for axis in axes))
    layout = lax.ConvDimensionNumbers(image, (len(axes) + 1, len(axes), *axes), image)
    padding, spread = window.padding, window.spread
    if min(map(min, padding), default=0) < 0:
        # Cropped first: in float32 XLA leaves outputs of a convolution unset that crops one side and pads the other.
        edges = zip(padding, spread, strict=True)
        crop = [(min(lo, 0), min(hi, 0), step - 1) for (lo, hi), step in edges]
        x = lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *crop, (0, 0, 0)])
        padding = tuple((max(lo, 0), max(hi, 0)) for lo, hi in padding)
        spread = (1,) * len(axes)
    return lax.conv_general_dilated(
        x,
        kernel,
        window.stride,
        padding,
        lhs_dilation=spread,
        rhs_dilation=window.dilation,
        dimension_numbers=layout,
    )


def _backward(x: Any, shape: Steps, g: Any, window: Window) -> Window:
    """The window with which a convolution of `g` with the flipped kernel gives a gradient in the shape of x."""
    padding = []
    for axis, taps in enumerate(shape[:-2]):
        before, stride = window.padding[axis][0], window.stride[axis]
        spread, dilation = window.spread[axis], window.dilation[axis]
        after = spread * (x.shape[axis + 1] - 1) - stride * (g.shape[axis + 1] - 1) + before
        padding.append((dilation * (taps - 1) - before, after))
    return Window(tuple(padding), window.spread, window.stride, window.dilation)


def _input_gradient(g: Array, x: Any, kernel: Array, window: Window) -> Array:
    # Without the barrier XLA flips the kernel within the convolution, which is slow in a loop.
    flipped = jnp.flip(kernel, range(kernel.ndim - 2)).swapaxes(-2, -1)
    flipped = lax.optimization_barrier(flipped)
    return convolve_p.bind(g, flipped, window=_backward(x.aval, kernel.shape, g, window))


def _kernel_gradient(g: Array, x: Array, kernel: Any, window: Window) -> Array:
    """The sum over the batch in a loop, a few images at a time; at once if several devices share the batch."""
    shape, batch = kernel.aval.shape, len(x)
    sites = min(math.prod(v.shape[1:-1]) for v in (x, g))
    images = max(1, ROWS // max(1, sites))
    if images >= batch or jax.device_count() > 1:
        total = _taps(x, g, shape, window)
    else:
        looped = batch - batch % images
        wide = jnp.promote_types(x.dtype, jnp.float32)
        total = jnp.zeros((math.prod(shape[:-2]), *shape[-2:]), wide)
        few = [v[:looped].reshape(-1, images, *v.shape[1:]) for v in (x, g)]

        def add(total: Array, part: tuple[Array, Array]) -> tuple[Array, None]:
            return total + _taps(part[0], part[1], shape, window), None

        total, _ = lax.scan(add, total, (few[0], few[1]))
        if looped < batch:
            total = total + _taps(x[looped:], g[looped:], shape, window)
    return total.reshape(shape).astype(kernel.aval.dtype)


def _taps(x: Array, g: Array, shape: Steps, window: Window) -> Array:
    """x^T g for each tap, in float32 or wider. x is shifted, or g if x is spread or has more features."""
    *size, inputs, outputs = shape
    backward = max(window.spread) > 1 or (max(window.stride) == 1 and outputs < inputs)
    moved, still = (g, x) if backward else (x, g)
    if backward:
        window = _backward(x, shape, g, window)
    padding = [(0, 0, 0), *((*pair, 0) for pair in window.padding), (0, 0, 0)]
    moved = lax.pad(moved, jnp.zeros((), moved.dtype), padding)
    copies = []
    for tap in itertools.product(*map(range, size)):
        place = [n - 1 - a for n, a in zip(size, tap, strict=True)] if backward else tap
        steps = zip(place, window.stride, window.dilation, still.shape[1:-1], strict=True)
        cut = [slice(d * a, d * a + s * (n - 1) + 1, s) for a, s, d, n in steps]
        copies.append(moved[:, *cut])
    if moved.shape[-1] > NARROW:
        pairs = [(still, copy) if backward else (copy, still) for copy in copies]
        return jnp.stack([_product(*pair) for pair in pairs])
    joined = jnp.concatenate(copies, axis=-1)
    if backward:
        return _product(still, joined).reshape(inputs, -1, outputs).swapaxes(0, 1)
    return _product(joined, still).reshape(-1, inputs, outputs)


def _product(x: Array, g: Array) -> Array:
    """x^T g, summed over images and sites."""
    wide = jnp.promote_types(x.dtype, jnp.float32)
    x, g = (v.reshape(-1, v.shape[-1]) for v in (x, g))
    return lax.dot_general(x, g, (((0,), (0,)), ((), ())), preferred_element_type=wide)


@functools.partial(jax.jit, static_argnames="window")
def _compiled(x: Array, kernel: Array, window: Window) -> Array:
    return _plain(x, kernel, window)


def _shape(x: Any, kernel: Any, window: Window) -> Any:
    y = jax.eval_shape(functools.partial(_plain, window=window), x, kernel)
    return x.update(shape=y.shape, dtype=y.dtype, weak_type=False)


def _batched(
    arguments: tuple[Array, Array], dims: tuple[Any, Any], window: Window
) -> tuple[Array, int]:
    """vmap over images makes them one larger batch; vmap over kernels is left to XLA, as groups."""
    x, kernel = arguments
    if dims[1] is None:
        x = jnp.moveaxis(x, dims[0], 0)
        y = convolve_p.bind(x.reshape(-1, *x.shape[2:]), kernel, window=window)
        return y.reshape(*x.shape[:2], *y.shape[1:]), 0
    return jax.vmap(functools.partial(_plain, window=window), dims)(x, kernel), 0


convolve_p = Primitive("convolve")
convolve_p.def_impl(_compiled)
convolve_p.def_abstract_eval(_shape)
mlir.register_lowering(convolve_p, mlir.lower_fun(_plain, multiple_results=False))
ad.defbilinear(convolve_p, _input_gradient, _kernel_gradient)
batching.primitive_batchers[convolve_p] = _batched
