"""Times one forward pass of the PixelCNNs of `gen-jax bench sampling` against plain PyTorch.

Both sides compute the same taps from the same weights with the same number of threads, on the CPU in float32. On a
small batch the outputs must agree to 1e-3 of the largest |y_jax|, or nothing is timed. JAX is compiled. PyTorch runs
eagerly, channels last, under inference_mode; its kernels are masked and normalised once before the clock starts, as
its users do, while JAX does that in every pass. After a warm-up the two take turns. Times are medians; `ratio` is the
median over the turns of JAX's time / PyTorch's time, so that PyTorch is faster where it is above 1.

gen_jax does not depend on PyTorch: install it with `pip install torch`.
"""

import argparse
import functools
import importlib
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from torch_networks import NETWORKS, drawn

from gen_jax.bench.systems import MODELS
from gen_jax.bench.timing import seconds
from gen_jax.density import functional, root_key
from gen_jax.disk import write_atomically
from gen_jax.models.autoregressive.gated_pixel_cnn import GatedPixelCNN
from gen_jax.models.autoregressive.pixel_cnn import PixelCNN
from gen_jax.models.autoregressive.pixel_cnn_pp import PixelCNNPP
from gen_jax.runs import results
from gen_jax.runs.provenance import machine

FORWARD = (GatedPixelCNN, PixelCNN, PixelCNNPP)
REPEATS = 5
SMALL = 2  # images on which the outputs must agree
TOLERANCE = 1e-3


def main() -> int:
    """Compare, time, print the table and write --out; without PyTorch print one sentence and return 2."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--batch", type=int, default=64)
    models = {name: model for name, model in MODELS.items() if type(model) in FORWARD}

    def rows(torch: Any, args: argparse.Namespace) -> list[dict[str, Any]]:
        with torch.inference_mode():
            return [row(torch, name, model, args.batch) for name, model in models.items()]

    return run("torch_forward", parser, rows, table)


def run(
    name: str,
    parser: argparse.ArgumentParser,
    rows: Callable[[Any, argparse.Namespace], list[dict[str, Any]]],
    table: Callable[[dict[str, Any]], str],
) -> int:
    """Parse the arguments, run the benchmark, print its table and write --out; returns the exit status."""
    parser.add_argument("--out", type=Path, metavar="FILE.json")
    args = parser.parse_args()
    if (args.batch or 1) < 1 or (args.out and not args.out.parent.is_dir()):
        parser.error("--batch must be at least 1 and the folder of --out must exist")
    try:
        torch = importlib.import_module("torch")
    except ImportError as error:
        print(f"{name} needs PyTorch (pip install torch): {error}", file=sys.stderr)
        return 2
    jax.config.update("jax_platforms", "cpu")
    host = machine()
    torch.set_num_threads(host["threads"])
    bench = {
        "bench": name,
        **{field: host[field] for field in ("device", "cpu", "threads")},
        "torch": torch.__version__,
        "jax": jax.__version__,
        "rows": rows(torch, args),
    }
    print(table(bench))
    if args.out:
        write_atomically(args.out, results.dumps(bench))
    return 0


def row(torch: Any, name: str, model: Any, batch: int) -> dict[str, Any]:
    """Time one model in both from the same random weights; ValueError if the outputs differ."""
    rng = np.random.default_rng(0)
    x = rng.integers(model.levels, size=(batch, *model.event.shape), dtype=np.int32)
    shapes = jax.eval_shape(functional(model).init, root_key(0), x[:SMALL])
    weights = jax.tree.map(lambda leaf: drawn(rng, leaf.shape), shapes)
    network = NETWORKS[type(model)](
        torch, model, weights["params"], functools.partial(fixed, torch)
    )
    ours = jax.jit(model.apply)

    def theirs(x):
        return network(x.float() * (2 / (model.levels - 1)) - 1)

    variables, here = jax.device_put((weights, x))
    there = torch.from_numpy(x).permute(0, 3, 1, 2)
    expected = np.asarray(ours(variables, here[:SMALL]))
    output = theirs(there[:SMALL]).permute(0, 2, 3, 1).numpy().reshape(expected.shape)
    difference = abs(output - expected).max() / abs(expected).max()
    print(f"{name}: outputs agree to {difference:.1e} of the largest", file=sys.stderr)
    if not difference <= TOLERANCE:
        raise ValueError(f"{name}: the outputs differ by {difference:.1e} of the largest")
    turns = [(seconds(ours, variables, here), seconds(theirs, there)) for _ in range(1 + REPEATS)]
    jax_times, torch_times = zip(*turns[1:], strict=True)  # the first turn compiled
    return {
        "system": name,
        "batch": batch,
        "jax_seconds": statistics.median(jax_times),
        "torch_seconds": statistics.median(torch_times),
        "ratio": round(statistics.median(j / t for j, t in turns[1:]), 3),
    }


def fixed(torch: Any, weights: dict[str, np.ndarray], mask: np.ndarray | None) -> Callable:
    """A layer whose kernel is masked or normalised once, when it is built."""
    bias = torch.from_numpy(weights["bias"])
    if "direction" in weights:
        kernel = weights["direction"]
        norm = np.linalg.norm(kernel.reshape(len(kernel), -1), axis=1)
        kernel = kernel / norm.reshape(-1, 1, 1, 1) * weights["scale"]
    else:
        kernel = weights["kernel"]
    kernel = torch.from_numpy(kernel).contiguous(memory_format=torch.channels_last)
    return lambda: (kernel, bias)


def table(bench: dict[str, Any]) -> str:
    """The rows as a Markdown table."""
    system = f"{bench['cpu']}, {bench['threads']} threads"
    head = f"| {system} | batch | JAX {bench['jax']} | PyTorch {bench['torch']} | ratio |"
    lines = [head, "|" + " --- |" * 5]
    for row in bench["rows"]:
        times = f"{row['jax_seconds']:.3f} s | {row['torch_seconds']:.3f} s | {row['ratio']:.2f}"
        lines.append(f"| {row['system']} | {row['batch']} | {times} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
