"""Evaluation: every example counts once for any batch size; standard error, sign and result file."""

import dataclasses
import json
import math

import jax
import numpy as np
import pytest
from cases import build, random_events

from gen_jax import GatedPixelCNN, InputError, Solver, image, points, sharding, tokens
from gen_jax.data.prepared import Split
from gen_jax.evaluate import catalogue
from gen_jax.included import RESULTS
from gen_jax.ops import ode
from gen_jax.runs import results, summary
from gen_jax.runs.likelihood import Likelihoods, Result, newey_west
from gen_jax.runs.run import Run
from gen_jax.train import seeds

MODEL = GatedPixelCNN(image(3, 3, 1, 3), depth=1, features=4, first_kernel=3, head_features=4)


@pytest.mark.parametrize("batch_size", [8, 16, 40])
def test_every_example_once(batch_size):
    """37 examples: no batch size divides them, the filling of the last batch is not counted."""
    pure, variables = build(MODEL)
    x = np.asarray(random_events(MODEL, 37))
    split = Split("probe", "1.0.0", "test", x, None, MODEL.event, 0)
    evaluate = Likelihoods(pure, sharding.device_mesh(8), batch_size, jax.random.key(0))
    result = evaluate(variables, split)
    expected = -np.asarray(pure.log_prob(variables, x), np.float64)
    np.testing.assert_allclose(result.per_example, expected, rtol=1e-5)
    np.testing.assert_allclose(result.nats, expected.mean(), rtol=1e-6)
    np.testing.assert_allclose(evaluate(variables, split, 5).per_example, expected[:5], rtol=1e-5)


def test_bits_and_standard_error():
    """Two examples of 2 and 4 nats in 4 dimensions, by hand."""
    result = Result(np.array([2.0, 4.0]), image(2, 2, 1, 2), "exact")
    assert result.bits_per_dim == pytest.approx(3 / (4 * math.log(2)))
    assert result.stderr == pytest.approx(1 / (4 * math.log(2)))
    assert str(result) == "1.0820 ± 0.3607 bits/dim (3.00 nats), exact"
    assert str(Result(np.array([2.0, 4.0]), image(2, 2, 1, 2), "bound")).startswith("<= 1.0820")
    assert str(Result(np.array([2.0, 4.0]), image(2, 2, 1, 2), "estimate")).startswith("~ 1.0820")


def test_an_estimate_prints_its_solver():
    """As a result and from its record; where an ODE was not solved, one sentence says so."""
    solver, draws = Solver("dopri5", 1e-5, 50, "hutchinson"), 8
    result = Result(np.array([2.0, 4.0]), image(2, 2, 1, 2), "estimate", draws, solver=solver)
    how = "dopri5, 1e-5, hutchinson, 8 draws"
    number = f"~ 1.0820 ± 0.3607 bits/dim ({how}; ~ 3.00 nats), estimate"
    assert str(result) == number
    record = {"value": "estimate", "nats": 3.0, "bits_per_dim": result.bits_per_dim, "draws": draws}
    record |= {"stderr": result.stderr, "solver": dataclasses.asdict(solver), "num_examples": 2}
    record |= {"dataset": "pairs", "split": "test"}
    assert summary.summary(record) == f"{number}, 2 examples of pairs test"
    assert summary.kind_of(record) == f"estimate ({how})"
    assert summary.kind_of({**record, "solver": None}) == "estimate"
    in_nats = Result(result.per_example, points(), "estimate", unit="nats", solver=Solver())
    assert str(in_nats) == "~ 3.0000 ± 1.0000 nats (tsit5, 1e-5, exact trace), estimate"
    assert in_nats.finding is None
    stiff = dataclasses.replace(result, per_example=np.array([2.0, math.nan]))
    assert stiff.finding == ode.stiff(1, 2, solver)
    with pytest.raises(InputError, match="no mean of log p: the ODE is stiff for 1 of 2 examples"):
        results.record(object.__new__(Run), object.__new__(Split), stiff)


def test_kinds_of_numbers_are_not_averaged():
    """A mean over seeds needs numbers of one kind, one number of draws and one solver."""
    solver = dataclasses.asdict(Solver())
    both = {"bits_per_dim": 1.0, "parameters": 1, "stderr": 0.1, "selected_step": 1, "seconds": 1.0}
    bound = {**both, "value": "bound", "draws": 8}
    estimate = {**both, "value": "estimate", "draws": None, "solver": solver}
    assert seeds.over([estimate, estimate])["mean"] == 1.0
    finer = {**estimate, "solver": {**solver, "tolerance": 1e-6}}
    for other in (bound, finer, {**bound, "draws": 9}):
        with pytest.raises(InputError, match="these numbers have no common mean: "):
            seeds.over([estimate if other is not bound else {**bound, "draws": 1}, other])


def test_the_error_of_a_text_allows_for_dependence():
    """A series x_t = 0.8 x_{t-1} + noise: its mean has about 3 times the error that independent values would have."""
    rng, values = np.random.default_rng(0), np.zeros((100, 1200))
    for t in range(1, 1200):
        values[:, t] = 0.8 * values[:, t - 1] + rng.normal(size=100)
    values = values[:, 200:]
    true, event = values.mean(axis=1).std(), tokens(1, 2)
    scale = math.log(2)
    kinds = {
        in_order: [Result(row, event, "exact", in_order=in_order) for row in values]
        for in_order in (True, False)
    }
    found = {k: np.mean([one.stderr for one in of]) * scale / true for k, of in kinds.items()}
    assert found[True] == pytest.approx(1.0, abs=0.2)
    assert found[False] == pytest.approx(1 / 3, abs=0.1)
    assert kinds[True][0].stderr_method == "Newey-West, 31 lags"
    assert kinds[False][0].stderr_method == "independent examples"
    noise = rng.normal(size=1000)
    both = [Result(noise, event, "exact", in_order=in_order).stderr for in_order in (True, False)]
    assert both[0] == pytest.approx(both[1], rel=0.25)


def test_newey_and_west_by_hand():
    """g_0 = 5 / 4, g_1 = (1.5 * 0.5 - 0.25 + 0.75) / 4, weight 1/2; over n - 1 = 3 where theirs is over n."""
    assert newey_west(np.array([1.0, 2.0, 3.0, 4.0]), 1) == pytest.approx((5 + 1.25) / 4 / 3)
    assert newey_west(np.array([1.0, 2.0, 3.0, 4.0]), 0) == pytest.approx(5 / 4 / 3)


def test_far_worse_than_uniform_is_a_finding():
    """17 levels need 4.09 bits under the uniform distribution; a density has no such number."""
    event = image(2, 2, 1, 17)
    for bits, words in (
        (4.0, None),
        (8.1, None),
        (8.2, "8.2 bits/dim is far worse than a uniform"),
    ):
        result = Result(np.full(3, bits * 4 * math.log(2)), event, "exact")
        assert (result.finding or "").startswith(words or "") is True
        assert bool(result.finding) == bool(words)
    assert Result(np.full(3, 1e9), points(), "exact").finding is None


def test_conditional_models_get_their_labels():
    model = GatedPixelCNN(
        image(2, 2, 1, 3), num_classes=3, depth=1, features=4, first_kernel=3, head_features=4
    )
    pure, variables = build(model)
    x, labels = np.asarray(random_events(model, 6)), np.array([0, 1, 2, 2, 1, 0], np.int32)
    split = Split("probe", "1.0.0", "test", x, labels, model.event, 3)
    result = Likelihoods(pure, sharding.device_mesh(8), 8, jax.random.key(0))(variables, split)
    expected = -np.asarray(pure.log_prob(variables, x, cond=labels))
    np.testing.assert_allclose(result.per_example, expected, rtol=1e-5)
    assert np.any(
        np.abs(expected + np.asarray(pure.log_prob(variables, x, cond=(labels + 1) % 3))) > 1e-3
    )


def test_catalogue_reads_docstrings():
    systems = {row["system"]: row for row in catalogue.systems()}
    assert {"gated_pixel_cnn", "independent", "markov", "full_table", "fvsbn"} <= systems.keys()
    assert systems["markov"]["family"] == "baseline"
    configs = {row["name"]: row for row in catalogue.configs()}
    assert all(row["is"] for row in configs.values())
    assert configs["made_dna"]["config"] == "experiments/configs/binary_sets.py:made_dna"
    assert configs["made_nips"]["published"].startswith("277.28 nats")
    assert configs["nade_dna"]["published"] is None
    zoo = json.loads((RESULTS / "zoo_digits.json").read_text())["rows"]
    for row in zoo:  # what the zoo measured is measured, and a result file comes first
        said = configs[f"{row['system']}_digits"]["measured"]
        assert said is not None
        if (RESULTS / f"{row['system']}_digits.json").exists():
            assert "seeds" not in said
        elif row["mean"] is None:
            assert "kernel distance" in said
        else:
            assert f"{row['mean']:.4f} ± {row['seed_deviation']:.4f} bits/dim" in said
            assert "mean of 3 seeds of the zoo" in said
    assert configs["ddpm_cifar10"]["measured"] is None
