"""Whole configurations of older Keras, in the words of Keras 3."""

from __future__ import annotations

import copy
import json
import zipfile
from typing import Any

import h5py
import keras
import numpy as np
import pytest
from hypothesis import given as drawn
from hypothesis import settings
from hypothesis import strategies as st
from older_configs import Entry, called, functional, given, layer, leaf, sequential
from places import MODELS

from snconvert.config.parsing import model_root, parse
from snconvert.config.safety import vet
from snconvert.errors import SourceError
from snconvert.legacy.configuration import translate

GENUINE = {
    "k2.12.0_seq.keras": True,
    "k2.13.1_seq.keras": True,
    "k215_func.keras": True,
    "k215_seq.keras": True,
    "k215_seq.h5": True,
    "tfk221_seq.h5": True,
    "a02_seq_adam_k3legacy.h5": False,
}
"""Genuine files, and whether Keras 2 wrote them."""


def contents(name: str) -> tuple[Entry, Any, str]:
    """Configuration, training configuration and version of a file."""
    path = MODELS / name
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            version = json.loads(archive.read("metadata.json"))["keras_version"]
            return json.loads(archive.read("config.json")), None, version
    with h5py.File(path) as file:
        training = file.attrs.get("training_config")
        config = json.loads(file.attrs["model_config"])
        return config, training and json.loads(training), file.attrs["keras_version"]


def dense(name: str = "d", **config: Any) -> Entry:
    return layer("Dense", name, units=2, **config)


def nameless() -> Entry:
    """A model inside another, as Keras 2.0 to 2.2.2 wrote it."""
    return {"class_name": "Sequential", "config": [dense(batch_input_shape=[None, 2])]}


def built(config: Entry) -> Any:
    """The model that Keras 3 makes of a configuration."""
    return keras.saving.deserialize_keras_object(copy.deepcopy(config))


@pytest.mark.keras
@pytest.mark.parametrize("name", GENUINE)
def test_a_genuine_file(name: str) -> None:
    """It becomes a model that the file carrier opens and Keras 3 builds and compiles."""
    config, training, version = contents(name)
    before = copy.deepcopy((config, training))
    result = translate(config, training, version)
    assert (config, training) == before
    assert result == translate(config, training)  # the keys tell the version, too
    assert vet(result.config) == []
    model_root(parse(result.config))
    model = built(result.config)
    assert model.built
    assert model.compiled == bool(training or config.get("compile_config"))
    assert json.dumps(result.config) == json.dumps(translate(config, training).config)


@pytest.mark.keras
def test_what_keras_3_wrote() -> None:
    """An archive's configuration of Keras 3 passes unchanged, and so does `to_json`."""
    inputs = keras.Input((3,))
    models = [
        keras.Sequential([inputs, keras.layers.Dense(2)]),
        keras.Model(inputs, keras.layers.Dense(2, activation="hard_sigmoid")(inputs)),
        keras.Sequential([keras.layers.Dense(2, activation="hard_sigmoid")]),
    ]
    for model in models:
        config = json.loads(model.to_json())
        assert translate(config).config is config


@pytest.mark.keras
def test_hdf5_of_keras_3(tmp_path: Any) -> None:
    """A whole model that Keras 3 wrote into HDF5 becomes what Keras 3 writes into an archive."""
    inputs = keras.Input((3,), name="i")
    hard = keras.layers.Dense(2, activation="hard_sigmoid", name="d")
    model = keras.Model(inputs, keras.layers.LSTM(2)(keras.ops.expand_dims(hard(inputs), 1)))
    with pytest.raises(SourceError, match=r"expand_dims \(ExpandDims\)"):
        translate(hdf5(model, tmp_path / "ops.h5"), version="3.4.0")
    model = keras.Model(inputs, keras.layers.Reshape((1, 2))(hard(inputs)))
    config = translate(hdf5(model, tmp_path / "model.h5")).config
    theirs = keras.saving.serialize_keras_object(model)
    for entry in theirs["config"]["layers"]:
        entry.pop("build_config", None)
        if entry["class_name"] == "InputLayer":
            del entry["config"]["ragged"], entry["config"]["optional"]
    del theirs["build_config"], theirs["compile_config"]
    assert config == json.loads(json.dumps(theirs))


def hdf5(model: Any, path: Any) -> Entry:
    model.save(path)
    with h5py.File(path) as file:
        return json.loads(file.attrs["model_config"])


@pytest.mark.parametrize(
    ("model", "shape"),
    [
        (sequential(given(3), dense()), [None, 3]),
        (sequential(dense(batch_input_shape=[8, 3])), [8, 3]),
        (sequential(dense(), build_input_shape=[None, 3]), [None, 3]),
        ({"class_name": "Sequential", "config": [dense(batch_input_shape=[None, 3])]}, [None, 3]),
        (sequential(sequential(dense(batch_input_shape=[None, 3]))), [None, 3]),
        (
            sequential(functional([called(given(3)), called(dense(), [leaf("i")])], [["d", 0, 0]])),
            [None, 3],
        ),
        (
            {"class_name": "Sequential", "config": [nameless(), nameless()]},
            [None, 2],
        ),
        (
            sequential(dense(batch_input_shape={"class_name": "__tuple__", "items": [None, 3]})),
            [None, 3],
        ),
    ],
)
def test_the_shape_of_the_input(model: Entry, shape: list[int | None]) -> None:
    """A Sequential model gets an InputLayer of the shape that its configuration says anywhere."""
    config = translate(model).config["config"]
    first = config["layers"][0]
    assert first["class_name"] == "InputLayer"
    assert first["config"]["batch_shape"] == config["build_input_shape"] == shape
    assert "batch_input_shape" not in json.dumps(config)


@pytest.mark.keras
def test_keras_builds_any_of_them() -> None:
    """A list of layers without a name, as Keras 2.0 to 2.2.2 wrote, computes what they do."""
    layers = [dense("a", batch_input_shape=[None, 3]), dense("b", activation="hard_sigmoid")]
    model = built(translate({"class_name": "Sequential", "config": layers}).config)
    weights = [np.full(weight.shape, 0.5, "float32") for weight in model.get_weights()]
    model.set_weights(weights)
    inner = np.full((1, 2), 3 * 0.5 + 0.5, "float32")
    outer = np.clip(0.2 * (inner @ weights[2] + weights[3]) + 0.5, 0, 1)
    np.testing.assert_allclose(model(np.ones((1, 3), "float32")), outer, rtol=1e-6)


def test_no_shape() -> None:
    """Without any shape Keras cannot load the weights: refused, with the way out."""
    with pytest.raises(SourceError, match=r"shape of its input.*keras\.Input of that shape"):
        translate(sequential(dense()))


@pytest.mark.parametrize(
    "old",
    [
        layer("Mine", "x", gate="hard_sigmoid"),
        layer("Lambda", "x", function="hard_sigmoid", function_type="function"),
    ],
)
def test_hard_sigmoid_in_code_of_a_users_own_is_told(old: Entry) -> None:
    """What code makes of the name, only its author knows."""
    (note,) = translate(sequential(given(2), old)).notes
    assert note.startswith("x: code of your own names `hard_sigmoid`")
    assert translate(sequential(given(2), old), version="3.4.1").notes == ()


def test_activity_regularizers_of_standalone_keras_are_told() -> None:
    """They were not divided by the size of the batch, and are not touched otherwise."""
    l2 = {"class_name": "L1L2", "config": {"l1": 0.0, "l2": 0.5}}
    for old in (dense("x", activity_regularizer=l2), layer("ActivityRegularization", "x", l1=0.5)):
        (note,) = translate(sequential(given(2), old), version="2.3.1").notes
        assert note.startswith("x: Keras 3 divides what an activity regularizer")
        assert translate(sequential(given(2), old), version="2.2.4-tf").notes == ()


def test_hard_sigmoid_is_told() -> None:
    """The note names the first layer, and how many more."""
    inner = layer("LSTM", "l", units=2, recurrent_activation="hard_sigmoid")
    model = sequential(given(3, 4), layer("Bidirectional", "b", layer=inner))
    (note,) = translate(model).notes
    assert note.startswith("b/l: `hard_sigmoid` is another function")
    model["config"]["layers"].append(dense(activation="hard_sigmoid"))
    (note,) = translate(model).notes
    assert note.startswith("b/l (and 1 more): ")
    assert "import snconvert" in note
    assert translate(model, version="3.0.0").notes == ()


def test_a_frozen_wrapper() -> None:
    """What it holds is frozen too: Keras 3 trains by the flags inside."""
    inner = layer("LSTM", "l", units=2, trainable=True)
    config = sequential(given(3, 4), layer("Bidirectional", "b", layer=inner, trainable=False))
    model = built(translate(config).config)
    assert len(model.weights) == 6
    assert not model.trainable_variables


def test_names_with_slashes() -> None:
    """Keras 3 refuses them, as DenseNet has: they get others, in the graph too."""
    layers = [
        called(given(2)),
        called(dense("a/b"), [leaf("i")]),
        called(dense("a_b"), [leaf("a/b")]),
    ]
    result = translate(functional(layers, [["a_b", 0, 0]]))
    names = [entry["config"]["name"] for entry in result.config["config"]["layers"]]
    assert names == ["i", "a_b_1", "a_b"]
    assert [entry["name"] for entry in result.config["config"]["layers"]] == names
    assert result.notes == ("Keras 3 allows no slashes in the names of layers: a/b is now a_b_1",)


def test_a_shared_layer() -> None:
    """A layer in two wrappers has its id in both places; in two models it is two layers, told."""
    wrapped = [layer("TimeDistributed", name, layer=dense()) for name in "ab"]
    wrapped[1]["config"]["layer"]["shared_object_id"] = 7
    wrapped[0]["config"]["layer"]["config"]["kernel_initializer"] = None
    with_id = sequential(given(3, 2), *wrapped)
    with_id["config"]["layers"][1]["config"]["layer"] = dense()
    first, second = translate(with_id).config["config"]["layers"][1:]
    ids = [entry["config"]["layer"]["shared_object_id"] for entry in (first, second)]
    assert ids == [7, 7]
    models = [sequential(given(2), dense("s")) for _ in range(2)]
    for name, model in zip("ab", models, strict=True):
        model["config"]["name"] = name
    models[1]["config"]["layers"][1]["shared_object_id"] = 3
    result = translate(sequential(given(2), *models))
    assert "shared_object_id" not in json.dumps(result.config)
    assert result.notes[0].startswith("b/s: the model shares this layer")


def test_an_id_of_nothing() -> None:
    """An id that stands at one layer only is taken out, and so are those of initializers."""
    entry = dense(kernel_initializer={"class_name": "Ones", "config": {}, "shared_object_id": 1})
    model = sequential(given(2), {**entry, "shared_object_id": 2})
    assert "shared_object_id" not in json.dumps(translate(model).config)


def test_a_custom_model() -> None:
    """A subclass of Functional keeps its class; its layers and graph are those of Keras 3."""
    layers = [called(given(2)), called(dense(), [leaf("i")])]
    model = functional(layers, [["d", 0, 0]])
    model["class_name"] = "mine>Net"
    config = translate(model).config
    assert (config["class_name"], config["registered_name"]) == ("Net", "mine>Net")
    assert config["config"]["layers"][1]["module"] == "keras.layers"
    assert config["config"]["output_layers"] == ["d", 0, 0]


def test_what_an_entry_keeps() -> None:
    """The shape that a layer was built for stays, as the size of its kernel may be asked for."""
    entry = {**dense(), "build_config": {"input_shape": [None, 3]}}
    assert translate(sequential(given(3), entry)).config["config"]["layers"][1]["build_config"] == {
        "input_shape": [None, 3]
    }


def test_modules_of_old() -> None:
    """A class is Keras' own by any of the names that its modules have had."""
    for module in ("keras.engine.sequential", "tf_keras.src.layers", "tensorflow.python.keras.x"):
        entry = {**dense(), "module": module, "registered_name": None}
        assert translate(sequential(given(3), entry)).config["config"]["layers"][1]["module"] == (
            "keras.layers"
        )
    entry = {**dense(), "module": "my_package.layers", "registered_name": "Dense"}
    assert translate(sequential(given(3), entry)).config["config"]["layers"][1] == entry


@pytest.mark.parametrize(
    "config",
    [
        None,
        [],
        3,
        {},
        {"class_name": 3},
        {"class_name": "Sequential"},
        {"class_name": "Sequential", "config": 3},
        sequential(3),
        sequential(given(2), None),
        {"class_name": "Functional", "config": {"name": "m", "layers": 1, "input_layers": 2}},
    ],
)
def test_what_is_no_configuration(config: Any) -> None:
    """It is refused in one line."""
    with pytest.raises(SourceError) as caught:
        translate(config)
    assert "\n" not in str(caught.value)


def test_models_in_models_to_any_depth() -> None:
    """Depth and repetition cost what they take to write: nothing doubles, nothing overflows."""
    deep = dense(batch_input_shape=[None, 2])
    for _ in range(60):
        deep = sequential(deep)
    assert "build_input_shape" in translate(deep).config["config"]
    for _ in range(3000):
        deep = sequential(deep)
    with pytest.raises(SourceError, match="nests too deep"):
        translate(deep)
    both = layer("LSTM", units=2)
    for _ in range(40):
        both = layer("Bidirectional", layer=both)
    assert len(json.dumps(translate(sequential(given(3, 2), both)).config)) < 100_000


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every place in a configuration: what holds it, and the key."""
    found, stack = [], [value]
    while stack:
        item = stack.pop()
        pairs = item.items() if isinstance(item, dict) else enumerate(item)
        for key, child in pairs:
            found.append((item, key))
            if isinstance(child, (dict, list)):
                stack.append(child)
    return found


ODD = st.sampled_from(
    [
        None,
        True,
        0,
        -1,
        3.5,
        float("nan"),
        "",
        "x",
        "a/b",
        [],
        {},
        [[]],
        [None],
        ["i", 0, 0],
        ["i", 0, 0, {}],
        {"class_name": "Dense"},
        {"class_name": "Dense", "config": {}},
        {"class_name": 1, "config": 2},
        {"class_name": "__tuple__", "items": 3},
        10**30,
    ]
)

NESTED = functional(
    [
        called(given(4)),
        called(sequential(given(4), dense("d"), dense("e")), [leaf("i")], [leaf("s", 1)]),
        called(
            layer("Bidirectional", "b", layer=layer("GRU", "g", units=1, activation="elu")),
            [leaf("s", 2, mask=None, initial_state=[["i", 0, 0]])],
        ),
    ],
    [["b", 0, 0]],
)


@pytest.mark.parametrize("name", [*GENUINE, "nested"])
@settings(max_examples=40, deadline=None)
@drawn(data=st.data())
def test_damaged_configurations(name: str, data: Any) -> None:
    """Whatever one or two values are replaced by or left out: a model or one `SourceError`."""
    config, training, version = (NESTED, None, "2.4.0") if name == "nested" else contents(name)
    tree = copy.deepcopy([config, training])
    for _ in range(data.draw(st.integers(1, 2))):
        holder, key = data.draw(st.sampled_from(places(tree)))
        if isinstance(holder, dict) and data.draw(st.booleans()):
            del holder[key]
        else:
            holder[key] = copy.deepcopy(data.draw(ODD))
    try:
        result = translate(*tree, data.draw(st.sampled_from([None, version])))
    except SourceError as error:
        assert "\n" not in str(error)  # noqa: PT017 -- either is right
    else:
        assert isinstance(result.config, dict)
        json.dumps(result.config)
