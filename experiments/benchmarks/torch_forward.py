"""Forward times of the PixelCNNs of `gen-jax bench sampling` beside plain PyTorch: the same taps, weights and threads.

y_torch = y_jax up to 1e-3 of the largest |y_jax| on a small batch, or nothing is timed. Both run on the CPU in float32;
JAX is compiled, PyTorch eager, channels last, under inference_mode. Its kernels are masked and normalised once, before
the clock runs, as its users do; JAX does that within every pass. After a warm-up the two take turns; times are medians,
`ratio` is the median of JAX's time over PyTorch's turn by turn: above 1 PyTorch is faster.

PyTorch is no dependency of gen_jax: `pip install torch` brings it.
"""

import argparse
import importlib
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from gen_jax.bench.systems import MODELS
from gen_jax.bench.timing import seconds
from gen_jax.density import functional, root_key
from gen_jax.disk import write_atomically
from gen_jax.evaluate import results
from gen_jax.evaluate.machine import machine
from gen_jax.models.autoregressive.gated_pixel_cnn import GatedPixelCNN
from gen_jax.models.autoregressive.pixel_cnn import PixelCNN
from gen_jax.models.autoregressive.pixel_cnn_pp import PixelCNNPP
from gen_jax.ops.masks import group_mask

REPEATS = 5
SMALL = 2  # images on which the outputs must agree
TOLERANCE = 1e-3


def main() -> int:
    """Compare, time, print the table and write --out; without PyTorch one sentence and exit status 2."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--out", type=Path, metavar="FILE.json")
    args = parser.parse_args()
    if args.batch < 1 or (args.out and not args.out.parent.is_dir()):
        parser.error("--batch must be at least 1 and the folder of --out must exist")
    try:
        torch = importlib.import_module("torch")
    except ImportError as error:
        print(f"torch_forward needs PyTorch (pip install torch): {error}", file=sys.stderr)
        return 2
    jax.config.update("jax_platforms", "cpu")
    host = machine()
    torch.set_num_threads(host["threads"])
    with torch.inference_mode():
        written = {name: model for name, model in MODELS.items() if type(model) in FORWARD}
        rows = [row(torch, name, model, args.batch) for name, model in written.items()]
    bench = {
        "bench": "torch_forward",
        **{name: host[name] for name in ("device", "cpu", "threads")},
        "torch": torch.__version__,
        "jax": jax.__version__,
        "rows": rows,
    }
    print(table(bench))
    if args.out:
        write_atomically(args.out, results.dumps(bench))
    return 0


def row(torch: Any, name: str, model: Any, batch: int) -> dict[str, Any]:
    """One model, forward in both from the same random weights; ValueError where the outputs differ."""
    rng = np.random.default_rng(0)
    x = rng.integers(model.levels, size=(batch, *model.event.shape), dtype=np.int32)
    shapes = jax.eval_shape(functional(model).init, root_key(0), x[:SMALL])
    weights = jax.tree.map(lambda leaf: drawn(rng, leaf.shape), shapes)
    ours, network = jax.jit(model.apply), FORWARD[type(model)](torch, model, weights["params"])

    def theirs(x):
        return network(x.float() * (2 / (model.levels - 1)) - 1)

    variables, here = jax.device_put((weights, x))
    there = torch.from_numpy(x).permute(0, 3, 1, 2)
    expected = np.asarray(ours(variables, here[:SMALL]))
    found = theirs(there[:SMALL]).permute(0, 2, 3, 1).numpy().reshape(expected.shape)
    difference = abs(found - expected).max() / abs(expected).max()
    print(f"{name}: outputs agree to {difference:.1e} of the largest", file=sys.stderr)
    if not difference <= TOLERANCE:
        raise ValueError(f"{name}: the outputs differ by {difference:.1e} of the largest")
    turns = [(seconds(ours, variables, here), seconds(theirs, there)) for _ in range(1 + REPEATS)]
    jax_times, torch_times = zip(*turns[1:], strict=True)  # the first one compiled
    return {
        "system": name,
        "batch": batch,
        "jax_seconds": statistics.median(jax_times),
        "torch_seconds": statistics.median(torch_times),
        "ratio": round(statistics.median(j / t for j, t in turns[1:]), 3),
    }


def drawn(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Kernels of variance 1 / fan-in; biases and scales of variance 1, so that none can be forgotten unnoticed."""
    return rng.standard_normal(shape, np.float32) / np.float32(np.sqrt(np.prod(shape[:-1])))


def gated_pixel_cnn(torch: Any, model: GatedPixelCNN, params: Any) -> Callable:
    """Figure 2 of 1606.05328, its vertical stack cropped to the rows above."""
    groups, layers = model.groups, []
    for i in range(model.depth):
        layer = params[f"layers_{i}"]
        down = [ready(torch, layer[name]) for name in ("vertical", "link")]
        horizontal = ready(torch, layer["horizontal"], groups, strict=i == 0, splits=2)
        layers.append((*down, horizontal, ready(torch, layer["out"], groups, splits=2)))
    hidden, logits = (ready(torch, params[name], groups) for name in ("hidden", "logits"))

    def gated(x):
        a, b = x.chunk(2, 1)
        return a.tanh().mul_(b.sigmoid())

    def forward(x):
        h = a = skips = x
        for i, (vertical, link, horizontal, out) in enumerate(layers):
            v = gated(a) if i else x
            height, width = vertical[0].shape[2:]
            rows = (height - 1, 0) if i else (height, -1)
            a = conv(torch, v, vertical, (width // 2, width // 2), rows)
            reach = horizontal[0].shape[3]
            columns = (reach - 1, 0) if i or groups > 1 else (reach, -1)
            gate = gated(conv(torch, h, horizontal, columns).add_(conv(torch, a, link)))
            residual, skip = conv(torch, gate, out).chunk(2, 1)
            h, skips = (h + residual, skips + skip) if i else (residual, skip)
        return conv(torch, conv(torch, skips.relu(), hidden).relu_(), logits)

    return forward


def pixel_cnn(torch: Any, model: PixelCNN, params: Any) -> Callable:
    """Table 1 of 1601.06759: mask A, residual blocks 1x1, 3x3, 1x1 of mask B, two hidden 1x1."""
    groups, blocks = model.groups, [params[f"blocks_{i}"] for i in range(model.depth)]
    first = ready(torch, params["first"], groups, strict=True)
    names = ("squeeze", "spatial", "expand")
    layers = [[ready(torch, block[name], groups) for name in names] for block in blocks]
    head = [ready(torch, params[name], groups) for name in ("hidden_0", "hidden_1", "logits")]

    def masked(x, layer):
        side = layer[0].shape[3] // 2
        return conv(torch, x, layer, (side, side), (side, 0))

    def forward(x):
        h = masked(x, first)
        for squeeze, spatial, expand in layers:
            hidden = masked(conv(torch, h.relu(), squeeze).relu_(), spatial)
            h = conv(torch, hidden.relu_(), expand).add_(h)
        for layer in head:
            h = conv(torch, h.relu_(), layer)
        return h

    return forward


def pixel_cnn_pp(torch: Any, model: PixelCNNPP, params: Any) -> Callable:
    """Two streams through the U of 1701.05517, each pass of a resolution holding the next coarser one."""
    nn = torch.nn.functional
    layers = jax.tree.map(lambda one: ready(torch, one), params, is_leaf=lambda one: "bias" in one)

    def concat_elu(*inputs):
        return nn.elu(torch.cat([s for x in inputs for s in (x, -x)], 1), inplace=True)

    def resnet(layer, columns, x, *aux):
        hidden = conv(torch, concat_elu(x), layer["first"], columns, (1, 0))
        if aux:
            hidden.add_(conv(torch, concat_elu(*aux), layer["project"]))
        return nn.glu(conv(torch, concat_elu(hidden), layer["second"], columns, (1, 0)), 1).add_(x)

    def block(layer, u, v, *skip):
        u = resnet(layer["u"], (1, 1), u, *skip[:1])
        return u, resnet(layer["v"], (1, 0), v, u, *skip[1:])

    def up(x, layer):
        kernel, bias = layer
        side = (0, kernel.shape[3] - 2)  # width 3 begins one column to the left
        return nn.conv_transpose2d(x, kernel.transpose(0, 1), bias, 2, side, side)

    def resolution(layer, u, v):
        passed, coarser = [(u, v)], layer.get("coarser")
        for i in range(model.resnets):
            u, v = block(layer[f"down_{i}"], u, v)
            passed.append((u, v))
        if coarser:
            u = conv(torch, u, layer["down_u"], (1, 1), (1, 0), 2)
            u, v = resolution(coarser, u, conv(torch, v, layer["down_v"], (1, 0), (1, 0), 2))
            u, v = up(u, layer["up_u"]), up(v, layer["up_v"])
        for i, skip in enumerate(reversed(passed if coarser else passed[:-1])):
            u, v = block(layer[f"up_{i}"], u, v, *skip)
        return u, v

    def forward(x):
        x = torch.cat([x, torch.ones_like(x[:, :1])], 1)
        down, right = (0, 0, 1, -1), (1, -1)
        u = nn.pad(conv(torch, x, layers["first_u"], (1, 1), (1, 0)), down)
        v = nn.pad(conv(torch, x, layers["first_above"], (1, 1)), down)
        v += nn.pad(conv(torch, x, layers["first_left"], rows=(1, 0)), right)
        v = nn.elu(resolution(layers["finest"], u, v)[1])
        return conv(torch, v, layers["out"])

    return forward


FORWARD = {GatedPixelCNN: gated_pixel_cnn, PixelCNN: pixel_cnn, PixelCNNPP: pixel_cnn_pp}


def conv(torch, x, layer, columns=(0, 0), rows=(0, 0), stride=1):
    """Convolution of x padded by zeros (left, right) and (above, below); a negative number crops."""
    pad = (*columns, *rows)
    x = torch.nn.functional.pad(x, pad) if any(pad) else x
    return torch.nn.functional.conv2d(x, *layer, stride)


def ready(torch, layer, groups=1, strict=False, splits=1):
    """Kernel (O, I, h, w) and bias: normalised, or masked in the own pixel with zeros to its right."""
    if "direction" in layer:
        kernel = layer["direction"]
        norm = np.linalg.norm(kernel.reshape(-1, kernel.shape[-1]), axis=0)
        kernel = kernel / norm * layer["scale"]
    else:
        kernel = layer["kernel" if "kernel" in layer else "own"]
        if groups > 1:
            mask = group_mask(kernel.shape[-2], kernel.shape[-1] // splits, groups, strict)
            kernel = np.concatenate([kernel[:-1], kernel[-1:] * np.tile(mask, (1, splits))])
        if "above" in layer:
            closed = layer["above"].shape[1] - len(kernel)
            own = np.pad(kernel, ((0, closed), (0, 0), (0, 0)))[None]
            kernel = np.concatenate([layer["above"], own])
    kernel = kernel.reshape(*(1,) * (4 - kernel.ndim), *kernel.shape)
    kernel = torch.from_numpy(kernel).permute(3, 2, 0, 1)
    return kernel.contiguous(memory_format=torch.channels_last), torch.from_numpy(layer["bias"])


def table(bench: dict[str, Any]) -> str:
    """The rows as Markdown."""
    system = f"{bench['cpu']}, {bench['threads']} threads"
    head = f"| {system} | batch | JAX {bench['jax']} | PyTorch {bench['torch']} | ratio |"
    lines = [head, "|" + " --- |" * 5]
    for one in bench["rows"]:
        times = f"{one['jax_seconds']:.3f} s | {one['torch_seconds']:.3f} s | {one['ratio']:.2f}"
        lines.append(f"| {one['system']} | {one['batch']} | {times} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
