"""Train steps of gen_jax beside plain PyTorch: the same networks, weights, batches and threads.

A step is loss, gradient and Adam; gen_jax's also keeps an average of the weights and takes three norms. Images are
28x28 of two levels, under the mean negative log-likelihood, but for the U-net: 32x32 in colour, predicting given noise.
No dropout on either side. Masks and weight norms are part of every step on both sides. Before anything is timed the
gradients must agree in float64, to 1e-8 of the largest entry of each weight's (where that is next to nothing, as with
an attention's key bias, to 1e-14 of the largest of all); by how much they differ in float32 is recorded. gen_jax is
compiled; PyTorch is eager, and compiled with --compile, channels last. After several steps of each, since PyTorch's
first ones are slow, the programs take turns; times are medians, ratios the medians of gen_jax's time over PyTorch's
turn by turn: above 1 PyTorch is faster.

PyTorch is no dependency of gen_jax: `pip install torch` brings it.
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

RATE = 1e-3  # as gen_jax's Adam
UNTIMED = 6  # steps of each program before it is timed
SMALL = 3  # examples on which the gradients must agree
TOLERANCE = 1e-8  # in float64, of a weight's largest entry
FLOOR = 1e-6  # the least that a weight's largest entry counts as, of the largest of all
BINARY = image(28, 28, levels=2)
SYSTEMS = {
    "pixel_cnn": (PixelCNN(BINARY, features=32, head_features=64, depth=5), 64),
    "gated_pixel_cnn": (GatedPixelCNN(BINARY, depth=5), 64),
    "pixel_cnn_pp": (PixelCNNPP(BINARY, features=64, resnets=2, mixtures=None, dropout=0.0), 16),
    "pixel_snail": (PixelSNAIL(BINARY, features=64, blocks=2, mixtures=None, dropout=0.0), 16),
    "made": (MADE(BINARY, hidden=(8000,), order_seed=0), 64),
    "unet": (UNet(64, (1, 2), 2, (16,), dropout=0.0), 16),
}  # with the number of examples in a batch


class Task(NamedTuple):
    """A model as gen_jax trains it, its batch, and the loss of a PyTorch network on that batch."""

    pure: Functional
    batch: Any
    loss: Callable[[Any, Callable, Any], Any]


def main() -> int:
    """Compare, time, print the table and write --out; without PyTorch one sentence and exit status 2."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--batch", type=int, help="examples of every system's batch")
    parser.add_argument("--system", choices=SYSTEMS, nargs="+", default=list(SYSTEMS))
    parser.add_argument("--compile", action="store_true", help="torch.compile as well")

    def rows(torch: Any, args: argparse.Namespace) -> list[dict[str, Any]]:
        found = []
        for name in args.system:
            model, batch = SYSTEMS[name]
            found.append(row(torch, name, model, args.batch or batch, args.compile))
        return found

    return run("torch_training", parser, rows, table)


def row(torch: Any, name: str, model: Any, batch: int, compiled: bool) -> dict[str, Any]:
    """One system; ValueError where the gradients differ."""
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
    of = training_of(task.pure, task.batch)
    state = of.create()._replace(params=params)
    of = of._replace(create=lambda: jax.tree.map(jnp.array, state))
    step = jitted(of.step, of.mesh, of.placed).lower(of.create(), of.batches).compile()
    programs = {"jax": repeated(step, of), "torch": trained(torch, model, task, params, False)}
    if compiled:
        programs["compiled"] = trained(torch, model, task, params, True)
    for program in programs.values():
        for _ in range(UNTIMED):
            jax.block_until_ready(program())
    found = turns(programs)
    columns = {f"{key}_seconds": None for key in ("jax", "torch", "compiled")}
    columns |= {"difference_float32": float32, "difference_float64": exact[0]}
    columns |= {"ratio": None, "compiled_ratio": None}
    for key, times in found.items():
        columns |= summary(f"{key}_seconds", times)
    columns |= summary("ratio", ratios(found["jax"], found["torch"]))
    if compiled:
        columns |= summary("compiled_ratio", ratios(found["jax"], found["compiled"]))
    print(name, columns["jax_seconds"], columns["torch_seconds"], file=sys.stderr)
    return {"system": name, "batch": batch, **columns}


def likelihood(model: Any, batch: int, rng: np.random.Generator) -> Task:
    """Random images under their mean negative log-likelihood, nats per pixel."""
    x = rng.integers(2, size=(batch, *model.event.shape), dtype=np.int32)
    dense = isinstance(model, MADE)

    def loss(torch: Any, network: Callable, x: Any) -> Any:
        x = torch.from_numpy(x).permute(0, 3, 1, 2).to(torch.get_default_dtype())
        logits = network(x if dense else 2 * x - 1).flatten(1)
        values = x.flatten(1)[:, torch.from_numpy(np.array(model.sites[:, 0]))]
        return torch.nn.functional.binary_cross_entropy_with_logits(logits, values)

    return Task(functional(model), x, loss)


def denoising(model: UNet, batch: int, rng: np.random.Generator) -> Task:
    """Mean squared error of given noise, at given times, for the network alone."""
    x, noise = rng.standard_normal((2, batch, 32, 32, 3), np.float32)
    t = rng.integers(1, 51, size=batch).astype(np.float32)  # sinusoids of larger ones lose digits

    def init(key: Any, of: Any, cond: Any = None) -> Any:
        return model.init(key, of[0], of[1], 3)

    def ours(variables: Any, of: Any, key: Any, cond: Any = None) -> Any:
        found = model.apply(variables, of[0], of[1], 3)
        return jnp.mean((found - of[2]) ** 2), ({}, {})

    def theirs(torch: Any, network: Callable, of: Any) -> Any:
        x, t, noise = (torch.from_numpy(one) for one in of)
        found = network(x.permute(0, 3, 1, 2), t)
        return torch.nn.functional.mse_loss(found, noise.permute(0, 3, 1, 2))

    pure = functional(model)._replace(init=init, loss=ours)
    return Task(pure, (x, t, noise), theirs)


class Layer:
    """Weights with gradients, masked or normalised whenever they are used."""

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
    """The network in PyTorch, and its layers in the order in which they were built."""
    layers: list[Layer] = []

    def ready(weights: dict[str, np.ndarray], mask: np.ndarray | None) -> Layer:
        layers.append(Layer(torch, weights, mask))
        return layers[-1]

    return NETWORKS[type(model)](torch, model, params, ready), layers


def doubled(leaf: Any) -> Any:
    """Arrays of reals in float64, everything else as it is."""
    real = isinstance(leaf, np.ndarray) and leaf.dtype == np.float32
    return leaf.astype(np.float64) if real else leaf


def difference(torch: Any, model: Any, task: Task, params: Any) -> tuple[float, float]:
    """On a few examples: the largest difference of a gradient, relative to its weight's largest; that of the loss."""
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
    """One step after the other on the same batch."""
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
