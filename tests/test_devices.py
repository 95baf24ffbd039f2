"""Eight simulated devices: jit and pmap have the numbers of one device, samples are the same and really split."""

import functools
import re
from pathlib import Path

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cases import CASES, conditions, of_systems, random_events
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P
from test_families import SYSTEMS as FAMILIES
from test_loop import CONFIG

from gen_jax import GatedPixelCNN, InputError, functional, image, sharding, tokens
from gen_jax.cli import main
from gen_jax.data.batches import Batches
from gen_jax.data.prepared import Data, Split
from gen_jax.evaluate import draw
from gen_jax.experiment import Evaluate, Experiment
from gen_jax.models.autoregressive import base
from gen_jax.models.autoregressive.base import Autoregressive
from gen_jax.nn.recurrent import Carry
from gen_jax.runs.likelihood import Likelihoods
from gen_jax.runs.run import Run, load_run
from gen_jax.runs.state import TrainState, create_state
from gen_jax.runs.workdir import WorkDir
from gen_jax.train import loop, pmap, step
from gen_jax.train.step import train_step, train_steps

KEY = jax.random.key(0)
ROWS = 16


class Noisy(Autoregressive):
    """Independent sites under dropout. `carry` keeps each row's mask and noise, `statistics` a mean and a counter."""

    def setup(self):
        shape = (self.event.size, self.levels)
        self.table = self.param("table", nn.initializers.normal(), shape)
        self.drop = nn.Dropout(0.5)
        self.kept = Carry()
        self.mean = self.variable("statistics", "mean", jnp.zeros, ())
        self.calls = self.variable("statistics", "calls", jnp.zeros, (), jnp.int32)

    def __call__(self, x, cond=None, train=False):
        table = jnp.broadcast_to(self.table, (x.shape[0], *self.table.shape))
        return self.drop(table, deterministic=not train)

    @nn.nowrap
    def init_cache(self, n, cond=None):
        return jnp.zeros(n)

    def step(self, cache, site):
        return cache, jnp.broadcast_to(self.table[site], (cache.shape[0], self.levels))

    @nn.nowrap
    def write(self, cache, site, value):
        return cache

    def loss(self, x, key, cond=None):
        n = x.shape[0]
        kept = self.kept((jnp.zeros((n, 32)), jnp.zeros((n, 4))))
        if not self.is_initializing():
            mask = self.drop(jnp.ones((n, 32)), deterministic=False)
            kept.value = (mask, jax.random.normal(key, (n, 4)))
            self.mean.value = 0.5 * self.mean.value + 0.5 * jnp.mean(x)
            self.calls.value = self.calls.value + 1
        value, metrics = super().loss(x, key, cond)
        return value + jnp.mean(kept.value[1]), metrics


class FirstBatch(nn.Module):
    """A parameter that is the mean of the batch it is initialised from."""

    @nn.compact
    def loss(self, x, key, cond=None):
        mean = self.param("mean", lambda _: jnp.mean(x, axis=0))
        return jnp.mean((x - mean) ** 2), {}


def mesh_of(devices: int, fsdp: int = 1, among=None):
    shape, chosen = (devices // fsdp, fsdp), (among or jax.devices())[:devices]
    return jax.make_mesh(shape, sharding.AXES, axis_types=(AxisType.Auto,) * 2, devices=chosen)


def batches_of(model, x=None, steps=2):
    """Batches of 16 rows, stacked."""
    rows = np.asarray(random_events(model, steps * ROWS) if x is None else x[: steps * ROWS])
    batches = {"x": rows, "cond": jax.tree.map(np.asarray, conditions(model, steps * ROWS))}
    return jax.tree.map(lambda x: x.reshape(steps, ROWS, *x.shape[1:]), batches)


def variables_of(pure, x, cond=None, scale=0.3):
    """Random parameters, all else zero, without compiling anything."""
    rng = np.random.default_rng(0)
    shapes = dict(jax.eval_shape(functools.partial(pure.init, KEY), x, cond=cond))
    params = jax.tree.map(
        lambda x: scale * rng.normal(size=x.shape).astype(x.dtype), shapes.pop("params", {})
    )
    return {"params": params, **jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), shapes)}


def trained(model, batches, parallel, devices=8, accumulate=1, fsdp=1):
    """State before and after steps of SGD, in which a factor in the gradient shows; and the metrics."""
    pure, optimizer, mesh = functional(model), optax.sgd(0.2), mesh_of(devices, fsdp)
    collections = variables_of(pure, batches["x"][0], jax.tree.map(lambda c: c[0], batches["cond"]))
    params = collections.pop("params")
    before = TrainState(np.int32(0), params, params, optimizer.init(params), collections)
    placed = sharding.state_sharding(before, mesh)
    one = functools.partial(
        train_step, model=pure, optimizer=optimizer, key=KEY, ema=0.9, accumulate=accumulate
    )
    if parallel == "pmap":
        run = pmap.pmapped(one, mesh, placed)
    else:
        whole = NamedSharding(mesh, P())
        steps = sharding.over(mesh, functools.partial(train_steps, step=one))
        run = jax.jit(steps, out_shardings=(placed, whole))
    state = jax.device_put(before, placed)
    after, metrics = run(state, sharding.put(batches, mesh, sharding.STEPS))
    same = jax.tree.map(lambda x, s: x.sharding.is_equivalent_to(s, x.ndim), after, placed)
    assert all(jax.tree.leaves(same))
    if parallel == "pmap":
        assert all(leaf.is_deleted() for leaf in jax.tree.leaves(state.params))  # donated
    for leaf in jax.tree.leaves(after.params):
        for shard in leaf.addressable_shards:
            np.testing.assert_array_equal(shard.data, leaf[shard.index])
    return before, jax.device_get(after), jax.device_get(metrics)


PIXELS = GatedPixelCNN(
    image(3, 3, 1, 3), num_classes=3, depth=1, first_kernel=3, features=4, head_features=4
)
SYSTEMS = {
    "fvsbn": (CASES["fvsbn"].model, None, 2, 1),
    "gated_pixel_cnn": (PIXELS, None, 1, 2),
    "lstm": (FAMILIES["lstm"][0], None, 2, 1),
}


@pytest.mark.parametrize("name", SYSTEMS)
def test_pmap_and_jit_have_the_gradients_of_one_device(name):
    """Parameters, averages, collections (the carry of the LSTM) and metrics."""
    model, x, steps, accumulate = SYSTEMS[name]
    batches = batches_of(model, x, steps)
    before, alone, metrics = trained(model, batches, "jit", devices=1, accumulate=accumulate)
    moved = jax.tree.map(lambda a, b: float(np.abs(a - b).max()), alone.params, before.params)
    assert min(jax.tree.leaves(moved)) > 1e-4
    for parallel in ("jit", "pmap"):
        _, together, others = trained(model, batches, parallel, accumulate=accumulate)
        chex.assert_trees_all_close(together, alone, rtol=1e-4, atol=2e-6)
        chex.assert_trees_all_close(others, metrics, rtol=1e-4, atol=1e-6)


def test_steps_in_a_scan_are_the_steps_written_out(monkeypatch):
    """On accelerators several steps share a program; under pmap too."""
    model = CASES["fvsbn"].model
    batches = batches_of(model)
    _, written_out, _ = trained(model, batches, "pmap")
    monkeypatch.setattr(step, "unrolled", lambda: False)
    _, scanned, metrics = trained(model, batches, "pmap")
    assert metrics["loss"].shape == (2,)
    assert int(scanned.step) == 2
    chex.assert_trees_all_close(scanned.params, written_out.params, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "accumulate"), [("independent", 1), ("markov", 2), ("full_table", 2)]
)
def test_counts_are_exact(name, accumulate):
    """Counts are exact, and the code length under the counts so far is the same in both modes."""
    model = CASES[name].model
    batches = batches_of(model)
    expected = sum(np.asarray(model.increments(jnp.asarray(x)), int) for x in batches["x"])
    losses = []
    for parallel in ("jit", "pmap"):
        _, state, metrics = trained(model, batches, parallel, accumulate=accumulate)
        np.testing.assert_array_equal(state.collections["counts"]["table"], expected)
        losses.append(metrics["loss"])
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-6)


@pytest.mark.parametrize("parallel", ["jit", "pmap"])
def test_noise_differs_between_rows_and_devices_and_statistics_are_of_all_rows(parallel):
    model = Noisy(tokens(3, 5))
    batches = batches_of(model)
    _, state, _ = trained(model, batches, parallel)
    for kept in state.collections["carry"]["kept"]["state"]:
        assert len(np.unique(kept, axis=0)) == ROWS
    statistics = state.collections["statistics"]
    assert int(statistics["calls"]) == 2
    first, second = (x.mean() for x in batches["x"])
    np.testing.assert_allclose(statistics["mean"], 0.25 * first + 0.5 * second, rtol=1e-5)


def test_initialisation_is_from_the_whole_batch():
    """What `loop.train` calls in both modes; every device holds the same."""
    x = np.arange(ROWS * 3, dtype=np.float32).reshape(ROWS, 3)
    mesh = mesh_of(8)
    create = functools.partial(create_state, functional(FirstBatch()), optax.sgd(0.1), KEY)
    batch = sharding.put({"x": x, "cond": None}, mesh, sharding.ROWS)
    state = jax.jit(create, out_shardings=NamedSharding(mesh, P()))(batch)
    for shard in state.params["mean"].addressable_shards:
        np.testing.assert_allclose(shard.data, x.mean(axis=0), rtol=1e-6)


def test_the_loop_under_pmap(data_dir, tmp_path, monkeypatch):
    """Train eight steps; stop between the checkpoint of four and the next and resume: the same bits."""
    experiment = Experiment(
        model=Noisy(image(8, 8, 1, 17)), data=Data("digits"), steps=8, batch_size=ROWS,
        evaluate=Evaluate(every=4, batch_size=16, examples=16),
    )  # fmt: skip
    undisturbed = loop.train(experiment, WorkDir(tmp_path / "one"), data_dir, "pmap")
    assert int(undisturbed.step) == 8

    workdir, batch = WorkDir(tmp_path / "two"), Batches.batch

    def stop(self, at, mine=slice(None)):
        if at == 6:
            raise KeyboardInterrupt
        return batch(self, at, mine)

    with monkeypatch.context() as patch:
        patch.setattr(Batches, "batch", stop)
        with pytest.raises(KeyboardInterrupt):
            loop.train(experiment, workdir, data_dir, "pmap")
    with pytest.raises(
        InputError, match=r"started with --parallel pmap on 8 devices, .* than jit;"
    ):
        loop.train(experiment, workdir, data_dir)
    resumed = loop.train(experiment, workdir, data_dir, "pmap")
    chex.assert_trees_all_equal(jax.device_get(resumed), jax.device_get(undisturbed))
    assert [row["step"] for row in workdir.metrics_rows() if row["split"] == "train"] == [4, 8]

    rows = [row for row in workdir.metrics_rows() if row["split"] == "validation"]
    run = load_run(workdir.path, trust=True)
    assert run.step == min(rows, key=lambda row: row["bits_per_dim"])["step"]
    assert draw.sample(run, 3).shape == (3, 8, 8, 1)


def test_what_a_work_directory_was_started_with(tmp_path):
    """Runs from before the mode was recorded used jit, where the number of devices decides no noise."""
    experiment = Experiment(model=PIXELS, data=Data("digits"), steps=1, batch_size=8)
    old, new = WorkDir(tmp_path / "old"), WorkDir(tmp_path / "new")
    old.claim(experiment, {})
    old.claim(experiment, {"parallel": "jit", "devices": 8})
    with pytest.raises(
        InputError, match=r"started with --parallel jit, .* than pmap on 8 devices;"
    ):
        old.claim(experiment, {"parallel": "pmap", "devices": 8})
    new.claim(experiment, {"parallel": "pmap", "devices": 8})
    new.claim(experiment, {"parallel": "pmap", "devices": 8})
    with pytest.raises(InputError, match=r"pmap on 8 devices, .* than pmap on 4 devices;"):
        new.claim(experiment, {"parallel": "pmap", "devices": 4})


@pytest.mark.parametrize(("flags", "expected"), [((), "jit"), (("--parallel", "pmap"), "pmap")])
def test_the_command_passes_the_mode_on(flags, expected, tmp_path, monkeypatch, capsys):
    asked = []
    monkeypatch.setattr("gen_jax.runtime.set_up", lambda _: None)
    trained = TrainState(np.int32(1), {}, {}, {}, {})
    monkeypatch.setattr(loop, "train", lambda *args, **_: asked.append(args[3]) or trained)
    monkeypatch.setattr("gen_jax.runs.run.diverged", lambda *_: None)
    assert main(["train", str(CONFIG), "--workdir", str(tmp_path), *flags]) == 0
    assert asked == [expected]
    with pytest.raises(SystemExit):
        main(["train", str(CONFIG), "--parallel", "tmap"])
    assert "invalid choice: 'tmap'" in capsys.readouterr().err


@pytest.mark.parametrize(("name", "num"), [("markov", 15), ("gated_pixel_cnn", 11)])
def test_samples_and_completions_do_not_depend_on_the_devices(name, num, monkeypatch):
    """Batches of 12, 3 and 11 rows do not split over eight devices."""
    monkeypatch.setattr(base, "BATCH", 12)
    model = PIXELS if name == "gated_pixel_cnn" else CASES[name].model
    keep = np.zeros(model.event.shape, bool)
    keep.reshape(-1)[: model.event.size // 2] = True
    x = np.asarray(random_events(model, num))
    classes = jax.tree.map(np.asarray, conditions(model, num))
    pure = functional(model)
    variables = variables_of(pure, x, classes)
    if "counts" in variables:
        table = variables["counts"]["table"]
        variables["counts"]["table"] = np.arange(table.size, dtype=np.float32).reshape(table.shape)
    experiment = Experiment(model=model, data=Data("some"), steps=1, batch_size=8)
    drawn = []
    for devices in (1, 8):
        mesh = mesh_of(devices)
        placed = jax.device_put(variables, NamedSharding(mesh, P()))
        run = Run(experiment, pure, placed, 0, mesh, WorkDir(Path("nowhere")))
        rest = draw.complete(run, x, keep, seed=3, labels=classes)
        np.testing.assert_array_equal(rest[:, keep], x[:, keep])
        drawn.append((draw.sample(run, num, seed=3), rest))
    chex.assert_trees_all_equal(*drawn)
    assert len(drawn[0][0]) == len(drawn[0][1]) == num
    assert len(np.unique(drawn[0][0].reshape(num, -1), axis=0)) > 4


@pytest.mark.parametrize("case", of_systems())
def test_sampling_is_split_over_the_devices(case):
    """Read in the compiled program: a loop carries a device's rows, no buffer has all, nothing is sent."""
    model, mesh, rows = case.model, mesh_of(8), 31
    pure, cond = functional(model), conditions(model, 8 * rows)
    shapes = variables_of(pure, random_events(model, 2), conditions(model, 2))
    variables = jax.device_put(shapes, NamedSharding(mesh, P()))
    cond = sharding.put_rows(jax.tree.map(np.asarray, cond), mesh)
    lowered = draw.sampler(pure, mesh).lower(variables, KEY, 8 * rows, cond, 1.0)
    program = lowered.compile({"xla_backend_optimization_level": 0}).as_text()
    dimensions = re.findall(r"\w+\[([\d,]+)\]", program)
    sizes = {int(size) for shape in dimensions for size in shape.split(",")}
    assert 8 * rows not in sizes
    loops = [line for line in program.splitlines() if " while(" in line]
    assert any(re.search(rf"\[(\d+,)*{rows}[,\]]", line) for line in loops)
    assert not re.search(r"(all-\w+|collective-\w+|reduce-scatter)(-start)?\(", program)


@pytest.mark.parametrize("batch_size", [3, 20])
def test_a_bound_does_not_depend_on_the_devices(batch_size):
    """19 examples in batches that do not split: each gets the same noise."""
    vae, x = FAMILIES["vae"][0], FAMILIES["vae"][1][:19]
    pure = functional(vae)
    variables = variables_of(pure, x)
    split = Split("some", "1.0.0", "test", x, None, vae.event, 0)
    alone, together = (
        Likelihoods(pure, mesh_of(devices), batch_size, KEY)(variables, split).per_example
        for devices in (1, 8)
    )
    assert len(alone) == 19
    np.testing.assert_allclose(alone, together, rtol=1e-5)
