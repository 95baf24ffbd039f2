"""A state split over devices: the rule, the numbers of a whole state, what is gathered, and resuming elsewhere."""

import functools
import importlib.util
import re
from dataclasses import replace

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import PartitionSpec as P
from test_devices import KEY, PIXELS, ROWS, Noisy, batches_of, mesh_of, trained, variables_of

from gen_jax import InputError, PixelCNNPP, SparseTransformer, functional, image, sharding
from gen_jax.bench import scaling
from gen_jax.bench.collectives import collectives
from gen_jax.conditions import zeros
from gen_jax.data.prepared import Data
from gen_jax.experiment import Evaluate, Experiment
from gen_jax.ops.patterns import Local, Strided
from gen_jax.optimizer import Adam
from gen_jax.runs.checkpoint import Checkpoints
from gen_jax.runs.run import load_run
from gen_jax.runs.state import Averages, TrainState, create_state
from gen_jax.runs.workdir import WorkDir
from gen_jax.train import loop, step
from gen_jax.train.step import jitted, train_step


@pytest.mark.parametrize(
    ("shape", "parts", "expected"),
    [
        ((512, 128), 8, P("fsdp")),
        ((128, 512), 8, P(None, "fsdp")),
        ((256, 256), 8, P("fsdp")),  # the first of equals
        ((1000, 16, 12), 4, P("fsdp")),
        ((1001, 16, 12), 4, P(None, "fsdp")),  # 4 does not divide the longest
        ((1001, 63), 8, P()),
        ((128, 127), 8, P()),  # below 64 KiB
        ((128, 128), 8, P("fsdp")),
        ((512, 128), 1, P()),
    ],
)
def test_the_rule(shape, parts, expected):
    assert sharding.leaf_spec(jax.ShapeDtypeStruct(shape, jnp.float32), parts) == expected


def test_what_is_refused():
    with pytest.raises(InputError, match="--fsdp 3 does not divide the number of devices, 8"):
        sharding.device_mesh(16, 3)
    with pytest.raises(InputError, match="pmap keeps the whole state on every device"):
        trained(PIXELS, batches_of(PIXELS, steps=1), "pmap", fsdp=4)


@pytest.mark.parametrize("fsdp", [2, 8])
def test_a_split_state_has_the_numbers_of_a_whole_one(fsdp, monkeypatch):
    """Parameters, averages and metrics after a step, and most of the state really in parts."""
    monkeypatch.setattr(sharding, "LEAST", 64)
    model = replace(PIXELS, features=8, head_features=8)
    batches = batches_of(model, steps=1)
    _, alone, metrics = trained(model, batches, "jit", devices=1)
    before, split, others = trained(model, batches, "jit", fsdp=fsdp)
    placed = sharding.state_sharding(before, mesh_of(8, fsdp))
    held = sharding.held(sharding.shaped(before, placed))
    assert held.device < (0.2 + 1 / fsdp) * held.total
    chex.assert_trees_all_close(split, alone, rtol=1e-4, atol=2e-6)
    chex.assert_trees_all_close(others, metrics, rtol=1e-4, atol=1e-6)


def placed_state(model, fsdp):
    """Shapes and shardings of the state of a training by Adam on eight devices; nothing is computed."""
    rows = jax.ShapeDtypeStruct((ROWS, *model.event.shape), jnp.int32)
    create = functools.partial(create_state, functional(model), Adam().build(), KEY)
    shapes = jax.eval_shape(create, {"x": rows, "cond": None})
    return sharding.shaped(shapes, sharding.state_sharding(shapes, mesh_of(8, fsdp)))


def transformer(dtype=None):
    """Two layers that are wide enough to be split."""
    patterns = (Strided(8), Local(8))
    sizes = {"features": 128, "heads": 2, "key_features": 128, "inner": 512, "dropout": 0.0}
    return SparseTransformer(image(8, 8, 1, 17), patterns, layers=2, dtype=dtype, **sizes)


def compiled(model, fsdp, accumulate=1, devices=None, rows=ROWS):
    """The text of a step's program."""
    x = jax.ShapeDtypeStruct((rows, *model.event.shape), jnp.int32)
    batch = {"x": x, "cond": jax.eval_shape(lambda: zeros(model, rows))}
    pure, optimizer = functional(model), optax.sgd(0.1)
    mesh = mesh_of(8, fsdp, devices)
    create = functools.partial(create_state, pure, optimizer, KEY)
    shapes = jax.eval_shape(create, batch)
    placed = sharding.state_sharding(shapes, mesh)
    one = functools.partial(
        train_step, model=pure, optimizer=optimizer, key=KEY, ema=0.9, accumulate=accumulate
    )
    where = jax.sharding.NamedSharding(mesh, sharding.STEPS)
    batches = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct((1, *leaf.shape), leaf.dtype, sharding=where), batch
    )
    lowered = jitted(one, mesh, placed).lower(sharding.shaped(shapes, placed), batches)
    return lowered.compile().as_text()


def test_kernels_are_gathered_and_not_activations(monkeypatch):
    """Every gathered array has the shape of a kernel or a table; none has the rows of several devices."""
    monkeypatch.setattr(sharding, "LEAST", 4096)
    program = compiled(transformer(), fsdp=8)
    found = re.findall(r"= \w+\[([\d,]+)\]\S* all-gather\(", program)
    assert len(found) >= 12  # six kernels a layer
    sizes = {tuple(sorted(map(int, shape.split(",")))) for shape in found}
    # A transposed kernel, or one of a stack; then codes of symbols and of places, and the logits.
    kernels = {(128, 128), (128, 512), (1, 128, 128), (1, 128, 512)}
    tables = {(17, 128), (8, 128)}
    assert tables <= sizes <= kernels | tables
    assert "all-to-all" not in program


def test_gradients_of_parts_are_added_up_before_those_of_devices(monkeypatch):
    """In a loop over parts the sum of gradients is carried, read by nothing but the addition."""
    monkeypatch.setattr(step, "unrolled", lambda: False)
    model = transformer()
    pure = functional(model)
    x = np.zeros((ROWS, *model.event.shape), np.int32)
    variables = variables_of(pure, x)
    state = TrainState(jnp.int32(0), variables["params"], variables["params"], (), {})
    one = functools.partial(
        train_step, model=pure, optimizer=optax.identity(), key=KEY, ema=0.9, accumulate=4
    )
    jaxpr = jax.make_jaxpr(one)(state, {"x": x, "cond": None}).jaxpr
    [loop_] = [
        eqn for eqn in jaxpr.eqns if eqn.primitive.name == "scan" and eqn.params["length"] == 4
    ]
    body, count = loop_.params["jaxpr"].jaxpr, len(jax.tree.leaves(state.params))
    carried = body.invars[loop_.params["num_consts"] :][: loop_.params["num_carry"]]
    assert len(carried) == count
    for before, after in zip(carried, body.outvars, strict=False):
        readers = [eqn for eqn in body.eqns if before in eqn.invars]
        assert [eqn.primitive.name for eqn in readers] in (["add"], ["add_any"])
        assert readers[0].outvars == [after]
    summed = {loop_.outvars[i].aval.shape for i in range(count, len(loop_.outvars))}
    assert summed == {(4,)}  # metrics alone are kept for each part


@pytest.mark.skipif(not importlib.util.find_spec("libtpu"), reason="libtpu is not installed")
def test_a_tpu_reduces_once(monkeypatch):
    """By the programs for eight chips: four parts send the gradients of one; their loop sends only scalars."""
    monkeypatch.setattr(step, "unrolled", lambda: False)
    chips = scaling.chips_of("v5e:2x4")
    whole, parts = (collectives(compiled(PIXELS, 1, count, chips, rows=32), 8) for count in (1, 4))
    x = np.zeros((1, *PIXELS.event.shape), np.int32)
    params = variables_of(functional(PIXELS), x, cond=np.zeros(1, np.int32))["params"]
    numbers = sum(leaf.size for leaf in jax.tree.leaves(params))
    assert {one.kind for one in whole + parts} == {"all-reduce"}
    assert [one.bytes for one in parts if one.times == 1] == [4 * numbers]
    assert (
        sum(one.bytes for one in parts if one.times == 4) == 12
    )  # the loss, and two checks of the values
    # At once XLA sends one of two equal gradients: those of biases that are added to the same.
    alike = params["layers_0"]["link"]["bias"].size
    assert sum(one.bytes for one in whole) == 4 * (numbers - alike) + 12


def experiment(steps=8):
    return Experiment(
        model=Noisy(image(8, 8, 1, 17)), data=Data("digits"), steps=steps, batch_size=ROWS,
        evaluate=Evaluate(every=4, batch_size=16, examples=16),
    )  # fmt: skip


def test_a_run_goes_on_split_otherwise(data_dir, tmp_path, monkeypatch, caplog):
    """Four steps whole, two over two devices, two over eight; evaluation reads averages only, split or not."""
    monkeypatch.setattr(sharding, "LEAST", 512)
    whole = loop.train(experiment(), WorkDir(tmp_path / "whole"), data_dir)
    workdir = WorkDir(tmp_path / "split")
    with caplog.at_level("INFO"):
        for until, fsdp in ((4, 1), (6, 2), (8, 8)):
            state = loop.train(experiment(), workdir, data_dir, until=until, fsdp=fsdp)
    chex.assert_trees_all_close(jax.device_get(state), jax.device_get(whole), rtol=1e-5, atol=1e-6)
    [table] = jax.tree.leaves(state.params)
    assert table.sharding.shard_shape(table.shape) == (8, 17)
    assert "fsdp 8: " in caplog.text

    read = []
    restore = Checkpoints.restore
    monkeypatch.setattr(
        Checkpoints, "restore", lambda *args: read.append(restore(*args)) or read[-1]
    )
    runs = [load_run(workdir.path, trust=True, fsdp=fsdp) for fsdp in (1, 8)]
    assert {type(state) for state, _ in read} == {Averages}
    chex.assert_trees_all_equal(*(jax.device_get(run.variables) for run in runs))
    [table] = jax.tree.leaves(runs[1].variables["params"])
    assert table.sharding.shard_shape(table.shape) == (8, 17)


@pytest.mark.parametrize(
    ("model", "parameters"),
    [
        (PixelCNNPP(image(32, 32, 3, 256)), 53_659_080),
        (
            SparseTransformer(
                image(32, 32, 3, 256),
                layers=48,
                features=512,
                heads=8,
                key_features=512,
                inner=2048,
            ),
            151_612_416,
        ),
    ],
    ids=["pixel_cnn_pp", "sparse_transformer"],
)
def test_eight_devices_hold_an_eighth(model, parameters):
    """Of the models of 53.7 and 152 million parameters, with averages and both moments: at most 0.14."""
    state = placed_state(model, 8)
    assert sum(leaf.size for leaf in jax.tree.leaves(state.params)) == parameters
    held = sharding.held(state)
    assert held.total == pytest.approx(16 * parameters, rel=1e-3)
    assert held.device <= 0.14 * held.total
