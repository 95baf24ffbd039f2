"""The JSON tree of an experiment: what it holds, what is built from it, how two trees differ."""

import dataclasses
import json
import math
from typing import ClassVar

import pytest
from test_experiment import make

from gen_jax import FullTable, GatedPixelCNN, InputError, binary, image
from gen_jax.config_tree import differences, from_tree, to_tree
from gen_jax.experiment import Data, Evaluate, read
from gen_jax.optimizer import Adam, ExponentialDecay, WarmupCosine


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"optimizer": Adam(1e-3, weight_decay=0.1, accumulate=4)},
        {"optimizer": Adam(ExponentialDecay(1e-3, 0.5))},
        {"model": FullTable(binary(3)), "seed": 12, "ema": 0.0},
        {"model": GatedPixelCNN(image(3, 4, 3, 256), num_classes=7, dtype="bfloat16")},
        {"evaluate": Evaluate(every=3, batch_size=5, examples=70)},
    ],
    ids=["plain", "accumulate", "schedule", "table", "colour", "evaluate"],
)
def test_the_tree_is_the_experiment(changes):
    experiment = make(**changes)
    tree = json.loads(json.dumps(to_tree(experiment)))
    again = from_tree(tree)
    assert again == experiment
    assert to_tree(again) == tree
    assert differences(tree, to_tree(experiment)) == []


def test_the_tree_names_classes_and_every_field():
    assert to_tree(Adam(ExponentialDecay(0.5, 0.25))) == {
        "type": "gen_jax:Adam",
        "fields": {
            "learning_rate": {
                "type": "gen_jax:ExponentialDecay",
                "fields": {"start": 0.5, "rate": 0.25},
            },
            "b1": 0.9,
            "b2": 0.999,
            "eps": 1e-8,
            "eps_root": 0.0,
            "weight_decay": 0.0,
            "clip_norm": None,
            "accumulate": 1,
            "unit": "loss",
            "eps_hat": 0.0,
            "second_moment": 0.0,
            "l2": None,
            "clip_value": None,
            "decay": "all",
        },
    }
    event = {"type": "gen_jax:Event", "fields": {"shape": [2, 3, 1], "levels": 4}}
    fields = to_tree(GatedPixelCNN(image(2, 3, levels=4)))["fields"]
    assert fields["event"] == event
    assert not {"parent", "name"} & fields.keys()


@pytest.mark.parametrize("value", [{"a": 1}, math.sin, b"x", {1, 2}])
def test_only_plain_values_go_into_a_tree(value):
    with pytest.raises(InputError, match="not " + type(value).__name__):
        to_tree([value])


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("gen_jax.nowhere:Adam", "gen_jax.nowhere:Adam is not a class of gen_jax"),
        ("gen_jax.optimizer:Adamm", "gen_jax.optimizer:Adamm is not a class of gen_jax"),
        ("math:sin", "math:sin is not a dataclass"),
        ("builtins:dict", "builtins:dict is not a dataclass"),
    ],
)
def test_a_tree_builds_dataclasses_only(name, words):
    with pytest.raises(InputError) as refusal:
        from_tree({"type": name, "fields": {}}, trust=True)
    assert words in str(refusal.value)


@dataclasses.dataclass(frozen=True)
class Foreign:
    """Nothing that an experiment holds; it counts how often it is built."""

    name: str = "digits"
    built: ClassVar[list] = []

    def __post_init__(self):
        self.built.append(self)


FOREIGN = {"type": f"{__name__}:Foreign", "fields": {"name": "digits"}}


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("data", FOREIGN, "Foreign is in the place of Data"),
        ("model", FOREIGN, "model: Foreign has no loss and no log_prob and no sample"),
        ("optimizer", FOREIGN, "optimizer: Foreign has no build and no accumulate"),
        ("optimizer", to_tree(WarmupCosine(1e-3, 1, 2)), "WarmupCosine has no accumulate"),
        ("model", "text", "model: str has no loss"),
        ("model.event", FOREIGN, "Foreign is in the place of Event"),
        ("model.depth", FOREIGN, "Foreign is in the place of int"),
        ("model.event.shape", [8, FOREIGN], "Foreign is in the place of tuple"),
        ("optimizer.learning_rate", FOREIGN, "Foreign is in the place of float | "),
        ("model.event.shape", [8, "8"], "shape is (8, '8'), the field is tuple"),
        ("model.depth", True, "depth is True, the field is int"),
        ("steps", "4", "steps is '4', the field is int"),
        ("name", "x", "Experiment has no field name"),
        ("model.parent", None, "GatedPixelCNN has no field parent"),
        ("data", {"type": 3}, "lacks class and fields in"),
    ],
)
def test_only_what_an_experiment_may_hold_is_built(field, value, words):
    tree = json.loads(json.dumps(to_tree(make())))
    assert read(tree) == make()
    *outer, last = field.split(".")
    node = tree
    for name in outer:
        node = node["fields"][name]
    node["fields"][last] = value
    with pytest.raises(InputError) as refusal:
        read(tree, trust=True)
    assert words in str(refusal.value)
    assert Foreign.built == []


def test_a_tree_of_another_class_is_no_experiment():
    for tree in (FOREIGN, to_tree(Adam()), [], "text", None):
        with pytest.raises(InputError, match="the stored config is not"):
            read(tree, trust=True)
    assert Foreign.built == []


def test_a_whole_number_may_stand_for_a_float():
    tree = to_tree(make(optimizer=Adam(clip_norm=1.0)))
    tree["fields"]["optimizer"]["fields"] |= {"learning_rate": 1, "clip_norm": 2}
    optimizer = read(tree).optimizer
    assert optimizer == Adam(1.0, clip_norm=2.0)
    assert type(optimizer.learning_rate) is float
    tree["fields"]["optimizer"]["fields"]["clip_norm"] = 10**400
    with pytest.raises(InputError, match="clip_norm is 1000"):
        read(tree)


def test_differences_name_path_and_both_values():
    one = to_tree(make())
    other = to_tree(
        make(
            model=GatedPixelCNN(image(8, 8, levels=2), depth=3, features=4),
            data=Data("binarized_mnist"),
            seed=7,
        )
    )
    assert differences(one, other) == [
        'data.name: "digits" -> "binarized_mnist"',
        "model.depth: 2 -> 3",
        "model.event.levels: 17 -> 2",
        "seed: 0 -> 7",
    ]
    assert differences(other, one)[-1] == "seed: 7 -> 0"


def test_differences_stop_where_the_class_differs():
    one, other = to_tree(make()), to_tree(make(optimizer=Adam(0.5, clip_norm=1.0)))
    (line,) = differences(one, other)
    assert line.startswith("optimizer.learning_rate: ")
    assert line.endswith(" -> 0.5")
    other = to_tree(make(model=FullTable(binary(3))))
    assert differences(one, other) == ["model: gen_jax:GatedPixelCNN -> gen_jax:FullTable"]


def test_differences_name_a_field_that_one_tree_lacks():
    one, other = to_tree(make()), to_tree(make())
    del one["fields"]["ema"]
    assert differences(one, other) == ["ema: null -> 0.999"]
