"""Records name classes by public names: moving a class, or adding a field to it, changes nothing made before."""

import json
import sys
from dataclasses import is_dataclass, replace
from pathlib import Path
from types import ModuleType

import jax
import numpy as np
import pytest
from cases import CASES, build, random_events

import gen_jax
from gen_jax import GatedPixelCNN, InputError, Markov, classes, fingerprint, image, registry
from gen_jax.coding import container
from gen_jax.coding.codec import Codec, Content
from gen_jax.config_tree import former, from_tree, identity, to_tree
from gen_jax.evaluate import catalogue
from gen_jax.experiment import load_config, read, system_of
from gen_jax.former import BY_NAME, BY_PATH
from gen_jax.laws import certificate
from gen_jax.runs.run import load_run

ROOT = Path(__file__).resolve().parents[1]
DIGITS = ROOT / "gen_jax" / "trained" / "gated_pixel_cnn_digits"
# SHA-256, in short, of the models of configs as the last version with paths wrote them.
BEFORE = {
    "nade_digits": "18b44569bdb6",
    "binary_sets.py:made_nltcs": "586f27074923",
    "gated_pixel_cnn_cifar10": "3ed0685f0f79",
    "pixel_cnn_digits": "0102f57fbac6",
    "pixel_cnn_pp_digits": "5f1604569bbe",
    "pixel_snail_digits": "5cd817ca7f2d",
    "wavenet_plucks": "857759b0ffc7",
    "rnn_digits": "1105c4c810e4",
    "lstm_shakespeare": "f8111e71ef86",
    "gru_digits": "6eedb6dd354b",
    "fvsbn_binarized_mnist": "3e858862264f",
    "independent_digits": "e2b9a42a94ec",
    "markov_digits": "8b6c467d9db3",
    "vae_digits": "006bc2f145ca",
    "vae_dynamic_mnist": "89559a07681d",
    "iwae_digits": "f32064dea70b",
    "pixel_vae_digits": "40c5add16f17",
    "vq_vae_digits": "4b1b7dda937c",
    "vq_vae_prior_digits": "20115ef5a5ff",
    "real_nvp_moons": "3eaca75ba629",
    "real_nvp_digits": "71c2303382b0",
    "ddpm_digits": "ca3456da06ec",
    "gan_digits": "5777b5fbf071",
    "classifier_digits": "b4c8943c5be0",
    "autoencoder_digits": "7fdf53607fa4",
}


def records():
    """Every committed config: of result files, and of the model that is exported here."""
    trees = {}
    for path in sorted((ROOT / "experiments").rglob("*.json")):
        record = json.loads(path.read_text())
        for name in ("config", "experiment"):
            tree = record.get(name) if isinstance(record, dict) else None
            if isinstance(tree, dict) and "type" in tree:
                trees[str(path.relative_to(ROOT))] = tree
    return trees


def test_every_committed_record_is_read():
    """By the table of former paths where it is from before there were names, and written again as it was."""
    trees = records()
    assert len(trees) >= 35
    for path, tree in trees.items():
        experiment = read(tree)
        assert {name.partition(":")[0] for name in classes.names(to_tree(experiment))} == {
            "gen_jax"
        }
        recorded = {**tree["fields"]["model"]["fields"]}
        write = to_tree if tree["type"] == "gen_jax:Experiment" else former
        again = write(experiment)["fields"]["model"]["fields"]
        assert recorded.items() <= again.items(), path


@pytest.mark.parametrize("name", BEFORE)
def test_the_former_tree_is_what_was_written_then(name):
    config = name if ":" in name else f"{name}.py"
    model = load_config(ROOT / "experiments" / "configs" / config).model
    assert fingerprint.of_tree(former(model))[:12] == BEFORE[name]


def test_public_names():
    """Each is a dataclass of gen_jax by that name, and what had a path is still there."""
    for name in registry.MODULES:
        cls = classes.find(f"gen_jax:{name}")
        assert is_dataclass(cls)
        assert cls is getattr(gen_jax, name)
        assert classes.name_of(cls) == f"gen_jax:{name}"
    assert BY_NAME.keys() <= registry.MODULES.keys()
    assert all(
        classes.find(path) is classes.find(f"gen_jax:{BY_PATH[path].name}") for path in BY_PATH
    )


def test_a_class_of_gen_jax_without_a_public_name_is_held_by_no_config():
    from gen_jax.models.latent.losses import KLWeighted

    with pytest.raises(InputError, match=r"KLWeighted: it is not in gen_jax/registry\.py"):
        to_tree(KLWeighted(image(2, 2)))
    with pytest.raises(InputError, match=r"Markof is not a class of gen_jax .* mean Markov\?"):
        classes.find("gen_jax:Markof")


def test_systems_have_ids():
    """The class says it; the catalogue reads the same from the source."""
    ids = {row["system"] for row in catalogue.systems()}
    found = {vars(classes.find(f"gen_jax:{name}")).get("system") for name in registry.MODULES}
    assert {system for system in found if isinstance(system, str)} == ids
    assert system_of(Markov) == "markov"

    class Mine(Markov):
        pass

    assert system_of(Mine) == "Mine"


@pytest.fixture
def moved(monkeypatch):
    """Puts a class into another module, with one more field that has a default."""

    def move(cls):
        module = ModuleType(f"gen_jax.models.elsewhere_{cls.__name__.lower()}")
        fields = {"extra": 0.5, "__annotations__": {"extra": float}, "__module__": module.__name__}
        again = type(cls.__name__, (cls,), {**fields, "__qualname__": cls.__qualname__})
        setattr(module, cls.__name__, again)
        monkeypatch.setitem(sys.modules, module.__name__, module)
        monkeypatch.setitem(registry.MODULES, cls.__name__, module.__name__)
        return again

    return move


def test_a_moved_class_with_a_new_field_is_the_same_model(moved):
    """Identity and certificate of the trained model, whose records have its former path."""
    before = load_run(DIGITS)
    same, unmoved = Codec(before.experiment.model, before.variables), identity(before.experiment)
    fingerprints = same.fingerprint, same.former_fingerprint
    assert certificate.standing(before.workdir, before.variables).state == "certified"
    again = moved(GatedPixelCNN)
    run = load_run(DIGITS)
    assert type(run.experiment.model) is again
    assert run.experiment.model.extra == 0.5
    assert certificate.standing(run.workdir, run.variables).state == "certified"
    codec = Codec(run.experiment.model, run.variables)
    assert (codec.fingerprint, codec.former_fingerprint) == fingerprints
    assert identity(run.experiment) == unmoved
    tree = to_tree(run.experiment)
    assert tree["fields"]["model"]["type"] == "gen_jax:GatedPixelCNN"
    assert tree["fields"]["model"]["fields"]["extra"] == 0.5
    assert from_tree(tree) == run.experiment
    other = run.experiment.model.clone(extra=0.25)
    assert Codec(other, run.variables).fingerprint != codec.fingerprint
    assert Codec(other, run.variables).former_fingerprint != codec.former_fingerprint


@pytest.mark.parametrize("version", range(1, container.VERSION + 1))
def test_files_survive_the_move(moved, version):
    model = CASES["markov"].model
    _, variables = build(model)
    codec = Codec(model, variables)
    given = Content("npz", {"x": np.asarray(random_events(model, 5), np.uint8)})
    header, words = container.unpack(codec.compress(given)[0])
    assert header.version == container.VERSION
    model_of = codec.former_fingerprint if version == 1 else header.model
    header = replace(header, version=version, model=model_of)
    data = container.pack(header, words)
    again = moved(Markov)
    fields = {name: getattr(model, name) for name in ("event", "alpha")}
    found = Codec(again(**fields), jax.device_get(variables)).decompress(data)
    np.testing.assert_array_equal(found.arrays["x"], given.arrays["x"])
    with pytest.raises(InputError, match="another model"):
        Codec(again(**fields, extra=2.0), variables).decompress(data)
