"""Initial values: residual branches of scale 0.1, couplings and noise of 0, layers of unit scale."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gen_jax import NADE, binary, functional
from gen_jax.models.autoregressive.pixel_snail import PointwiseResnet
from gen_jax.models.flow.real_nvp import ResNet
from gen_jax.nn import unet
from gen_jax.nn.gated_resnet import GatedResnet
from gen_jax.nn.shifted_conv import Project

KEY = jax.random.key(0)
X = 3 + 2 * jax.random.normal(KEY, (8, 4, 4, 4))


def seen_inside(block, name, *inputs):
    """The output of the layer `name` in the block, after initialisation on these inputs."""

    def outputs(*inputs):
        wanted = lambda layer, method: layer.name == name and method == "__call__"  # noqa: E731
        variables = block.init(KEY, *inputs)
        _, state = block.apply(
            variables, *inputs, capture_intermediates=wanted, mutable=["intermediates"]
        )
        return state["intermediates"]

    [out] = jax.tree.leaves(jax.jit(outputs)(*inputs))
    return np.asarray(out, np.float64)


@pytest.mark.parametrize("block", [GatedResnet(4, width=2, aux=False), PointwiseResnet()])
def test_residual_branches_begin_at_a_tenth(block):
    """A block's output before its gate has standard deviation 0.1 over the first batch (init_scale in their code)."""
    out = seen_inside(block, "second", X)
    np.testing.assert_allclose(np.std(out, axis=(0, 1, 2)), 0.1, rtol=1e-4)


def test_a_constant_output_keeps_its_scale():
    """Its standard deviation is 0: the gain is `init_scale`, and the bias still gives it mean 0."""
    x = jnp.broadcast_to(jnp.asarray([1.0, -2.0, 0.5]), (6, 3))
    variables = jax.jit(Project(5, 0.1).init)(KEY, x)
    np.testing.assert_allclose(variables["params"]["scale"], 0.1, rtol=1e-6)
    np.testing.assert_allclose(np.asarray(Project(5, 0.1).apply(variables, x)), 0, atol=1e-6)


def test_directions_begin_small():
    """N(0, 0.05^2): the length does not affect the output, but it sets the relative size of an optimiser step."""
    module = Project(60)
    variables = jax.jit(module.init)(KEY, jax.random.normal(KEY, (9, 50)))
    direction = variables["params"]["direction"]
    np.testing.assert_allclose(np.std(direction), 0.05, rtol=0.05)


def test_couplings_begin_as_the_identity():
    """Shift and scale of an image's flow are zero."""
    network = ResNet(4, 1)
    variables = jax.jit(network.init, static_argnums=2)(KEY, X, 6)
    assert not np.any(jax.jit(network.apply, static_argnums=2)(variables, X, 6))


def test_layers_keep_the_scale():
    """Weights of NADE have variance 1 / fan-in: all inputs for a hidden unit, all hidden units for an output."""
    model = NADE(binary(60), hidden=50)
    params = jax.jit(functional(model).init)(KEY, jnp.zeros((1, 60), int))["params"]
    np.testing.assert_allclose(np.std(params["kernel"]) * np.sqrt(60), 1.0, rtol=0.05)
    np.testing.assert_allclose(np.std(params["out_kernel"]) * np.sqrt(50), 1.0, rtol=0.05)


def test_group_normalisation_adds_a_millionth():
    """The U-net adds 1e-6 to the variance of a group, as the code of Ho et al. does."""
    x = 1e-3 * X
    out = seen_inside(unet.TimeBlock(4, 2), "GroupNorm_0", x, jnp.zeros((8, 4)))
    before, after = (
        np.asarray(v, np.float64).reshape(8, 16, 2, 2).var(axis=(1, 3)) for v in (x, out)
    )
    np.testing.assert_allclose(after, before / (before + 1e-6), rtol=1e-3)
