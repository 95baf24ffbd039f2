"""Distances against closed forms, brute force and enumeration; evaluation of a model without likelihood by them."""

import itertools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import build, random_events
from scipy import linalg
from test_cli import call, own_cache, succeed  # noqa: F401  a fixture that applies by itself

from gen_jax import GAN, Classifier, Independent, InputError, functional, image, points
from gen_jax.data import prepared
from gen_jax.evaluate import distances, draw
from gen_jax.experiment import Data, Evaluate, Experiment
from gen_jax.models.adversarial.gan import ConvDiscriminator, ConvGenerator
from gen_jax.nn.encoders import ConvEncoder
from gen_jax.optimizer import Adam, OptimizerGroups
from gen_jax.runs.run import load_run
from gen_jax.runs.workdir import WorkDir
from gen_jax.train import loop

DIGITS = image(8, 8, levels=17)


def covariance(rng, size):
    factor = rng.normal(size=(size, size))
    return factor @ factor.T + 0.1 * np.eye(size)


def test_frechet_of_known_gaussians():
    """Covariances that commute, in closed form; others by scipy's matrix root; singular ones; none of itself."""
    rng = np.random.default_rng(0)
    axes, _ = np.linalg.qr(rng.normal(size=(4, 4)))
    a, b = rng.uniform(0.1, 4, (2, 4))
    mean_a, mean_b = rng.normal(size=(2, 4))
    of = distances.frechet_of_gaussians
    found = of(mean_a, axes * a @ axes.T, mean_b, axes * b @ axes.T)
    expected = np.sum((mean_a - mean_b) ** 2) + np.sum((np.sqrt(a) - np.sqrt(b)) ** 2)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    A, B = covariance(rng, 4), covariance(rng, 4)
    trace = np.trace(A + B - 2 * linalg.sqrtm(A @ B).real)
    np.testing.assert_allclose(of(mean_a, A, mean_a, B), trace, rtol=1e-9)
    line = np.outer(mean_a, mean_a)
    np.testing.assert_allclose(
        of(mean_a, line, mean_b, 0 * line), np.sum(mean_a**2) + np.sum((mean_a - mean_b) ** 2)
    )
    assert abs(of(mean_a, A, mean_a, A)) < 1e-12


def test_frechet_takes_the_moments_of_samples():
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(20, 3)), rng.normal(size=(30, 3)) + 1
    A, B = (((x - x.mean(0)).T @ (x - x.mean(0))) / (len(x) - 1) for x in (a, b))
    expected = distances.frechet_of_gaussians(a.mean(0), A, b.mean(0), B)
    np.testing.assert_allclose(distances.frechet(a, b), expected, rtol=1e-12)


def polynomial(x, y):
    return (np.dot(x, y) / len(x) + 1) ** 3


def test_kernel_distance_is_the_brute_force_one():
    """Whatever the chunks; and the jackknife leaves out one pair at a time."""
    rng = np.random.default_rng(2)
    a, b = rng.normal(size=(7, 3)), 0.5 + rng.normal(size=(7, 3))

    def brute(a, b):
        total = 0.0
        for i, j in itertools.permutations(range(len(a)), 2):
            total += polynomial(a[i], a[j]) + polynomial(b[i], b[j])
            total -= polynomial(a[i], b[j]) + polynomial(a[j], b[i])
        return total / (len(a) * (len(a) - 1))

    left = [brute(np.delete(a, i, 0), np.delete(b, i, 0)) for i in range(7)]
    expected = brute(a, b), np.sqrt(6 * np.var(left))
    for rows in (2, 7, 100):
        np.testing.assert_allclose(distances.kernel(a, b, rows), expected, rtol=1e-12)


def test_kernel_distance_is_unbiased():
    """The mean over all samples of three pairs, by their probabilities, is the distance of the distributions."""
    x, p = np.array([[1.0, 0.0], [-0.5, 2.0]]), np.array([0.3, 0.7])
    y, q = np.array([[0.0, 1.0], [1.0, 1.0], [-1.0, 0.5]]), np.array([0.2, 0.5, 0.3])

    def mean(u, w, v, r):
        return sum(
            w[i] * r[j] * polynomial(u[i], v[j]) for i in range(len(u)) for j in range(len(v))
        )

    expected = mean(x, p, x, p) + mean(y, q, y, q) - 2 * mean(x, p, y, q)
    found = 0.0
    pairs = list(itertools.product(range(2), range(3)))
    for sample in itertools.product(pairs, repeat=3):
        first, second = np.array(sample).T
        chance = np.prod(p[first]) * np.prod(q[second])
        found += chance * distances.kernel(x[first], y[second])[0]
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_the_standard_error_is_the_deviation_over_samples():
    rng = np.random.default_rng(3)
    found = np.array(
        [
            distances.kernel(
                np.tanh(rng.normal(size=(50, 4))), np.tanh(1 + rng.normal(size=(50, 4)))
            )
            for _ in range(600)
        ]
    )
    np.testing.assert_allclose(found[:, 1].mean(), found[:, 0].std(), rtol=0.15)


@pytest.mark.usefixtures("x64")
def test_the_classifier_is_a_softmax_and_its_loss_the_cross_entropy():
    model = Classifier(image(4, 4, 1, 3), 3, ConvEncoder((4,)), hidden=5, dropout=0.0)
    pure, variables = build(model)
    x, labels = random_events(model, 6), jnp.array([0, 1, 2, 2, 1, 0])
    log_probs = model.apply(variables, x, method="log_probs")
    np.testing.assert_allclose(np.exp(log_probs).sum(axis=1), 1, rtol=1e-12)
    loss, (metrics, _) = pure.loss(variables, x, jax.random.key(0), labels)
    own = np.asarray(log_probs)[np.arange(6), labels]
    np.testing.assert_allclose(loss, -own.mean(), rtol=1e-12)
    np.testing.assert_allclose(metrics["accuracy"], np.mean(own == log_probs.max(axis=1)))
    with pytest.raises(InputError, match="3 classes and needs one for each example"):
        pure.loss(variables, x, jax.random.key(0))


def test_a_classifier_is_of_images_and_has_no_distribution():
    with pytest.raises(InputError, match="for images of integers"):
        functional(Classifier(points(), 3)).init(
            jax.random.key(0), jnp.zeros((2, 2)), jnp.zeros(2, int)
        )
    pure, variables = build(Classifier(image(4, 4, 1, 3), 3, ConvEncoder((4,))))
    for refused in (
        lambda: pure.log_prob(variables, jnp.zeros((1, 4, 4, 1), int), cond=jnp.zeros(1, int)),
        lambda: pure.sample(variables, jax.random.key(0), 2, jnp.zeros(2, int)),
    ):
        with pytest.raises(InputError, match="no distribution of images"):
            refused()


def trained(folder, data_dir, model, steps=2, **changes):
    judge = Evaluate(every=steps, batch_size=128)
    fields = {"optimizer": Adam(1e-2), "ema": 0.0, "evaluate": judge} | changes
    experiment = Experiment(model=model, data=Data("digits"), steps=steps, batch_size=32, **fields)
    loop.train(experiment, WorkDir(folder), data_dir)
    return folder


@pytest.fixture(scope="module")
def gan(tmp_path_factory, data_dir):
    model = GAN(DIGITS, 3, ConvGenerator((4, 4)), ConvDiscriminator((4, 4)))
    players = OptimizerGroups(("generator", "discriminator"), (Adam(1e-3), Adam(2e-3)))
    return trained(tmp_path_factory.mktemp("runs") / "gan", data_dir, model, optimizer=players)


@pytest.fixture(scope="module")
def classifier(tmp_path_factory, data_dir):
    model = Classifier(DIGITS, 10, ConvEncoder((8,)), hidden=6, dropout=0.1)
    path = trained(tmp_path_factory.mktemp("runs") / "classifier", data_dir, model, steps=30)
    [row] = [row for row in WorkDir(path).metrics_rows() if row["split"] == "validation"]
    assert row["accuracy"] > 0.3
    return path


def test_a_gan_is_judged_by_distances_alone(gan, classifier, data_dir, tmp_path):
    """No bits/dim, in one sentence; distances in the result file and in the report; no certificate and no codec."""
    where = ("--data-dir", data_dir)
    images = succeed("data", "export", "digits", "--limit", 2, "--out", tmp_path / "x.npz", *where)
    assert images
    for words, command in {
        "GAN has no likelihood: there is no bits/dim to evaluate; --distances": (
            "evaluate",
            gan,
            *where,
        ),
        "GAN has no likelihood: there is nothing to certify": ("certify", gan, *where),
        "GAN gives no exact probabilities": (
            "compress",
            gan,
            tmp_path / "x.npz",
            "-o",
            tmp_path / "x.gjx",
        ),
    }.items():
        status, out, err = call(*command)
        assert (status, out) == (2, "")
        assert words in err
        assert err.count("\n") == 1

    page = tmp_path / "report.html"
    succeed("report", gan, "--out", page, *where)
    assert (
        f"<code>gen-jax evaluate {gan} --distances CLASSIFIER</code> compares" in page.read_text()
    )
    said = succeed("evaluate", gan, "--distances", classifier, "--json", *where)
    record = json.loads(said)
    assert json.loads((gan / "result.json").read_text()) == record
    assert (record["kind"], record["value"], record["num_examples"]) == ("none", None, 359)
    assert [record[name] for name in ("nats", "bits_per_dim", "stderr", "draws")] == 4 * [None]
    assert "of step 2, the last; compute float32" in record["protocol"]
    found = record["distances"]
    assert (found["features"], found["samples"], found["examples"]) == (
        "gen_jax digits classifier",
        359,
        359,
    )
    assert found["frechet"] > 2 * found["train"]["frechet"] > 0
    assert found["kernel"] > found["kernel_stderr"] > 0

    succeed("report", gan, "--out", page, *where)
    text = page.read_text()
    assert "Frechet distance" in text
    assert "on gen_jax digits classifier features, 359 samples against 359" in text
    status, _, err = call("reproduce", gan / "result.json", *where)
    assert status == 2
    assert "gan, which has no likelihood to reproduce" in err


def test_the_data_itself_have_distance_zero(gan, classifier, data_dir, monkeypatch):
    """Samples that are the test images; and a limit takes as many samples, training and test images."""
    split = prepared.load("digits", "test", data_dir)
    run, judge = load_run(gan), load_run(classifier)
    asked = []
    monkeypatch.setattr(draw, "sample", lambda run, num: asked.append(num) or split.x[:num])
    found = distances.measure(run, split, judge, 40, data_dir)
    assert asked == [40]
    assert abs(found["frechet"]) < 1e-9
    assert abs(found["kernel"]) < 1e-12
    assert found["train"]["frechet"] > 0.01
    with pytest.raises(InputError, match="at least 3 examples, not 2"):
        distances.measure(run, split, judge, 2, data_dir)
    with pytest.raises(InputError, match="holds gan, not a classifier"):
        distances.measure(run, split, run, 40, data_dir)


def test_a_likelihood_and_distances_side_by_side(classifier, data_dir, tmp_path):
    path = trained(tmp_path / "run", data_dir, Independent(DIGITS))
    said = succeed(
        "evaluate", path, "--limit", 30, "--distances", classifier, "--data-dir", data_dir
    )
    bits, distance = said.splitlines()
    assert "bits/dim" in bits
    assert "exact, 30 examples" in bits
    assert distance.startswith("Frechet distance")
    assert distance.endswith("30 samples against 30 of digits test")
