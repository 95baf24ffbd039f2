"""Benchmarks: turns and fits on artificial clocks and laws; the ratios in a record follow from its seconds."""

import json

import jax
import numpy as np
import pytest
from cases import build, random_events

from gen_jax import GatedPixelCNN, Markov, PixelCNNPP, TarFlow, image
from gen_jax.bench import attention, codec, growth, record, sampling, systems, timing, training
from gen_jax.coding.codec import Codec, Content
from gen_jax.train.step import jitted

TINY = GatedPixelCNN(image(4, 4, 1, 2), depth=1, features=4, first_kernel=3, head_features=4)
CHAIN = Markov(image(4, 4, 1, 2))
FLOW = TarFlow(image(2, 4, 1, 2), blocks=1, layers=1, features=4, heads=1)
COLOUR = PixelCNNPP(image(4, 4, 3, 4), features=4, resnets=1, resolutions=1, mixtures=2)


class Machine:
    """A clock that programs advance: `cost` seconds per call, scaled by the current speed."""

    def __init__(self, slower: float = 1.0):
        self.now, self.speed, self.slower, self.log = 0.0, 1.0, slower, []

    def program(self, name: str, cost: float):
        def run():
            self.log.append(name)
            self.now += cost * self.speed
            self.speed *= self.slower

        return run

    def clock(self) -> float:
        return self.now


def test_programs_take_turns_after_a_warm_up():
    machine = Machine()
    programs = {name: machine.program(name, cost) for name, cost in (("a", 1.0), ("b", 3.0))}
    found = timing.turns(programs, 3, machine.clock)
    assert "".join(machine.log) == "ab" + "ab" + "ba" + "ab"
    assert found == {"a": [1.0] * 3, "b": [3.0] * 3}


def test_a_machine_that_slows_down_leaves_the_ratio():
    """Half as fast after every call: the medians' quotient and one fixed order would be wrong by far."""
    machine = Machine(slower=2.0)
    programs = {name: machine.program(name, cost) for name, cost in (("a", 1.0), ("b", 3.0))}
    found = timing.turns(programs, 4, machine.clock)
    ratio = timing.summary("ratio", timing.ratios(found["b"], found["a"]))
    assert ratio == {"ratio": pytest.approx((6 + 1.5) / 2), "ratio_range": [1.5, 6.0]}
    assert np.median(found["b"]) / np.median(found["a"]) != pytest.approx(ratio["ratio"], rel=0.05)


@pytest.mark.parametrize("power", [0.0, 1.0, 2.0, -0.5])
def test_power_laws_give_back_their_exponent(power):
    sizes = (8, 16, 32, 64)
    found = growth.exponent(sizes, [0.3 * size**power for size in sizes])
    assert found == (pytest.approx(power, abs=1e-12), pytest.approx(1.0))


def test_the_miss_of_a_fit_is_the_largest_factor():
    """Twice too much in the middle of three: residuals of the line by hand."""
    sizes = (1, 2, 4)
    power, miss = growth.exponent(sizes, [1.0, 4.0, 4.0])
    assert power == pytest.approx(1.0)
    assert miss == pytest.approx(2 ** (2 / 3))
    assert growth.exponent(sizes, [1, None, 4]) is None


def test_shares_sum_to_one_and_are_those_of_the_median_host():
    part = {"empty": 0.1, "visit": 0.4, "later": 0.1, "bits": 0.2}
    idle = {name: 0.0 for name in part}
    found = codec.shares([1.0, 2.0, 1.0], [part, part, idle])
    assert found == pytest.approx({"steps": 0.3, "log_prob": 0.1, "host": 0.6})


@pytest.mark.slow
def test_watched_runs_time_every_program_and_put_them_back():
    _, variables = build(COLOUR)
    machine = Codec(COLOUR, variables)
    x = np.asarray(random_events(COLOUR, 3), np.uint8)
    content = Content("npz", {"x": x})
    data, _ = machine.compress(content)
    direct = machine.transcoder(4)
    plain, ticks = direct.programs, iter(range(10_000))
    decode = codec.Watched(direct, lambda: machine.decompress(data), lambda: float(next(ticks)))
    for _ in range(2):
        np.testing.assert_array_equal(decode().arrays["x"], x)
    # Between two readings of this clock lies 1: a program's seconds are its number of calls.
    assert decode.parts == [{"empty": 1.0, "visit": 16.0, "later": 32.0, "bits": 0.0}] * 2
    assert direct.programs is plain


def inside(row, name):
    low, high = row[f"{name}_range"]
    assert low <= row[name] <= high
    return row[name]


def written(found, module):
    """The record is JSON with its method and machine; its table has one line per row."""
    assert json.loads(json.dumps(found)) == found
    assert found["method"].startswith(module.METHOD)
    assert found["method"].endswith(timing.METHOD) == (module is not attention)
    assert {"device", "devices", "cpu", "threads", "versions", "git"} <= found.keys()
    text = record.table(module.COLUMNS, found["rows"])
    header, _, *lines = text.splitlines()
    assert len(lines) == len(found["rows"])
    assert {line.count("|") for line in (header, *lines)} == {len(module.COLUMNS) + 1}
    assert text in record.page(found, text)
    return found["rows"]


def test_sampling_reports_ratios_of_its_own_times(monkeypatch):
    monkeypatch.setattr(systems, "MODELS", {"tiny": TINY})
    [row] = written(sampling.measure(batch=2), sampling)
    low, high = row["forward_passes_range"]
    assert low <= inside(row, "forward_passes") <= high
    quotients = np.divide.outer(row["sample_seconds_range"], row["forward_seconds_range"])
    assert quotients.min() * 0.999 <= low <= high <= quotients.max() * 1.001
    expected = row["naive_seconds"] / row["sample_seconds"]
    assert row["naive_factor"] == pytest.approx(expected, rel=0.01, abs=0.06)
    for name, model, naive in (("chain", CHAIN, False), ("flow", FLOW, True)):
        monkeypatch.setattr(systems, "MODELS", {name: model})
        [row] = written(sampling.measure(batch=2, naive=naive), sampling)
        assert row["naive_seconds"] is row["naive_factor"] is None


def test_codec_reports_where_its_time_goes(monkeypatch):
    monkeypatch.setattr(systems, "MODELS", {"chain": CHAIN, "grey": CHAIN})
    monkeypatch.setattr(codec, "SYSTEMS", {"chain": 1, "grey": 2})
    rows = written(codec.measure(batch=3), codec)
    assert [(row["batch"], row["lanes"]) for row in rows] == [(3, 4), (1, 1)]
    for row in rows:
        for way in ("encode", "decode"):
            seconds = inside(row, f"{way}_seconds")
            rate = row["batch"] / seconds
            assert inside(row, f"{way}_images_per_second") == pytest.approx(rate, rel=2e-3)
            ratio = np.divide.outer(row[f"{way}_seconds_range"], row["sample_seconds_range"])
            found = row[f"{way}_samples_range"]
            assert ratio.min() * 0.999 <= found[0] <= found[1] <= ratio.max() * 1.001
            parts = row[f"{way}_shares"]
            assert all(0 <= part <= 1 for part in parts.values())
            assert sum(parts.values()) == pytest.approx(1, abs=1e-3)
        assert row["decode_shares"]["log_prob"] == 0 < row["encode_shares"]["log_prob"]
        assert row["step_seconds"] * row["sites"] < row["decode_seconds_range"][1]
        assert min(row[f"{name}_seconds"] for name in ("frequencies", "put", "take")) > 0


def test_training_reports_ratios_of_its_own_times(monkeypatch):
    monkeypatch.setattr(systems, "MODELS", {"tiny": TINY})
    [row] = written(training.measure(batch=8), training)
    for over, under, name in (
        ("step", "forward", "step_forwards"),
        ("pmap", "step", "pmap_jit"),
    ):
        quotients = np.divide.outer(row[f"{over}_seconds_range"], row[f"{under}_seconds_range"])
        assert quotients.min() * 0.999 <= inside(row, name) <= quotients.max() * 1.001
    rate = inside(row, "images_per_second")
    assert rate == pytest.approx(8 / row["step_seconds"], rel=2e-3)
    assert row["step_flops"] > 2 * row["forward_flops"] > 0
    assert row["step_bytes"] > 0 < row["forward_bytes"]
    assert row["parameters"] == systems.size(systems.initial(TINY))


def test_a_timed_step_trains():
    """Each call goes on from the state of the one before."""
    of = training.training(TINY, 8)
    run = training.repeated(jitted(of.step, of.mesh, of.placed), of)
    losses = [float(run()[1]["loss"][0]) for _ in range(3)]
    assert losses[0] > losses[1] > losses[2]
    assert int(run()[0].step) == 4
    np.testing.assert_allclose(losses[0], of.loss(of.create(), of.batch), rtol=1e-5)


@pytest.mark.slow
def test_growth_fits_its_own_numbers(monkeypatch):
    sizes = {
        "gated": lambda side, depth: GatedPixelCNN(
            image(side, side, 1, 2), depth=depth, features=4, first_kernel=3, head_features=4
        )
    }
    monkeypatch.setattr(growth, "SYSTEMS", sizes)
    monkeypatch.setattr(growth, "AXES", {"side": (4, 8)})
    monkeypatch.setattr(growth, "BASE", {"side": 4, "depth": 1, "batch": 8})
    rows = written(growth.measure(), growth)
    assert [row["program"] for row in rows] == ["forward", "train step", "step"]
    for row in rows:
        assert row["fixed"] == {"depth": 1, "batch": 8}
        for name in ("seconds", "bytes"):
            small, large = row[name]
            expected = np.log2(large / small)
            assert row[f"{name}_exponent"] == pytest.approx(expected, abs=2e-3)
            assert row[f"{name}_miss"] == pytest.approx(1.0, abs=1e-3)
    forward, step = rows[0], rows[2]
    assert forward["bytes_exponent"] > 0.5
    assert step["seconds"][1] < forward["seconds"][1] + 1  # of one site, not of the image


def test_attention_fits_its_own_numbers(monkeypatch):
    """Dense memory is quadratic; with l at the root of L that of the others is not."""
    monkeypatch.setattr(attention, "LENGTHS", (256, 1024))
    rows = {row["pattern"]: row for row in written(attention.measure(), attention)}
    for name, row in rows.items():
        assert row["sizes"] == (None if name == "dense" else [16, 32])
        assert row["bytes_exponent"] == pytest.approx(
            np.log2(row["bytes"][1] / row["bytes"][0]) / 2, abs=2e-3
        )
        assert row["bytes"][1] < rows["dense"]["bytes"][1] or name == "dense"
    assert rows["local"]["bytes_exponent"] < rows["dense"]["bytes_exponent"] > 1.6


def test_temporary_memory_is_what_lies_between():
    """A program from number to number has one large value in between."""
    program = jax.jit(lambda x: jax.numpy.sort(x + jax.numpy.arange(50_000.0)).sum())
    used = record.temporary_bytes(program.lower(1.0).compile())
    assert 200_000 <= used <= 2_000_000
    assert record.megabytes(1_500_000) == "1.5 MB"
    assert record.megabytes(None) == "-"
