"""`bench scaling`: collectives and operations against hand counts, a row against its formulas, what is refused."""

import functools
import importlib.util
import json

import jax
import jax.numpy as jnp
import pytest
from jax import lax
from jax.sharding import PartitionSpec as P
from test_devices import mesh_of

from gen_jax import GatedPixelCNN, InputError, image, sharding, target
from gen_jax.bench import chips, record, scaling
from gen_jax.bench.collectives import Collective, collectives, totals
from gen_jax.bench.operations import operations
from gen_jax.cli import main
from gen_jax.data.prepared import Data
from gen_jax.experiment import Evaluate, Experiment
from gen_jax.ops.convolution import convolve

TPU = """
HloModule jit_step, is_scheduled=true

%add (a: f32[], b: f32[]) -> f32[] {
  ROOT %sum = f32[] add(%a, %b)
}

%start (p: bf16[1,32,256]) -> (bf16[1,32,256], bf16[1,256,256]) {
  %all-gather.1 = bf16[1,256,256]{2,1,0:T(8,128)(2,1)} all-gather(%p), channel_id=7, replica_groups=mesh['axis_0'=2,'axis_1'=4] {'axis_1'}, dimensions={1}
  ROOT %custom-call.1 = (bf16[1,32,256]{2,1,0}, bf16[1,256,256]{2,1,0:T(8,128)(2,1)S(1)}) custom-call(%all-gather.1), custom_call_target="AsyncCollectiveStart"
}

%done (p: bf16[1,32,256]) -> bf16[1,256,256] {
  %all-gather.2 = bf16[1,256,256]{2,1,0:T(8,128)(2,1)} all-gather(%p), channel_id=7, replica_groups=mesh['axis_0'=2,'axis_1'=4] {'axis_1'}, dimensions={1}
  ROOT %custom-call.2 = bf16[1,256,256]{2,1,0} custom-call(%all-gather.2), custom_call_target="AsyncCollectiveDone"
}

%all-reduce-scatter.1 (g: f32[1024]) -> f32[128] {
  %all-reduce.1 = f32[1024]{0:T(1024)} all-reduce(%g), channel_id=8, replica_groups={{0,1,2,3,4,5,6,7}}, to_apply=%add
  ROOT %dynamic-slice = f32[128]{0} dynamic-slice(%all-reduce.1, %i), dynamic_slice_sizes={128}
}

%all-reduce-scatter.2 (g: f32[512]) -> f32[64] {
  %all-reduce.4 = f32[512]{0:T(512)} all-reduce(%g), channel_id=8, replica_groups={{0,1,2,3,4,5,6,7}}, to_apply=%add
  ROOT %dynamic-slice = f32[64]{0} dynamic-slice(%all-reduce.4, %i), dynamic_slice_sizes={64}
}

%body (s: (s32[], f32[1024])) -> (s32[], f32[1024]) {
  %fusion.1 = (bf16[1,32,256]{2,1,0}, bf16[1,256,256]{2,1,0}) fusion(%w), kind=kCustom, calls=%start
  %fusion.2 = bf16[1,256,256]{2,1,0} fusion(%fusion.1), kind=kCustom, calls=%done
  %fusion.3 = f32[128]{0} fusion(%g), kind=kCustom, calls=%all-reduce-scatter.1
  %fusion.4 = f32[64]{0} fusion(%h), kind=kCustom, calls=%all-reduce-scatter.2
  ROOT %tuple = (s32[], f32[1024]{0}) tuple(%i, %g)
}

%condition (s: (s32[], f32[1024])) -> pred[] {
  %n = s32[]{:T(128)} constant(24)
  %i = s32[]{:T(128)} get-tuple-element(%s), index=0
  ROOT %less = pred[] compare(%i, %n), direction=LT
}

ENTRY %main (x: f32[1024]) -> f32[1024] {
  %while.1 = (s32[], f32[1024]{0}) while(%init), condition=%condition, body=%body, backend_config={}
  %all-reduce.2 = (f32[], /*index=1*/f32[10]{0}) all-reduce(%a, %b), channel_id=9, replica_groups=[2,4]<=[8], to_apply=%add
  %all-reduce.3 = f32[5]{0} all-reduce(%c), channel_id=10, replica_groups=[8,1]<=[8], to_apply=%add
  ROOT %copy = f32[1024]{0} copy(%while.1)
}
"""  # noqa: E501


def test_a_tpu_program_by_hand():
    """Parts of one asynchronous gather are one, two sums of a channel two; loops multiply; groups in three forms."""
    found = collectives(TPU, 8)
    assert sorted(found) == [
        Collective("all-gather", 2 * 256 * 256, 4, 24),
        Collective("all-reduce", 4 * 11, 4, 1),
        Collective("reduce-scatter", 4 * 512, 8, 24),
        Collective("reduce-scatter", 4 * 1024, 8, 24),
    ]
    sent = {one.kind: one.sent for one in found}
    assert sent["all-gather"] == 24 * 2 * 256 * 256 * 3 / 4
    assert sent["all-reduce"] == 2 * 44 * 3 / 4
    assert totals(found)["reduce-scatter"]["sent"] == 24 * (4096 + 2048) * 7 / 8
    assert totals(found)["all-gather"] == {
        "count": 24,
        "bytes": 24 * 2 * 256 * 256,
        "sent": sent["all-gather"],
    }


def test_collectives_of_compiled_programs():
    """What XLA makes of collectives that are written out, in a loop of three."""
    mesh = mesh_of(8, 4)

    @functools.partial(
        jax.shard_map, mesh=mesh, in_specs=P(("data", "fsdp")), out_specs=P(("data", "fsdp"))
    )
    def program(x):
        def round_(x, _):
            y = lax.psum(jnp.sin(x), "data") + lax.ppermute(x, "fsdp", [(0, 1), (1, 0)])
            return lax.psum_scatter(lax.all_gather(y, "fsdp"), "fsdp"), None

        return lax.scan(round_, lax.psum(x, ("data", "fsdp")) + x, None, length=3)[0]

    compiled = jax.jit(program).lower(jnp.zeros((8, 256))).compile()
    found = collectives(compiled.as_text(), 8)
    assert sorted(one for one in found if one.kind != "collective-permute") == [
        Collective("all-gather", 4 * 4 * 256, 4, 3),
        Collective("all-reduce", 4 * 256, 2, 3),
        Collective("all-reduce", 4 * 256, 8, 1),
        Collective("reduce-scatter", 4 * 4 * 256, 4, 3),
    ]
    [moved] = [one for one in found if one.kind == "collective-permute"]
    assert moved.sent == 3 * 4 * 256


def test_operations_by_hand():
    """Gradients double a product, loops multiply it, the larger branch counts, a stride and a spread do not differ."""
    count = lambda f, *x: operations(jax.make_jaxpr(f)(*x).jaxpr)  # noqa: E731
    x, w = jnp.zeros((5, 7)), jnp.zeros((7, 11))
    product = 2 * 5 * 7 * 11
    assert count(jnp.matmul, x, w) == product
    assert count(jax.grad(lambda w: jnp.sum((x @ w) ** 2)), w) == 2 * product
    looped = jax.checkpoint(lambda w: lax.scan(lambda c, _: (c + x @ w, None), 0 * (x @ w), None, 3)[0])  # fmt: skip
    assert count(jax.jit(looped), w) == 4 * product
    either = lambda w: lax.cond(w[0, 0] > 0, lambda: x @ w, lambda: x @ w + 2 * (x @ w))  # noqa: E731
    assert count(either, w) == 2 * product
    images, kernel = jnp.zeros((2, 8, 8, 3)), jnp.zeros((2, 2, 3, 6))
    down = functools.partial(convolve, padding="VALID", stride=2)
    assert count(down, images, kernel) == 2 * (2 * 4 * 4 * 6) * (2 * 2 * 3)
    up = functools.partial(convolve, padding=((1, 1), (1, 1)), spread=2)
    y = jax.eval_shape(up, images, kernel)
    assert count(up, images, kernel) == 2 * y.size * (2 * 2 * 3) / 4


def test_a_program_of_another_platform():
    """Slow among other tests, since it forgets all that is compiled."""
    images, kernel = jnp.zeros((2, 8, 8, 3)), jnp.zeros((2, 2, 3, 6))
    down = functools.partial(convolve, padding="VALID", stride=2)
    with target.compiling_for("tpu"):
        assert target.platform() == "tpu"
        assert "convolve" not in str(jax.make_jaxpr(down)(images, kernel))
    assert "convolve" in str(jax.make_jaxpr(down)(images, kernel))
    assert target.platform() == jax.default_backend()


def experiment(**changes):
    model = GatedPixelCNN(image(4, 4, 1, 2), depth=1, features=8, first_kernel=3, head_features=8)
    settings = {"steps": 8, "batch_size": 16, "evaluate": Evaluate(every=4, batch_size=16)}
    return Experiment(model=model, data=Data("none"), **{**settings, **changes})


def test_rows_follow_from_their_programs(monkeypatch):
    """One device sends nothing; eight reduce all gradients; split over eight they gather parts of the state."""
    monkeypatch.setattr(sharding, "LEAST", 512)
    devices = jax.devices()
    places = [devices[:1], devices]
    found = scaling.measure({"tiny": experiment()}, places, "v5e", fsdp=1)
    split = scaling.measure({"tiny": experiment()}, places[1:], "v5e", fsdp=64)
    assert json.loads(json.dumps(found)) == found
    one, eight, eighth = rows = [*found["rows"], *split["rows"]]
    assert [(row["devices"], row["fsdp"]) for row in rows] == [(1, 1), (8, 1), (8, 8)]
    assert (one["collectives"], one["sent_bytes"]) == ({}, 0)
    assert eight["collectives"].keys() == {"all-reduce"}
    assert 4 * one["parameters"] <= eight["collectives"]["all-reduce"]["bytes"]
    assert eight["collectives"]["all-reduce"]["bytes"] < 4.2 * one["parameters"] + 100
    assert eighth["collectives"]["all-gather"]["count"] > 0
    assert eighth["state_share"] < 0.5 < one["state_share"] == eight["state_share"] == 1
    assert eighth["argument_bytes"] < 0.6 * eight["argument_bytes"]
    assert one["flops"] == 8 * eight["flops"] == 8 * eighth["flops"] > 0
    chip = chips.CHIPS["v5e"]
    for row in rows:
        assert (row["fits"], row["refused"]) == (True, None)
        compute = row["flops"] / (scaling.UTILISATION * chip.peak)
        sending = row["sent_bytes"] / chip.ring_rate
        assert row["compute_seconds"] == pytest.approx(compute, rel=1e-3)
        share = compute / (max(compute, row["memory_seconds"]) + sending)
        assert row["efficiency"] == pytest.approx(share, rel=2e-3)
    assert record.table(scaling.COLUMNS, rows).count("\n") == 4


def test_what_the_compiler_refuses_is_a_row(monkeypatch):
    class Full:
        jaxpr = None

        def lower(self):
            return self

        def compile(self):
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: 28 GB of 16\nmore")

    monkeypatch.setattr(scaling, "jitted", lambda *_: type("", (), {"trace": lambda *_: Full()}))
    row = scaling.row_of("tiny", experiment(), jax.devices(), "v5e", 1)
    assert row["refused"] == "RESOURCE_EXHAUSTED: 28 GB of 16"
    assert row["efficiency"] is row["temporary_bytes"] is None
    assert "does not fit v5e" in record.table(scaling.COLUMNS, [row])


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--topology", "v5e:2x4"), "libtpu, which is not installed"),
        (("--topology", "v9:2x4"), "no rates are known of 'v9'"),
        (("--chip", "h10"), "did you mean h100"),
        (("--devices", "64"), "fewer than 64"),
        (("--devices", "8", "--fsdp", "3"), "--fsdp 3 does not divide the number of devices, 8"),
        (("--devices", "8", "--set", "batch_size=12"), "batch_size 12 does not split over 8"),
        (("--devices", "2,x"), "'x' is not a positive whole number"),
    ],
)
def test_what_is_refused(words, sentence, monkeypatch, capsys):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "libtpu" else found(name)
    )
    try:
        status = main(["bench", "scaling", "gated_pixel_cnn_digits", *words])
    except SystemExit as leaving:
        status = leaving.code
    assert status == 2
    error = capsys.readouterr().err
    assert sentence in error
    assert "Traceback" not in error


@pytest.mark.skipif(not importlib.util.find_spec("libtpu"), reason="libtpu is not installed")
def test_a_tpu_without_a_tpu(monkeypatch):
    """Its program adds up all gradients, one of two equal ones, a loss and a check; no other topology is known."""
    places = [scaling.chips_of("v5e:2x4")]
    assert len(places[0]) == 8
    [row] = scaling.measure({"tiny": experiment()}, places, "v5e")["rows"]
    assert row["platform"] == "tpu"
    biases = 16  # of `horizontal` and `link`: they are added to the same, so XLA reduces one of their gradients
    assert row["collectives"]["all-reduce"]["bytes"] == 4 * (row["parameters"] - biases + 2)
    with pytest.raises(InputError, match="knows no topology 'v5e:9x7'"):
        scaling.chips_of("v5e:9x7")
