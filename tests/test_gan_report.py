"""What the report shows of a GAN: fixed noise over training, real beside fake, outputs of D, modes that are found."""

import dataclasses

import numpy as np
import pytest

from gen_jax import (
    GAN,
    Classifier,
    DenseDiscriminator,
    DenseGenerator,
    Independent,
    InputError,
    functional,
    image,
    points,
)
from gen_jax.data import prepared
from gen_jax.data.builders.planar import EightGaussians
from gen_jax.density import fold_in, root_key
from gen_jax.evaluate import modes
from gen_jax.experiment import Data, Evaluate, Experiment
from gen_jax.media import arrays
from gen_jax.media.images import Images
from gen_jax.report import page, training
from gen_jax.runs import followed
from gen_jax.runs.run import load_run
from gen_jax.runs.workdir import WorkDir
from gen_jax.train.loop import train

NETWORKS = {"generator": DenseGenerator((4,)), "discriminator": DenseDiscriminator((4,))}
PLANE = GAN(points(), 2, **NETWORKS, gradient_penalty=1.0)
DIGITS = GAN(image(8, 8, 1, 17), 2, **NETWORKS, num_classes=10)


@pytest.fixture(scope="module")
def runs(tmp_path_factory, data_dir):
    """A critic on the eight Gaussians and a class-conditional GAN on digits, trained for four steps."""
    root = tmp_path_factory.mktemp("gans")
    prepared.prepare("eight_gaussians", data_dir)
    for name, model in (("eight_gaussians", PLANE), ("digits", DIGITS)):
        experiment = Experiment(
            model=model,
            data=Data(name),
            steps=4,
            batch_size=8,
            evaluate=Evaluate(2, 64, examples=64),
        )
        train(experiment, WorkDir(root / name), data_dir)
    return root


@pytest.mark.parametrize("name", ["eight_gaussians", "digits"])
def test_samples_of_one_noise_are_kept(runs, name):
    """Those of the last step are drawn by its weights, from the run's key; a damaged file gives one sentence."""
    run = load_run(runs / name)
    assert run.step == 4
    assert followed.steps(run.workdir) == [2, 4]
    model = run.experiment.model
    first, last = (followed.read(run.workdir, model.event, step) for step in (2, 4))
    assert first.shape == last.shape == (model.followed, *model.event.shape)
    key = fold_in(root_key(run.experiment.seed), "followed")
    classes = np.arange(model.followed) % 10 if model.num_classes else None
    drawn = np.asarray(functional(model).sample(run.variables, key, model.followed, classes))
    if model.num_classes:
        assert np.abs(drawn - last).max() <= 1  # rounded to levels
    else:
        np.testing.assert_allclose(drawn, last, rtol=1e-4, atol=1e-5)
        assert np.abs(last - first).max() > 0
    other = run.workdir.samples / "6.npz"
    wrong = dataclasses.replace(model.event, shape=(3,))
    for content in (b"", arrays.encoded(wrong, x=np.zeros((2, 3)))):
        other.write_bytes(content)
        with pytest.raises(InputError, match=r"6\.npz"):
            followed.read(run.workdir, model.event, 6)
    other.unlink()


@pytest.mark.parametrize("name", ["eight_gaussians", "digits"])
def test_the_report_shows_them(runs, data_dir, name):
    shown = page.html([runs / name], data_dir)
    for title in ("Real beside fake", "Samples over training", "Outputs of the discriminator"):
        assert shown.count(f">{title}</h2>") == 1
    kind = "a critic with any real value" if name != "digits" else "the probability that x is real"
    assert kind in shown
    assert ("modes found" in shown) == (name != "digits")


def test_any_run_can_draw_samples_over_training(tmp_path, data_dir):
    """As many as the config says, by default none; a row of images a step; a model that draws none is refused."""
    model = Independent(image(8, 8, 1, 17))
    asked = Experiment(
        model=model,
        data=Data("digits"),
        steps=4,
        batch_size=8,
        evaluate=Evaluate(2, 64, examples=64, samples=5),
    )
    train(asked, WorkDir(tmp_path / "asked"), data_dir)
    run = load_run(tmp_path / "asked")
    x = followed.read(run.workdir, model.event, 4)
    key = fold_in(root_key(0), "followed")
    np.testing.assert_array_equal(x, functional(model).sample(run.variables, key, 5))
    [(_, _), (title, shown)] = training.sections(Images(model.event, {}), run)
    assert title == "Samples over training"
    assert "a row for each of the steps 2, 4." in shown
    assert 'alt="Samples, a row for each step: 10, in 2 rows"' in shown
    train(dataclasses.replace(asked, evaluate=Evaluate()), WorkDir(tmp_path / "plain"), data_dir)
    assert not (tmp_path / "plain" / "samples").exists()
    drawn = followed.Followed(run.model, run.mesh, key, WorkDir(tmp_path / "none"))
    drawn(run.variables, 2)
    assert not (tmp_path / "none").exists()
    with pytest.raises(InputError, match=r"evaluate\.samples must lie in"):
        dataclasses.replace(asked, evaluate=Evaluate(samples=-1))
    mute = Classifier(image(8, 8, 1, 17), num_classes=10)
    with pytest.raises(InputError, match=r"evaluate\.samples is 5: "):
        train(dataclasses.replace(asked, model=mute), WorkDir(tmp_path / "mute"), data_dir)
    assert not (tmp_path / "mute").exists()


def test_modes_are_counted():
    """All of the data, none of noise far away; a generator with one mode, and one that visits another too rarely."""
    data = EightGaussians.points("test")
    whole = modes.modes_of(data)
    assert whole.found == 8
    assert whole.near == pytest.approx(1 - np.exp(-4.5), abs=0.005)
    mean = EightGaussians.means()
    nearest = ((data[:, None] - mean) ** 2).sum(axis=-1).argmin(axis=1)
    one = data[nearest == 3]
    assert modes.modes_of(one).found == 1
    rare = np.concatenate([one[:970], data[nearest == 5][:30]])
    assert modes.modes_of(rare).found == 1
    assert modes.modes_of(np.concatenate([one[:950], data[nearest == 5][:50]])).found == 2
    nothing = modes.modes_of(np.array([[0.0, 0.0], [np.nan, 2.0], [9.0, 9.0]]))
    assert (nothing.found, nothing.near) == (0, 0.0)
    assert modes.has_modes("eight_gaussians")
    assert not modes.has_modes("moons")
