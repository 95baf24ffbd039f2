"""Config files, `--set`, and the JSON tree that a work directory keeps."""

import dataclasses
import json
import math
import sys
from pathlib import Path

import pytest

from gen_jax import VAE, FullTable, GatedPixelCNN, InputError, binary, image
from gen_jax.config_tree import differences, former, from_tree, identity, to_tree
from gen_jax.experiment import Data, Evaluate, Experiment, load_config, read, replace
from gen_jax.included import config_paths
from gen_jax.optimizer import L2, Adam, Setting, WarmupCosine, planned_steps

CONFIGS = Path(__file__).resolve().parents[1] / "experiments" / "configs"
DIGITS = CONFIGS / "gated_pixel_cnn_digits.py"


def make(**changes) -> Experiment:
    fields = {
        "model": GatedPixelCNN(image(8, 8, levels=17), depth=2, features=4),
        "data": Data("digits"),
        "optimizer": Adam(WarmupCosine(2e-3, 50, 1500), clip_norm=1.0),
        "steps": 4,
        "batch_size": 8,
    }
    return Experiment(**(fields | changes))


def test_a_config_does_not_run_as_a_program(tmp_path):
    """A config may end in `if __name__ == "__main__"`, and sees its own name."""
    path = tmp_path / "mine.py"
    path.write_text(
        DIGITS.read_text()
        + "\nassert __name__ == 'mine'\nif __name__ == '__main__':\n    raise RuntimeError\n"
    )
    assert load_config(path) == load_config(DIGITS)


def test_a_config_imports_its_neighbours(tmp_path):
    """Each config imports its own neighbour, also inside experiment(), and no module stays behind."""
    path = list(sys.path)
    for steps in (3, 4):
        folder = tmp_path / str(steps)
        folder.mkdir()
        (folder / "neighbour.py").write_text(f"STEPS = {steps}\n")
        text = DIGITS.read_text().replace("STEPS = 1800", "")
        text = text.replace("    return", "    from neighbour import STEPS\n    return")
        (folder / "config.py").write_text(text.replace("50, STEPS", "1, STEPS"))
        assert load_config(folder / "config.py").steps == steps
        assert "neighbour" not in sys.modules
    assert sys.path == path
    (folder / "neighbour.py").write_text("STEPS = (\n")
    with pytest.raises(InputError, match=r"neighbour\.py is not valid Python"):
        load_config(folder / "config.py")


def test_the_system_is_what_the_model_says():
    assert make().system == "gated_pixel_cnn"
    assert make(model=FullTable(binary(3))).system == "full_table"


@pytest.mark.parametrize("path", config_paths().values(), ids=lambda path: path.name)
def test_every_config_survives_json(path):
    experiment = load_config(path)
    again = from_tree(json.loads(json.dumps(to_tree(experiment))))
    assert again == experiment
    assert type(again.model) is type(experiment.model)


def test_overrides_reach_every_level_in_order():
    overrides = [
        "model.depth=3",
        "model.event.shape=(8, 8, 3)",
        "model.dtype=bfloat16",
        "optimizer.learning_rate.peak=0.5",
        "evaluate.every=7",
        "steps=9",
        "steps=10",
    ]
    base = load_config(DIGITS)
    model = dataclasses.replace(
        base.model, depth=3, event=image(8, 8, 3, levels=17), dtype="bfloat16"
    )
    rate = WarmupCosine(0.5, 0, 10)  # 50 of 1,800 steps to warm up are less than half a step of 10
    assert load_config(DIGITS, overrides) == dataclasses.replace(
        base,
        model=model,
        optimizer=dataclasses.replace(base.optimizer, learning_rate=rate),
        steps=10,
        evaluate=dataclasses.replace(base.evaluate, every=7),
    )


@pytest.mark.parametrize(
    ("overrides", "rate"),
    [
        (["steps=900"], WarmupCosine(3e-3, 25, 900)),
        (["steps=3600"], WarmupCosine(3e-3, 50, 3600)),
        (["optimizer.learning_rate.warmup=7", "steps=900"], WarmupCosine(3e-3, 7, 900)),
        (["optimizer.learning_rate.steps=1800", "steps=900"], WarmupCosine(3e-3, 50, 1800)),
        (["steps=900", "optimizer.learning_rate.steps=1000"], WarmupCosine(3e-3, 50, 1000)),
        (["steps=900", "optimizer.learning_rate=0.5"], 0.5),
    ],
)
def test_a_schedule_follows_the_steps_unless_told_otherwise(overrides, rate):
    assert load_config(DIGITS, overrides).optimizer.learning_rate == rate


def test_an_optimiser_of_ones_own_may_ask_for_nothing():
    """`build` with or without the setting: steps and the units of the loss."""

    @dataclasses.dataclass(frozen=True)
    class Plain:
        accumulate: int = 1

        def build(self):
            return "plain"

    class Asking(Plain):
        def build(self, setting):
            return setting

    assert make(optimizer=Plain()).transformation() == "plain"
    experiment = make(optimizer=Asking())
    found, size = experiment.transformation(), float(experiment.model.event.size)
    assert found == Setting(experiment.steps, size, size * experiment.batch_size)


def test_every_config_can_be_shortened():
    """No schedule of any config is for more steps than are trained, or warms up for longer."""
    for path in config_paths().values():
        for steps in (1, 20):
            short = load_config(path, [f"steps={steps}"])
            assert set(planned_steps(short.optimizer, steps)) == {steps}, path
            short.transformation()


def test_a_default_is_stored_and_is_no_part_of_the_identity():
    """A record tells every value, even should a default change; a field is part of what a model is by another value."""
    plain, biased = VAE(image(4, 4)), VAE(image(4, 4), data_bias=True)
    assert differences(to_tree(plain), to_tree(biased)) == ["data_bias: false -> true"]
    event = {"shape": [4, 4, 1], "levels": 256}
    assert identity(plain)["fields"] == {"event": {"type": "gen_jax:Event", "fields": event}}
    assert identity(biased)["fields"] == identity(plain)["fields"] | {"data_bias": True}
    assert "data_bias" not in former(plain)["fields"]
    assert former(biased)["fields"]["data_bias"] is True
    experiment = make(optimizer=Adam(unit="batch", l2=L2(0.5)), init_examples=7)
    tree = to_tree(experiment)
    assert read(json.loads(json.dumps(tree))) == experiment
    del tree["fields"]["init_examples"]  # a record from before there was the field
    assert read(tree) == dataclasses.replace(experiment, init_examples=None)


@pytest.mark.parametrize(
    ("override", "read", "value"),
    [
        ("ema=0", lambda e: e.ema, 0.0),
        ("optimizer.clip_norm=2", lambda e: e.optimizer.clip_norm, 2.0),
        ("optimizer.clip_norm=None", lambda e: e.optimizer.clip_norm, None),
        ("optimizer.learning_rate=1", lambda e: e.optimizer.learning_rate, 1.0),
        ("evaluate.examples=12", lambda e: e.evaluate.examples, 12),
        ("data.name=binarized_mnist", lambda e: e.data.name, "binarized_mnist"),
        ("data.name='a=b'", lambda e: e.data.name, "a=b"),
        ("data.name=a=b", lambda e: e.data.name, "a=b"),
        ("seed=5", lambda e: e.seed, 5),
    ],
)
def test_an_override_has_the_type_of_its_field(override, read, value):
    before = make()
    after = replace(before, override)
    assert (read(after), type(read(after))) == (value, type(value))
    assert len(differences(to_tree(before), to_tree(after))) == 1
    assert before == make()  # a value: what it was replaced in stays


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("stepz=3", ["stepz", "did you mean steps", "Experiment has no field"]),
        ("model.deph=3", ["model.deph", "GatedPixelCNN", "did you mean depth", "head_features"]),
        ("optimizer.learning_rate.peek=1.0", ["WarmupCosine", "did you mean peak"]),
        ("model.parent=None", ["GatedPixelCNN has no field 'parent'"]),
        ("model.name=x", ["GatedPixelCNN has no field 'name'"]),
        ("steps.value=3", ["int has no field 'value'"]),
        ("model..depth=3", ["no field ''"]),
        ("=3", ["no field ''"]),
        ("steps", ["FIELD=VALUE", "'steps'"]),
        ("steps=ten", ["steps", "'ten' is a str", "int"]),
        ("steps=1.5", ["1.5 is a float", "int"]),
        ("steps=None", ["None is a NoneType", "int"]),
        ("steps=True", ["True is a bool", "int"]),
        ("ema=True", ["True is a bool", "float"]),
        ("ema=half", ["'half' is a str", "float"]),
        ("optimizer.clip_norm=True", ["True is a bool", "float | None"]),
        ("optimizer.learning_rate=fast", ["'fast' is a str", "WarmupCosine"]),
        ("evaluate.examples=1.5", ["1.5 is a float", "int | None"]),
        ("model.event.shape=[8, 8, 1]", ["model.event.shape", "is a list", "tuple"]),
        ("model.event.shape=(8, 8.0, 1)", ["is a tuple", "tuple"]),
        ("model.event.shape=(8, 8, True)", ["is a tuple", "tuple"]),
        ("model.dtype=float16", ["model.dtype", "'float16'"]),
        ("data=digits", ["'digits' is a str", "Data"]),
        ("model=GatedPixelCNN", ["model", "set one of its fields"]),
        ("optimizer=None", ["optimizer", "set one of its fields"]),
        ("data.name=7", ["7 is a int", "str"]),
        ("steps=0", ["steps must be at least 1, not 0"]),
        ("model.event.levels=1", ["at least 2 levels, not 1"]),
        ("model.event.shape=()", ["positive sides, not ()"]),
    ],
)
def test_a_bad_override_is_refused_in_words(override, words):
    with pytest.raises(InputError) as refusal:
        replace(make(), override)
    for word in words:
        assert word in str(refusal.value)


def test_only_near_names_are_named():
    with pytest.raises(InputError) as refusal:
        replace(make(), "zzz=3")
    assert "did you mean" not in str(refusal.value)
    for field in dataclasses.fields(Experiment):
        assert field.name in str(refusal.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "config not found"),
        ("steps = 3\n", "does not define experiment()"),
        ("experiment = 3\n", "does not define experiment()"),
        ("def experiment():\n    return 3\n", "not an Experiment"),
        ("def experiment(:\n", "is not valid Python"),
        ("def experiments():\n    return {}\n", "it defines several experiments"),
    ],
)
def test_a_file_that_is_no_config_is_refused(tmp_path, text, words):
    path = tmp_path / "config.py"
    if text is not None:
        path.write_text(text)
    with pytest.raises(InputError) as refusal:
        load_config(path)
    assert words in str(refusal.value)
    assert str(path) in str(refusal.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "does not define experiments()"),
        ("def experiments():\n    return 3\n", "returns 3, not a dict by name"),
        (
            "def experiments():\n    return {'tiny': 3}\n",
            "has no experiment 'tinny' (did you mean tiny?)",
        ),
        ("def experiments():\n    return {'tinny': 3}\n", "returns 3, not an Experiment"),
    ],
)
def test_a_name_that_a_file_does_not_have_is_refused(tmp_path, text, words):
    path = tmp_path / "config.py"
    path.write_text(text)
    with pytest.raises(InputError) as refusal:
        load_config(tmp_path / "config.py:tinny")
    assert words in str(refusal.value)


def test_one_of_several_experiments(tmp_path):
    """FILE.py:NAME; overrides apply as ever."""
    path = tmp_path / "several.py"
    text = DIGITS.read_text() + "\n\ndef experiments():\n    return {'mine': experiment()}\n"
    path.write_text(text)
    named = load_config(tmp_path / "several.py:mine", ["seed=3"])
    assert named == load_config(DIGITS, ["seed=3"]) == load_config(path, ["seed=3"])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"steps": 0}, "steps must be at least 1, not 0"),
        ({"steps": -3}, "steps must be at least 1, not -3"),
        ({"batch_size": 0}, "batch_size must be at least 1, not 0"),
        ({"seed": -1}, "seed must lie in [0, 2^32), not -1"),
        ({"ema": 1.0}, "ema must lie in [0, 1), not 1.0"),
        ({"ema": -0.1}, "ema must lie in [0, 1), not -0.1"),
        ({"ema": math.nan}, "ema must lie in [0, 1), not nan"),
        ({"evaluate": Evaluate(every=0)}, "evaluate.every and evaluate.batch_size"),
        ({"evaluate": Evaluate(batch_size=0)}, "evaluate.every and evaluate.batch_size"),
        ({"evaluate": Evaluate(examples=0)}, "evaluate.examples must be at least 1"),
        ({"evaluate": Evaluate(draws=0)}, "evaluate.draws and evaluate.validation_draws"),
        ({"optimizer": Adam(accumulate=0)}, "optimizer.accumulate must be at least 1"),
        ({"optimizer": Adam(accumulate=3)}, "batch_size 8 does not split into 3 parts"),
    ],
)
def test_an_experiment_that_cannot_run_is_refused(changes, words):
    with pytest.raises(InputError) as refusal:
        make(**changes)
    assert words in str(refusal.value)
