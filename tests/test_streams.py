"""Examples from an iterator and from a Hugging Face data set."""

import itertools

import numpy as np
import pytest
from test_fitted import COUNTS, EVENTS, same

import gen_jax
from gen_jax import (
    FVSBN,
    LSTM,
    Adam,
    Condition,
    GatedPixelCNN,
    InputError,
    WaveNet,
    binary,
    image,
    sound,
    tokens,
)
from gen_jax.data import memory
from gen_jax.data.batches import Batches
from gen_jax.data.stream import Ended, Stream, is_stream

X = np.repeat(EVENTS, COUNTS, axis=0)
MODEL = FVSBN(binary(3))
SETTINGS = {"batch_size": 8, "optimizer": Adam(0.1), "ema": 0.5}
COLOURED = GatedPixelCNN(image(2, 2, levels=3), num_classes=3, depth=1, features=4, head_features=4)


def in_batches(count):
    """The batches that `fit` takes from the array, in its order."""
    batches = Batches(memory.split_of(MODEL, X, None, "train"), 8, 0)
    return [batches.batch(step)["x"] for step in range(count)]


def test_a_stream_in_the_order_of_arrays_gives_their_bits():
    """However it is cut: batches, single examples, pieces of five, one piece."""
    whole = gen_jax.fit(MODEL, X, steps=13, **SETTINGS)
    rows = np.concatenate(in_batches(13))
    pieces = (rows[i : i + 5] for i in range(0, len(rows), 5))
    for items in (iter(in_batches(13)), iter(rows), pieces, iter([rows])):
        streamed = gen_jax.fit(MODEL, items, steps=13, **SETTINGS)
        assert same(streamed.variables, whole.variables)
        assert streamed.history == whole.history


class Loader:
    """An iterable that begins anew, such as a data loader; it gives the examples once each time."""

    def __iter__(self):
        return iter(X)


def test_an_iterable_begins_anew_and_an_iterator_ends_the_training():
    again = gen_jax.fit(MODEL, Loader(), steps=7, **SETTINGS)
    cycled = gen_jax.fit(MODEL, itertools.cycle(X), steps=7, **SETTINGS)
    assert again.step == 7
    assert same(again.variables, cycled.variables)
    ended = gen_jax.fit(MODEL, iter(X), steps=100, validation=X, every=3, **SETTINGS)
    assert [row["step"] for row in ended.history] == [3, 3, 4, 4]  # 32 examples are 4 batches
    assert ended.step in (3, 4)
    assert same(gen_jax.fit(MODEL, iter(X), steps=100, **SETTINGS).variables,
                gen_jax.fit(MODEL, iter(X), steps=4, **SETTINGS).variables)  # fmt: skip


def test_items_may_be_pairs():
    """Labels go along with single images, which may lack the axis of channels, and with batches."""
    x = np.arange(24).reshape(6, 2, 2) % 3
    labels = np.arange(6) % 3
    single = Stream(COLOURED, zip(x, labels, strict=True), 4)
    batches = Stream(COLOURED, iter([(x[:5, ..., None], labels[:5]), [x[5:, ..., None], labels[5:]]]), 4)  # fmt: skip
    for stream in (single, batches):
        first = stream.first()
        np.testing.assert_array_equal(first["x"], x[:4, ..., None])
        np.testing.assert_array_equal(stream.batch(0)["cond"], labels[:4])
        with pytest.raises(Ended):
            stream.batch(1)
    local = WaveNet(sound(8, 3), num_classes=3, local=1, hop=4, cycles=1, depth=2, features=6)
    features = np.random.default_rng(0).normal(size=(6, 2, 1)).astype(np.float32)
    items = [(np.zeros(8, int), Condition(1, (part,))) for part in features]
    cond = Stream(local, items, 4).batch(0)["cond"]
    np.testing.assert_array_equal(cond.label, [1] * 4)
    np.testing.assert_array_equal(cond.values[0], features[:4])


@pytest.mark.parametrize(
    ("items", "words"),
    [
        ([], "fewer examples than a batch of 8"),
        (X[:5], "fewer examples than a batch of 8"),
        ([{"image": 0, "label": 1}], "gives dicts with image, label"),
        (np.zeros((9, 4), int), r"gives shape \(4,\): examples of the model have \(3,\)"),
        (X + 2, "values run from 2 to 3"),
    ],
)
def test_what_a_stream_cannot_give_is_refused(items, words):
    with pytest.raises(InputError, match=words):
        gen_jax.fit(MODEL, iter(items), steps=2, **SETTINGS)


def test_a_state_from_window_to_window_needs_arrays():
    windows = np.zeros((8, 4), int)
    model = LSTM(tokens(4, 3), features=2, carry=True)
    with pytest.raises(InputError, match="carries a state from window to window"):
        gen_jax.fit(model, iter(windows), steps=1, **SETTINGS)
    with pytest.raises(InputError, match="an iterator gives pairs of x and cond"):
        gen_jax.fit(COLOURED, iter(windows), cond=[0], steps=1)


def test_arrays_are_no_stream():
    assert not any(map(is_stream, (X, X.tolist(), tuple(X), np.float32(1))))
    assert all(map(is_stream, (iter(X), Loader(), (x for x in X))))


def test_columns_of_a_hugging_face_data_set():
    """Grey and RGB images get an axis of channels; vectors stay; a data set of rows need not be loaded."""
    datasets = pytest.importorskip("datasets", reason="datasets is not installed")
    grey = np.arange(24, dtype=np.uint8).reshape(3, 2, 4)
    rgb = np.arange(72, dtype=np.uint8).reshape(3, 2, 4, 3)
    features = datasets.Features(
        image=datasets.Image(), colour=datasets.Image(), kind=datasets.ClassLabel(names=["a", "b"]),
        vector=datasets.Sequence(datasets.Value("int32")),
    )  # fmt: skip
    columns = {
        "image": list(grey),
        "colour": list(rgb),
        "kind": [0, 1, 1],
        "vector": X[:3].tolist(),
    }
    dataset = datasets.Dataset.from_dict(columns, features=features)
    x, labels = gen_jax.from_datasets(dataset, "image", "kind")
    np.testing.assert_array_equal(x, grey[..., None])
    np.testing.assert_array_equal(labels, [0, 1, 1])
    x, none = gen_jax.from_datasets(dataset.to_iterable_dataset().take(2), "colour")
    np.testing.assert_array_equal(x, rgb[:2])
    assert none is None
    x, _ = gen_jax.from_datasets(dataset, "vector")
    np.testing.assert_array_equal(x, X[:3])
    assert len(memory.split_of(MODEL, x, None, "train")) == 3


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([{"image": 1}], "there is no column 'x'; there are image"),
        ([], "there are no examples"),
        ([{"x": [1]}, {"x": [1, 2]}], r"column 'x' has different shapes: \(1,\) and \(2,\)"),
    ],
)
def test_columns_that_are_no_arrays_are_refused(rows, words):
    with pytest.raises(InputError, match=words):
        gen_jax.from_datasets(rows, "x")
