"""Times train steps of gen_jax against plain PyTorch: the same networks, weights, batches and number of threads.

A step is loss, gradient and Adam; gen_jax's also averages the weights and computes three norms. Images are 28x28 of two
levels and the loss is their mean negative log-likelihood; the U-net instead predicts fixed noise in 32x32 colour
images. There is no dropout. Masks and weight norms are computed in every step on both sides.

Before anything is timed the gradients must agree in float64, to 1e-8 of the largest entry of each weight's gradient; if
that entry is nearly 0, as for the key bias of attention, to 1e-14 of the largest entry of all. The difference in
float32 is recorded. gen_jax is compiled; PyTorch runs eagerly, and with --compile also compiled, channels last. The
programs take turns after several steps each, since PyTorch's first steps are slow. Times are medians; ratios are
medians over the turns of gen_jax's time / PyTorch's time, so that PyTorch is faster where they are above 1.

gen_jax does not depend on PyTorch: install it with `pip install torch`.
"""

import argparse
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from torch_forward import run, table
from torch_networks import NETWORKS, drawn

from gen_jax.bench.timing import ratios, summary, turns
from gen_jax.bench.training import repeated, training_of
from gen_jax.density import Functional, functional
from gen_jax.models.autoregressive.gated_pixel_cnn import GatedPixelCNN
from gen_jax.models.autoregressive.made import MADE
from gen_jax.models.autoregressive.pixel_cnn import PixelCNN
from gen_jax.models.autoregressive.pixel_cnn_pp import PixelCNNPP
from gen_jax.models.autoregressive.pixel_snail import PixelSNAIL
from gen_jax.nn.unet import UNet
from gen_jax.train.step import jitted
from gen_jax.typing import image

RATE = 1e-3  # the learning rate of gen_jax's Adam
UNTIMED = 6  # steps of each program before it is timed
SMALL = 3  # examples on which the gradients must agree
TOLERANCE = 1e-8  # of the largest entry of a weight's gradient, in float64
FLOOR = 1e-6  # of the largest entry of all: a smaller largest entry counts as this
BINARY = image(28, 28, levels=2)
SYSTEMS = {
    "pixel_cnn": (PixelCNN(BINARY, features=32, head_features=64, depth=5), 64),
    "gated_pixel_cnn": (GatedPixelCNN(BINARY, depth=5), 64),
    "pixel_cnn_pp": (PixelCNNPP(BINARY, features=64, resnets=2, mixtures=None, dropout=0.0), 16),
    "pixel_snail": (PixelSNAIL(BINARY, features=64, blocks=2, mixtures=None, dropout=0.0), 16),
    "made": (MADE(BINARY, hidden=(8000,), order_seed=0), 64),
    "unet": (UNet(64, (1, 2), 2, (16,), dropout=0.0), 16),
}  # the model and its batch size


class Task(NamedTuple):
    """A model as gen_jax trains it, its batch, and the loss of the PyTorch network on that batch."""

    pure: Functional
    batch: Any
    loss: Callable[[Any, Callable, Any], Any]


def main() -> int:
    """Compare, time, print the table and write --out; without PyTorch print one sentence and return 2."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--batch", type=int, help="batch size of every system")
    parser.add_argument("--system", choices=SYSTEMS, nargs="+", default=list(SYSTEMS))
    parser.add_argument("--compile", action="store_true", help="also time torch.compile")

    def rows(torch: Any, args: argparse.Namespace) -> list[dict[str, Any]]:
        chosen = ((name, *SYSTEMS[name]) for name in args.system)
        return [
            row(torch, name, model, args.batch or batch, args.compile)
            for name, model, batch in chosen
        ]

    return run("torch_training", parser, rows, table)


def row(torch: Any, name: str, model: Any, batch: int, compiled: bool) -> dict[str, Any]:
    """Compare and time one system; ValueError if the gradients differ."""
    rng = np.random.default_rng(0)
    task = (denoising if isinstance(model, UNet) else likelihood)(model, batch, rng)
    shapes = jax.eval_shape(task.pure.init, jax.random.key(0), task.batch)
    params = jax.tree.map(lambda leaf: drawn(rng, leaf.shape), shapes)["params"]
    float32 = difference(torch, model, task, params)[0]
    with jax.enable_x64(True):
        torch.set_default_dtype(torch.float64)
        exact = difference(torch, model, *jax.tree.map(doubled, (task, params)))
        torch.set_default_dtype(torch.float32)
    print(
        f"{name}: gradients differ by {float32:.1e}, in float64 by {exact[0]:.1e}", file=sys.stderr
    )
    if not max(exact) <= TOLERANCE:
        raise ValueError(f"{name}: gradients and loss differ by {exact} in float64")
    training = training_of(task.pure, task.batch)
    state = training.create()._replace(params=params)
    training = training._replace(create=lambda: jax.tree.map(jnp.array, state))
    step = jitted(training.step, training.mesh, training.placed)
    step = step.lower(training.create(), training.batches).compile()
    programs = {
        "jax": repeated(step, training),
        "torch": trained(torch, model, task, params, False),
    }
    if compiled:
        programs["compiled"] = trained(torch, model, task, params, True)
    for program in programs.values():
        for _ in range(UNTIMED):
            jax.block_until_ready(program())
    times = turns(programs)
    columns = {f"{key}_seconds": None for key in ("jax", "torch", "compiled")}
    columns |= {"difference_float32": float32, "difference_float64": exact[0]}
    columns |= {"ratio": None, "compiled_ratio": None}
    for key, seconds in times.items():
        columns |= summary(f"{key}_seconds", seconds)
    columns |= summary("ratio", ratios(times["jax"], times["torch"]))
    if compiled:
        columns |= summary("compiled_ratio", ratios(times["jax"], times["compiled"]))
    print(name, columns["jax_seconds"], columns["torch_seconds"], file=sys.stderr)
    return {"system": name, "batch": batch, **columns}


def likelihood(model: Any, batch: int, rng: np.random.Generator) -> Task:
    """Random images, and as loss their mean negative log-likelihood in nats per pixel."""
    x = rng.integers(2, size=(batch, *model.event.shape), dtype=np.int32)
    dense = isinstance(model, MADE)

    def loss(torch: Any, network: Callable, x: Any) -> Any:
        x = torch.from_numpy(x).permute(0, 3, 1, 2).to(torch.get_default_dtype())
        logits = network(x if dense else 2 * x - 1).flatten(1)
        values = x.flatten(1)[:, torch.from_numpy(np.array(model.sites[:, 0]))]
        return torch.nn.functional.binary_cross_entropy_with_logits(logits, values)

    return Task(functional(model), x, loss)


def denoising(model: UNet, batch: int, rng: np.random.Generator) -> Task:
    """Random images, times and noise, and as loss the mean squared error of the noise that the network predicts."""
    x, noise = rng.standard_normal((2, batch, 32, 32, 3), np.float32)
    t = rng.integers(1, 51, size=batch).astype(np.float32)  # sinusoids of larger ones lose digits

    def init(key: Any, batch: Any, cond: Any = None) -> Any:
        x, t, _ = batch
        return model.init(key, x, t, 3)

    def ours(variables: Any, batch: Any, key: Any, cond: Any = None) -> Any:
        x, t, noise = batch
        return jnp.mean((model.apply(variables, x, t, 3) - noise) ** 2), ({}, {})

    def theirs(torch: Any, network: Callable, batch: Any) -> Any:
        x, t, noise = (torch.from_numpy(array) for array in batch)
        predicted = network(x.permute(0, 3, 1, 2), t)
        return torch.nn.functional.mse_loss(predicted, noise.permute(0, 3, 1, 2))

    pure = functional(model)._replace(init=init, loss=ours)
    return Task(pure, (x, t, noise), theirs)


class Layer:
    """The weights of a layer with gradients; they are masked or normalised at each call."""

    def __init__(self, torch: Any, weights: dict[str, np.ndarray], mask: np.ndarray | None):
        def leaf(array: np.ndarray) -> Any:
            tensor = torch.from_numpy(np.array(array))
            if tensor.ndim == 4:
                tensor = tensor.contiguous(memory_format=torch.channels_last)
            return tensor.requires_grad_()

        self.norm = torch._weight_norm
        self.leaves = {name: leaf(array) for name, array in weights.items()}
        self.mask = (
            None if mask is None else torch.from_numpy(np.array(mask)).to(torch.get_default_dtype())
        )

    def __call__(self) -> tuple[Any, Any]:
        """Kernel and bias, or scale and bias."""
        leaves = self.leaves
        if "direction" in leaves:
            kernel = self.norm(leaves["direction"], leaves["scale"], 0)
        else:
            kernel = leaves["kernel" if "kernel" in leaves else "scale"]
        return kernel if self.mask is None else kernel * self.mask, leaves.get("bias")


def built(torch: Any, model: Any, params: Any) -> tuple[Callable, list[Layer]]:
    """Build the network in PyTorch; returns it and its layers in the order of building."""
    layers: list[Layer] = []

    def ready(weights: dict[str, np.ndarray], mask: np.ndarray | None) -> Layer:
        layers.append(Layer(torch, weights, mask))
        return layers[-1]

    return NETWORKS[type(model)](torch, model, params, ready), layers


def doubled(leaf: Any) -> Any:
    """Turn a float32 array into float64; return anything else as it is."""
    single = isinstance(leaf, np.ndarray) and leaf.dtype == np.float32
    return leaf.astype(np.float64) if single else leaf


def difference(torch: Any, model: Any, task: Task, params: Any) -> tuple[float, float]:
    """The relative differences of the gradients and of the loss on a few examples.

    A gradient's difference is relative to the largest entry of that weight's gradient; the largest is returned.
    """
    few = jax.tree.map(lambda rows: rows[:SMALL], task.batch)

    def ours(params: Any) -> Any:
        return task.pure.loss({"params": params}, few, jax.random.key(0))[0]

    value, grads = jax.jit(jax.value_and_grad(ours))(params)
    network, layers = built(torch, model, params)
    loss = task.loss(torch, network, few)
    loss.backward()
    _, expected = built(torch, model, jax.tree.map(np.asarray, grads))
    pairs = [
        (leaf.grad.numpy(), np.asarray(layer.leaves[key].detach()))
        for theirs, layer in zip(layers, expected, strict=True)
        for key, leaf in theirs.leaves.items()
    ]
    floor = FLOOR * max(abs(b).max() for _, b in pairs)
    worst = max(abs(a - b).max() / max(abs(b).max(), floor) for a, b in pairs)
    return float(worst), abs(loss.item() - float(value)) / abs(float(value))


def trained(torch: Any, model: Any, task: Task, params: Any, compiled: bool) -> Callable:
    """A function that takes one train step on the same batch at each call."""
    network, layers = built(torch, model, params)
    network = torch.compile(network) if compiled else network
    leaves = [leaf for layer in layers for leaf in layer.leaves.values()]
    optimizer = torch.optim.Adam(leaves, lr=RATE)

    def step() -> float:
        optimizer.zero_grad()
        loss = task.loss(torch, network, task.batch)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


if __name__ == "__main__":
    sys.exit(main())
