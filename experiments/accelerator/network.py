"""PixelCNN++ on 32x32 colour images and its train step as one program, shared by `throughput` and `training`.

The learning rate is part of the optimiser's state, not of the program, so that all learning rates use the same program
and the compilation cache serves both stages.
"""

import functools
import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import NamedSharding
from stage import drawn

from gen_jax import sharding
from gen_jax.density import functional
from gen_jax.models.autoregressive.pixel_cnn_pp import PixelCNNPP
from gen_jax.runs.state import TrainState, create_state
from gen_jax.train.step import jitted, train_step
from gen_jax.typing import image

KEY, EMA = 0, 0.998


class Program(NamedTuple):
    """The compiled step, which donates its state; `shapes` and `placed` are shapes and shardings of the state."""

    step: Any
    batch: int
    shapes: Any
    placed: Any
    mesh: jax.sharding.Mesh
    compile_seconds: float
    flops: float | None


def model(resnets: int, precision: str, check: bool) -> PixelCNNPP:
    """The network: 160 features and dropout 0.5 as in the paper, which has 5 resnets; small for a check."""
    dtype = "bfloat16" if precision == "bfloat16" else None
    if check:
        return PixelCNNPP(
            image(8, 8, channels=3), features=8, resnets=1, resolutions=2, mixtures=2, dtype=dtype
        )
    return PixelCNNPP(image(32, 32, channels=3), features=160, resnets=resnets, dtype=dtype)


def optimizer() -> optax.GradientTransformation:
    """Adam after clipping the norm; `with_rate` sets the learning rate."""

    def build(learning_rate):
        return optax.chain(
            optax.clip_by_global_norm(1.0), optax.adam(learning_rate, b1=0.9, b2=0.99)
        )

    return optax.inject_hyperparams(build)(learning_rate=1e-3)


def with_rate(state: TrainState, rate: float, placed: Any) -> TrainState:
    """The state with another learning rate."""
    old = state.opt_state
    where = placed.opt_state.hyperparams["learning_rate"]
    value = jax.device_put(np.float32(rate), where)
    return state._replace(
        opt_state=old._replace(hyperparams={**old.hyperparams, "learning_rate": value})
    )


def precise(precision: str) -> Any:
    """The context in which a program of this precision is built."""
    return jax.default_matmul_precision("highest" if precision == "float32" else precision)


def program(net: PixelCNNPP, batch: int, precision: str) -> Program:
    """Build the step for batches of this size."""
    pure, mesh = functional(net), sharding.device_mesh(batch)
    rows = jax.ShapeDtypeStruct((batch, *net.event.shape), jnp.int32)
    create = functools.partial(create_state, pure, optimizer(), jax.random.key(KEY))
    shapes = jax.eval_shape(create, {"x": rows, "cond": None})
    placed = sharding.state_sharding(shapes, mesh)
    step = functools.partial(
        train_step, model=pure, optimizer=optimizer(), key=jax.random.key(KEY), ema=EMA
    )
    state = jax.tree.map(_placed, shapes, placed)
    where = NamedSharding(mesh, sharding.STEPS)
    batches = {
        "x": jax.ShapeDtypeStruct((1, *rows.shape), rows.dtype, sharding=where),
        "cond": None,
    }
    begin = time.perf_counter()
    with precise(precision):
        lowered = jitted(step, mesh, placed).lower(state, batches)
    flops = operations(lowered)
    compiled = lowered.compile()
    return Program(compiled, batch, shapes, placed, mesh, time.perf_counter() - begin, flops)


def put(batch: np.ndarray, mesh: jax.sharding.Mesh) -> Any:
    """Images as arguments of the step, which takes one step per call."""
    return sharding.put({"x": batch.astype(np.int32)[None], "cond": None}, mesh, sharding.STEPS)


def some_state(program: Program) -> TrainState:
    """A state with random weights and no data-dependent initialisation, since the cost of a step depends on neither."""
    zeros = jax.tree.map(lambda like: np.zeros(like.shape, like.dtype), program.shapes)
    state = zeros._replace(params=drawn(program.shapes.params), ema=drawn(program.shapes.ema))
    return with_rate(jax.tree.map(jax.device_put, state, program.placed), 1e-4, program.placed)


def created(net: PixelCNNPP, x: np.ndarray, program: Program) -> TrainState:
    """The initial state, with data-dependent initialisation on these images."""
    create = functools.partial(create_state, functional(net), optimizer(), jax.random.key(KEY))
    batch = sharding.put({"x": x.astype(np.int32), "cond": None}, program.mesh, sharding.ROWS)
    with precise("float32"):
        return jax.jit(create, out_shardings=program.placed)(batch)


def operations(lowered: Any) -> float | None:
    """Floating-point operations of the program before compilation; library calls would not be counted afterwards."""
    try:
        return float((lowered.cost_analysis() or {})["flops"])
    except Exception as error:
        print(f"cannot count operations: {error}")
        return None


def _placed(like: Any, where: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(like.shape, like.dtype, sharding=where)
