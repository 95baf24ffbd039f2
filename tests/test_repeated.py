"""Equal blocks under a scan have the law of those written out, and what is computed again has the same values."""

import functools
from dataclasses import replace
from typing import Any

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import CASES, build, random_events
from test_devices import KEY, variables_of

from gen_jax import DDPM, VDM, VDVAE, Glow, functional, image
from gen_jax.nn.repeated import repeated, through
from gen_jax.nn.unet import UNet

Tree = dict[str, Any]


class Layer(nn.Module):
    """tanh(W x + sum of the inputs), dropped in training; in steps plus what the layer gave in all steps before."""

    @nn.compact
    def __call__(self, x, *inputs, steps=False, train=False):
        h = jnp.tanh(nn.Dense(x.shape[-1])(x) + sum(inputs))
        h = nn.Dropout(0.5)(h, deterministic=not train)
        if steps:
            past = self.variable("cache", "past", jnp.zeros, x.shape)
            h = past.value = past.value + h
        return h


class Net(nn.Module):
    """Three layers; each reads a row of `inputs`, and what they give is returned too."""

    scan: bool = False
    remat: bool = False

    def setup(self):
        self.layers = repeated(Layer, 3, self.scan)

    def __call__(self, x, *inputs, steps=False, train=False):
        def body(layer, h, *inputs):
            h = layer(h, *inputs, steps=steps, train=train)
            return h, h

        x, rows = through(self.layers, 3, body, x, *inputs, remat=self.remat, steps=steps)
        return x, [*rows]


X = np.random.default_rng(0).normal(size=(2, 4)).astype(np.float32)
ROWS = list(np.random.default_rng(1).normal(size=(3, 2, 4)).astype(np.float32))
LAYERS = Net().init(KEY, X)["params"]


def stack(trees) -> Tree:
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


STACKED = {"layers": stack([LAYERS[f"layers_{i}"] for i in range(3)])}
FORMS = {
    f"scan={scan} remat={remat}": (Net(scan, remat), STACKED if scan else LAYERS)
    for scan in (False, True)
    for remat in (False, True)
}


@pytest.mark.parametrize("name", FORMS)
def test_all_forms_of_a_net_agree(name):
    """Every layer's output and the gradient, with a row of inputs for each layer and without."""
    net, params = FORMS[name]

    def loss(net, params):
        both = [net.apply({"params": params}, X, *inputs) for inputs in ((), (ROWS,))]
        return sum(jnp.sum(x**2) for x, _ in both), both

    def values(net, params):
        return jax.value_and_grad(functools.partial(loss, net), has_aux=True)(params)

    found, gradient = jax.jit(functools.partial(values, net))(params)
    expected, of_layers = jax.jit(functools.partial(values, Net()))(LAYERS)
    if net.scan:
        of_layers = {"layers": stack([of_layers[f"layers_{i}"] for i in range(3)])}
    chex.assert_trees_all_close((found, gradient), (expected, of_layers), rtol=1e-5, atol=1e-6)
    text = str(jax.make_jaxpr(functools.partial(values, net))(params))
    assert ("remat" in text) == net.remat


@pytest.mark.parametrize("name", FORMS)
def test_every_layer_has_its_own_cache(name):
    """Four steps give what the same steps of written layers give; a later step reads all earlier ones."""

    def steps(net, params):
        cache, results = {}, []
        for step in range(4):
            variables = {"params": params, "cache": cache}
            (x, _), new = net.apply(variables, X * step, ROWS, steps=True, mutable=["cache"])
            cache = new["cache"]
            results.append(x)
        return results, cache

    net, params = FORMS[name]
    found = jax.jit(functools.partial(steps, net))(params)
    expected = jax.jit(functools.partial(steps, Net()))(LAYERS)
    chex.assert_trees_all_close(found, expected, rtol=1e-5, atol=1e-6)


def test_layers_of_a_scan_draw_for_themselves():
    """Two scanned layers with equal weights and inputs start and drop otherwise."""
    net = Net(scan=True)
    kernel = net.init(KEY, X)["params"]["layers"]["Dense_0"]["kernel"]
    ones = jax.tree.map(jnp.ones_like, STACKED)
    ones["layers"]["Dense_0"]["kernel"] *= 0
    _, rows = net.apply({"params": ones}, X, train=True, rngs={"dropout": KEY})
    for i, j in ((0, 1), (1, 2), (0, 2)):
        assert not np.array_equal(kernel[i], kernel[j])
        assert not np.array_equal(rows[i], rows[j])


def of_resolution(tree: Tree) -> Tree:
    """PixelCNN++: down_0, down_1, ... as `down` and up_0, up_1, ... as `up`, here and at coarser resolutions."""
    scanned = {name: part for name, part in tree.items() if not name[-1].isdigit()}
    if "coarser" in scanned:
        scanned["coarser"] = of_resolution(scanned["coarser"])
    for way in ("down", "up"):
        names = [name for name in sorted(tree) if name[:-1] == f"{way}_" and name not in scanned]
        scanned[way] = stack([tree[name] for name in names])
    return scanned


def of_net(tree: Tree) -> Tree:
    """A U-net of one resolution: two blocks down, two in the middle, three up, in the order of their numbers."""
    block = lambda i: tree[f"TimeBlock_{i}"]  # noqa: E731
    scanned = {name: part for name, part in tree.items() if not name.startswith("TimeBlock")}
    runs = (stack([block(0), block(1)]), block(2), block(3), stack([block(4), block(5), block(6)]))
    return scanned | {f"TimeBlock_{i}": part for i, part in enumerate(runs)}


NET = UNet(4, (1,), 2, (), 2, 0.0, zero_time=True)
IMAGE = image(4, 4, 3, 8)
SCANNED = {
    "pixel_cnn_pp": (
        replace(CASES["pixel_cnn_pp_scanned"].model, dropout=0.0),
        lambda tree: tree | {"finest": of_resolution(tree["finest"])},
    ),
    "vdm": (
        VDM(IMAGE, replace(NET, scan=True)),
        lambda tree: tree | {"network": of_net(tree["network"])},
    ),
}


def unrolled(model):
    """The model with blocks written out, in itself or in its network."""
    if hasattr(model, "network"):
        return replace(model, network=replace(model.network, scan=False))
    return replace(model, scan=False)


@pytest.mark.parametrize("name", SCANNED)
def test_a_scan_is_the_blocks_written_out(name):
    """Loss, gradient, log p, and samples, which in PixelCNN++ go through rows, sites and their caches."""
    model, scanned = SCANNED[name]
    pure, written = functional(model), functional(unrolled(model))
    x = random_events(model, 4)
    params = build(unrolled(model), scale=0.2)[1]["params"]
    shapes = jax.eval_shape(pure.init, KEY, x)["params"]
    chex.assert_trees_all_equal_shapes(scanned(params), shapes)

    def results(pure, params):
        loss = lambda params: pure.loss({"params": params}, x, KEY)[0]  # noqa: E731
        sample = pure.sample({"params": params}, KEY, 3)
        return jax.value_and_grad(loss)(params), pure.log_prob({"params": params}, x, KEY), sample

    (loss, gradient), *expected = jax.jit(functools.partial(results, written))(params)
    found = jax.jit(functools.partial(results, pure))(scanned(params))
    chex.assert_trees_all_close(found, ((loss, scanned(gradient)), *expected), rtol=1e-4, atol=1e-5)


def test_a_scanned_network_shows_its_blocks():
    """Probes read the same features of the same blocks, in the same order."""
    model, scanned = SCANNED["pixel_cnn_pp"]
    params, x = build(unrolled(model))[1]["params"], random_events(model, 2)

    def shown(model, params):
        return model.apply({"params": params}, x, method="block_features")

    expected = jax.jit(functools.partial(shown, unrolled(model)))(params)
    assert len(expected) == 2 + 2 + 2 + 3
    found = jax.jit(functools.partial(shown, model))(scanned(params))
    chex.assert_trees_all_close(found, expected, rtol=1e-4, atol=1e-5)


REMAT = {
    "pixel_cnn_pp": replace(CASES["pixel_cnn_pp"].model, dropout=0.3),
    "pixel_cnn_pp_scanned": replace(CASES["pixel_cnn_pp_scanned"].model, dropout=0.3),
    "vdm": VDM(IMAGE, replace(NET, scan=True, dropout=0.3)),
    "ddpm": DDPM(IMAGE, UNet(4, (1, 2), 1, (4,), 2, 0.3)),
    "glow": Glow(IMAGE, scales=1, depth=2, width=4),
    "vd_vae": VDVAE(IMAGE, encoder="4x2,4d4,1x1", decoder="1x1,4m1,4x2", width=8, latent=2),
}


@pytest.mark.parametrize("name", REMAT)
def test_recomputing_changes_nothing(name):
    """The same parameters by name, loss and gradient; and blocks are computed again."""
    model = REMAT[name]
    x = random_events(model, 4)
    again = model if hasattr(model, "remat") else model.network
    again = replace(again, remat=True)
    again = again if hasattr(model, "remat") else replace(model, network=again)
    pure, again = functional(model), functional(again)
    variables = variables_of(pure, x)
    chex.assert_trees_all_equal_shapes(variables, variables_of(again, x))

    def gradient(pure):
        loss = lambda params: pure.loss({**variables, "params": params}, x, KEY)[0]  # noqa: E731
        return jax.value_and_grad(loss)

    programs = [gradient(each) for each in (pure, again)]
    texts = [str(jax.make_jaxpr(program)(variables["params"])) for program in programs]
    assert ["remat" in text for text in texts] == [False, True]
    values = [jax.jit(program)(variables["params"]) for program in programs]
    chex.assert_trees_all_close(*values, rtol=1e-5, atol=1e-6)
