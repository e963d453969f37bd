"""Converting live models: selection, copies, saving and loading."""

from __future__ import annotations

import sys
import warnings
from typing import Any

import keras
import live_models
import numpy as np
import pytest
import steps
import warm
import zoo
from keras import layers
from live_models import TOPOLOGIES, X, outputs, train
from places import SUPPORT

import snconvert
from snconvert.cli.tables import print_report
from snconvert.errors import (
    KernelError,
    OptionError,
    SelectionError,
    UnsupportedError,
    WeightsError,
)
from snconvert.layers import Spectral, SpectralDense
from snconvert.layers.composite import Composite
from snconvert.live.internals.walk import descendants

ALL: dict[str, Any] = {"kinds": "all"}


def spectral(model: keras.Model) -> list[Any]:
    """Returns the spectral layers, without the parts of spectral layers."""
    found = [layer for _, layer in descendants(model) if isinstance(layer, Spectral)]
    parts = {id(p) for x in found if isinstance(x, Composite) for p in x.parts().values()}
    return [layer for layer in found if id(layer) not in parts]


def values(model: keras.Model) -> list[np.ndarray]:
    return [np.asarray(variable) for variable in model.weights]


def same(one: list[np.ndarray], two: list[np.ndarray]) -> bool:
    return len(one) == len(two) and all(map(np.array_equal, one, two))


def close(one: np.ndarray, two: np.ndarray) -> None:
    np.testing.assert_allclose(one, two, rtol=2e-5, atol=2e-5 * np.abs(one).max())


@pytest.fixture(params=TOPOLOGIES)
def model(request: pytest.FixtureRequest) -> keras.Model:
    return zoo.randomize(TOPOLOGIES[request.param]())


def test_gain_changes_no_output(model):
    """Converting with gain leaves the outputs as they are, whatever the topology."""
    before = outputs(model)
    patched = snconvert.apply(model, mode="gain", **ALL)
    close(before, outputs(patched))
    assert len(spectral(patched)) == snconvert.plan(model, **ALL).converted
    assert type(patched).__name__ == type(model).__name__
    assert isinstance(patched, type(model))


def test_the_argument_is_left_alone(model):
    """Neither converting a model nor training the result moves the original, or shares with it."""
    model.compile("adam", "mse", run_eagerly=True)
    train(model, steps=1)
    before, predicted, kind = values(model), outputs(model), type(model)
    state = [np.asarray(v) for v in model.optimizer.variables]
    patched = snconvert.apply(model, **ALL)
    train(patched, steps=1)
    assert same(before, values(model))
    assert same(state, [np.asarray(v) for v in model.optimizer.variables])
    assert np.array_equal(predicted, outputs(model))
    assert type(model) is kind
    assert not spectral(model)
    mine = {id(v) for v in (*model.variables, *model.optimizer.variables)}
    assert not mine & {id(v) for v in (*patched.variables, *patched.optimizer.variables)}


def test_every_kernel_is_at_the_bound(model):
    """After a hard conversion, the effective kernels have the bound as their norm."""
    for layer in spectral(snconvert.apply(model, bound=2.0, **ALL)):
        for row in layer.rule.kernels_of(layer.get_config()):
            kernel = np.asarray(layer.effective_kernel(row.path), "float64")
            matrix = row.view(kernel.shape, layer.get_config()).matrix(kernel)
            assert np.linalg.norm(matrix, 2, axis=(1, 2)).max() == pytest.approx(2.0, rel=1e-5)


TWICE = ("subclassed", "attention", "recurrent")
"""What is saved a second time in the gate; the others are slow."""


@pytest.mark.parametrize(
    ("name", "times"),
    [
        pytest.param(name, times, marks=pytest.mark.slow if times != 1 + (name in TWICE) else [])
        for name in TOPOLOGIES
        for times in (1, 2)
    ],
)
def test_saving_and_loading(name, times, tmp_path):
    """A converted model, trained, comes back from its file as it was, and again from a second."""
    model = zoo.randomize(TOPOLOGIES[name]())
    patched = snconvert.apply(model, mode="gain", **ALL)
    patched.compile("adam", "mse", run_eagerly=True)
    train(patched, steps=1)
    patched.save(tmp_path / "one.keras")
    loaded = keras.saving.load_model(tmp_path / "one.keras")
    others = [loaded]
    if times == 2:
        loaded.save(tmp_path / "two.keras")
        others.append(keras.saving.load_model(tmp_path / "two.keras"))
    for other in others:
        assert same(values(patched), values(other))
        assert np.array_equal(outputs(patched), outputs(other))
        kinds = [(route, type(layer).__name__) for route, layer in descendants(patched)]
        assert kinds == [(route, type(layer).__name__) for route, layer in descendants(other)]
        state = [np.asarray(v) for v in patched.optimizer.variables]
        assert same(state, [np.asarray(v) for v in other.optimizer.variables])
    loaded.run_eagerly = True
    assert train(patched, steps=1) == train(loaded, steps=1)


def test_a_fresh_process_loads_them(tmp_path):
    """`import snconvert` and the user's own classes are enough to load all of them."""
    for name, build in TOPOLOGIES.items():
        patched = snconvert.apply(zoo.randomize(build()), **ALL)
        patched.save(tmp_path / f"{name}.keras")
        np.save(tmp_path / f"{name}.npy", outputs(patched))
    code = f"""
import sys; sys.path.insert(0, {str(SUPPORT)!r})
import snconvert, live_models, keras, numpy as np, pathlib
for path in sorted(pathlib.Path({str(tmp_path)!r}).glob("*.keras")):
    model = keras.saving.load_model(path)
    assert np.array_equal(live_models.outputs(model), np.load(path.with_suffix(".npy"))), path
    print(path.stem)
"""
    command = [sys.executable, "-c", code]
    done = warm.run(command, modules=warm.TENSORFLOW, capture_output=True, text=True)
    assert done.stdout.split() == sorted(TOPOLOGIES), done.stderr


def test_parts_can_be_saved_by_themselves(tmp_path):
    """A part of a converted model saves and loads alone, and inside a new model."""
    patched = snconvert.apply(live_models.subclassed())
    block = patched.blocks[0]
    inputs = keras.Input((6,))
    new = keras.Model(inputs, block(inputs))
    new.save(tmp_path / "new.keras")
    loaded = keras.saving.load_model(tmp_path / "new.keras")
    assert np.array_equal(outputs(new), outputs(loaded))
    assert len(spectral(loaded)) == 4


def test_in_place():
    """`in_place` converts the object itself, and the layers stay the same objects."""
    model = live_models.subclassed()
    layers = [layer for _, layer in descendants(model)]
    patched = snconvert.apply(model, in_place=True)
    assert patched is model
    assert layers == [layer for _, layer in descendants(model)]
    assert isinstance(model.top, SpectralDense)
    assert model.generate(X).shape == (8,)
    assert model.get_layer("block_0") is model.blocks[0]


def test_an_adopted_layer_is_like_one_that_was_made_so():
    """Conversion gives a layer all attributes that a spectral layer has from the start."""
    dense = keras.layers.Dense(3, name="d")
    holder = keras.Sequential([keras.Input((4,)), dense])
    snconvert.apply(holder, in_place=True, mode="gain")
    made = SpectralDense(3, mode="gain", name="d")
    made.build((None, 4))
    theirs = {name for name in vars(made) if not name.startswith("_auto_config")}
    assert theirs <= set(vars(dense))
    assert dense._call_has_training_arg
    assert [v.name for v in dense.weights] == [v.name for v in made.weights]
    assert dense.u.path == dense.kernel.path.replace("kernel", "u")
    with pytest.raises(NotImplementedError, match="quantization"):
        dense.quantize("int8")


def test_keras_learns_of_the_new_call():
    """A convolution, whose own `call` knows no `training`, trains its `u` once it is converted."""
    model = snconvert.apply(zoo.convolutional(), conv=True)
    conv = model.get_layer(index=1)
    assert not keras.layers.Conv2D(1, 1)._call_has_training_arg
    assert conv._call_has_training_arg
    assert conv._call_has_context_arg["training"]
    zoo.randomize(model)
    before = np.asarray(conv.u)
    model(zoo.inputs_of(model)[0], training=True)
    assert not np.array_equal(before, conv.u)


def test_a_layer_not_built_yet():
    """What is not built becomes spectral all the same, and finds `u` when it is built."""
    model = snconvert.apply(keras.Sequential([keras.layers.Dense(4), keras.layers.Dense(2)]))
    model.build((None, 6))
    for layer in spectral(model):
        norm = np.linalg.norm(np.asarray(layer.effective_kernel()), 2)
        assert norm == pytest.approx(1.0, rel=1e-5)
        assert len(layer.weights) == 3


@pytest.mark.parametrize("place", ["A", "A/sh", "A/sh/k", "B", "B/sh", "B/sh/k"])
def test_each_place_of_a_shared_model_names_it(place, tmp_path):
    """As in the file: what is left out or asked for in one place is so in all."""
    shared = keras.Sequential([keras.Input((4,)), layers.Dense(4, name="k")], name="sh")
    towers = []
    for name in "AB":
        inputs = keras.Input((4,))
        towers.append(keras.Model(inputs, shared(inputs), name=name))
    inputs = keras.Input((4,))
    outputs = layers.Dense(2, name="o")(layers.add([tower(inputs) for tower in towers]))
    model = keras.Model(inputs, outputs)
    model.save(tmp_path / "model.keras")
    for source in (model, tmp_path / "model.keras"):
        for options, converted in (({"only": [place]}, "A/sh/k"), ({"exclude": [place]}, "o")):
            found = [
                x.path
                for x in snconvert.inspect(source, **options).layers
                if x.status == "convertible"
            ]
            assert found == [converted]


def test_activations_with_a_rule_do_not_hide_their_layer():
    """A converted or excluded layer is listed, also where its activation is a layer."""
    inner = layers.Dense(5, activation=layers.Dense(5), name="in")
    model = keras.Sequential([keras.Input((6,)), inner])
    for options in ({}, {"exclude": "in"}):
        assert "in" in [x.path for x in snconvert.inspect(model, **options).layers]
    found = [
        x.path for x in snconvert.inspect(snconvert.apply(model)).layers if x.status == "spectral"
    ]
    assert "in" in found


def test_shared_layers_are_converted_once():
    """A layer that is used twice has one `u`, and stands in the plan once."""
    report = snconvert.plan(live_models.shared())
    paths = [layer.path for layer in report.layers]
    assert len(paths) == len(set(paths))
    model = zoo.functional()
    assert sum(v.name == "u" for v in snconvert.apply(model).weights) == 3


def test_paths():
    """Layers of graphs go by name, those of custom classes by attribute and index."""
    paths = [layer.path for layer in snconvert.plan(live_models.task()).layers]
    assert "backbone/embedding" in paths
    assert "backbone/transformer_0/stack/0" in paths
    assert "backbone/transformer_0/heads/a" in paths
    assert "backbone/transformer_0/pair/1/0" in paths
    assert paths[-1] == "head"
    paths = [layer.path for layer in snconvert.inspect(live_models.attention()).layers]
    assert "mha" in paths
    assert "mine/_query_dense" in paths


@pytest.mark.parametrize(
    ("options", "count"),
    [
        ({"only": "blocks/*"}, 8),
        ({"only": "*/stack/*"}, 2),
        ({"exclude": ["blocks/*", "top"]}, 2),
        ({"select": lambda path, name: name == "Dense" and path == "top"}, 1),
        ({"only": "re:^top$"}, 1),
    ],
)
def test_selection(options, count):
    """Patterns and callables select, and a pattern on an owner holds for what is inside."""
    assert len(spectral(snconvert.apply(live_models.subclassed(), **options))) == count


def test_overrides():
    """Layers may have settings of their own."""
    model = snconvert.apply(
        live_models.subclassed(),
        bound=2.0,
        overrides={"blocks/*": {"mode": "cap"}, "blocks/1": {"power_iterations": 3}},
    )
    assert (model.top.mode, model.top.bound) == ("hard", 2.0)
    assert (model.blocks[0].stack[0].mode, model.blocks[0].stack[0].power_iterations) == ("cap", 1)
    assert model.blocks[1].stack[0].power_iterations == 3


def test_attention_is_a_kind():
    """An attention layer is converted whole, and the projections of a subclass one by one, with the
    kind attention, and not with dense."""
    model = live_models.attention()
    assert len(spectral(snconvert.apply(model, kinds="dense"))) == 1
    patched = snconvert.apply(model, kinds="attention")
    assert [type(layer).__name__ for layer in spectral(patched)] == [
        "SpectralMultiHeadAttention",
        "SpectralGroupQueryAttention",
        *["SpectralEinsumDense"] * 4,
    ]


def test_plan_prints_and_turns_to_json(capsys):
    """The plan has the shape of `--json`, and prints as a table."""
    model = live_models.subclassed()
    report = snconvert.plan(model)
    print_report(report, sys.stdout)
    assert "blocks/0/stack/0" in capsys.readouterr().out
    shape = report.as_json()
    assert shape["converted"] == 8 + 3
    top = next(layer for layer in shape["layers"] if layer["path"] == "top")
    assert top["sigma"] == pytest.approx(np.linalg.norm(model.top.kernel, 2), rel=1e-5)
    assert (top["status"], top["new_class"]) == ("convertible", "SpectralDense")
    after = snconvert.inspect(snconvert.apply(model)).as_json()["layers"]
    top = next(layer for layer in after if layer["path"] == "top")
    assert (top["status"], top["sigma_after"]) == ("spectral", 1.0)


def test_converting_twice():
    """A layer that is spectral already is skipped, and a second conversion takes the others."""
    model = snconvert.apply(live_models.in_functional(), only="block")
    with pytest.raises(SelectionError, match="spectral already"):
        snconvert.apply(model, only="block")
    assert len(spectral(snconvert.apply(model))) == 4 + 5


def test_errors():
    """What cannot be done is said, and leaves the model as it was."""
    model = live_models.subclassed()
    with pytest.raises(SelectionError, match=r"'nothing'.*blocks/0/heads/a"):
        snconvert.apply(model, in_place=True, only="nothing")
    with pytest.raises(UnsupportedError, match="in place"):
        snconvert.apply(model, target="keras", in_place=True)
    with pytest.raises(OptionError, match="is a path"):
        snconvert.apply("model.keras")
    model.top.kernel.assign(np.full(model.top.kernel.shape, np.nan))
    with pytest.raises(KernelError, match=r"top \(Dense\): .* NaN"):
        snconvert.apply(model, in_place=True)
    assert not spectral(model)


def test_what_cannot_be_copied():
    """A model that holds what cannot be copied is refused with the way out."""
    import tensorflow as tf

    model = live_models.subclassed()
    model.step = tf.function(model.call)
    with pytest.raises(UnsupportedError, match=r"subclassed.*\.step.*in_place=True"):
        snconvert.apply(model)
    assert snconvert.apply(model, in_place=True) is model


@pytest.mark.parametrize("mode", ["hard", "gain"])
def test_lora_layers_are_left_alone(mode, tmp_path):
    """A layer with LoRA adapters is skipped with the reason, goes on training by its adapters, and
    is an error where it is named."""
    inputs = keras.Input((5,))
    x = keras.layers.Dense(4, name="adapted")(inputs)
    model = keras.Model(inputs, keras.layers.Dense(2, name="head")(x))
    model.get_layer("adapted").enable_lora(2)
    model.compile("adam", "mse", run_eagerly=True)
    rng = np.random.default_rng(0)
    data = rng.normal(size=(8, 5)), rng.normal(size=(8, 2))
    steps.train(model, *data)
    report = snconvert.plan(model, mode=mode)
    assert [(x.path, x.status) for x in report.layers if x.status != "skipped"] == [
        ("head", "convertible")
    ]
    assert "LoRA adapters (lora_rank 2)" in report.layers[1].reason
    with pytest.raises(UnsupportedError, match=r"adapted \(Dense\): LoRA"):
        snconvert.apply(model, only=["adapted"])
    patched = snconvert.apply(model, mode=mode)
    assert [layer.name for layer in spectral(patched)] == ["head"]
    assert patched.optimizer.iterations == 1
    before, after = (m.get_layer("adapted") for m in (model, patched))
    np.testing.assert_array_equal(before(data[0]), after(data[0]))
    factors = np.asarray(after.lora_kernel_a), np.asarray(after._kernel)
    steps.train(patched, *data)
    assert not np.array_equal(after.lora_kernel_a, factors[0])
    np.testing.assert_array_equal(after._kernel, factors[1])
    patched.save(tmp_path / "sn.keras")
    again = keras.saving.load_model(tmp_path / "sn.keras", compile=False)
    np.testing.assert_allclose(again(data[0]), patched(data[0]), rtol=1e-5, atol=1e-6)


def test_quantized_layers_are_left_alone(tmp_path):
    """A quantized layer is skipped with the reason, and computes what it did."""
    inputs = keras.Input((5,))
    x = keras.layers.Dense(4, name="small")(inputs)
    model = keras.Model(inputs, keras.layers.Dense(2, name="head")(x))
    model.get_layer("small").quantize("int8")
    assert "quantized layers (int8)" in snconvert.plan(model).layers[1].reason
    patched = snconvert.apply(model)
    assert [layer.name for layer in spectral(patched)] == ["head"]
    patched.save(tmp_path / "sn.keras")
    again = keras.saving.load_model(tmp_path / "sn.keras")
    data = np.random.default_rng(0).normal(size=(8, 5))
    for one in (patched, again):
        np.testing.assert_array_equal(model.get_layer("small")(data), one.get_layer("small")(data))


@pytest.mark.turns
@pytest.mark.parametrize("name", ["in_functional", "subclassed", "task", "nested_subclassed"])
@pytest.mark.parametrize("mode", ["hard", "gain"])
def test_plain_weights(name, mode, tmp_path):
    """The original's weights load into the converted model, and `u` is found anew."""
    model = zoo.randomize(TOPOLOGIES[name]())
    expected = values(snconvert.apply(model, mode=mode))
    model.save_weights(tmp_path / "plain.weights.h5")
    model.save(tmp_path / "plain.keras")
    for source in (tmp_path / "plain.weights.h5", str(tmp_path / "plain.keras"), model):
        patched = snconvert.apply(TOPOLOGIES[name](), mode=mode)
        snconvert.load_plain_weights(patched, source)
        assert same(expected, values(patched))
        assert all(isinstance(layer, Spectral) for layer in spectral(patched))


@pytest.mark.filterwarnings("ignore:Skipping nested container")
@pytest.mark.parametrize("name", TOPOLOGIES)
def test_keras_own_loading_of_plain_weights_says_what_to_do(name, tmp_path):
    """`load_weights` of the original's file names `load_plain_weights`; its own file loads."""
    model = zoo.randomize(TOPOLOGIES[name]())
    patched = snconvert.apply(model, **ALL)
    model.save_weights(tmp_path / "plain.weights.h5")
    patched.save_weights(tmp_path / "own.weights.h5")
    with pytest.raises(ValueError, match=r"snconvert\.load_plain_weights"):
        patched.load_weights(tmp_path / "plain.weights.h5")
    other = snconvert.apply(TOPOLOGIES[name](), **ALL)
    other.load_weights(tmp_path / "own.weights.h5")
    assert same(values(snconvert.apply(model, **ALL)), values(other))


def test_plain_weights_of_a_legacy_file(tmp_path):
    """Weights of a legacy .h5 file load as well."""
    model = zoo.randomize(zoo.functional())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.save(tmp_path / "legacy.h5")
    patched = snconvert.apply(zoo.functional())
    snconvert.load_plain_weights(patched, tmp_path / "legacy.h5")
    assert same(values(snconvert.apply(model)), values(patched))


def test_plain_weights_that_do_not_fit(tmp_path):
    """Weights of another model are refused, and change nothing."""
    zoo.functional().save_weights(tmp_path / "other.weights.h5")
    patched = snconvert.apply(live_models.in_functional())
    before = values(patched)
    with pytest.raises(WeightsError, match="do not fit"):
        snconvert.load_plain_weights(patched, tmp_path / "other.weights.h5")
    assert same(before, values(patched))
    with pytest.raises(SelectionError, match="no layer"):
        snconvert.load_plain_weights(zoo.sequential(), tmp_path / "other.weights.h5")


def test_clones_and_configurations():
    """`clone_model` and `from_config` of a converted model give converted models."""
    patched = snconvert.apply(live_models.in_functional())
    clone = keras.models.clone_model(patched)
    assert len(spectral(clone)) == len(spectral(patched))
    block = patched.get_layer("block")
    assert len(spectral(type(block).from_config(block.get_config()))) == 4


@pytest.mark.parametrize("activation", ["PReLU", "LeakyReLU", "BatchNormalization"])
def test_inspect_lists_layers_whose_activation_is_a_layer(activation):
    inputs = keras.Input((6,))
    inner = keras.layers.Dense(5, activation=getattr(keras.layers, activation)(), name="inner")
    model = keras.Model(inputs, keras.layers.Dense(1, name="outer")(inner(inputs)))
    report = snconvert.inspect(snconvert.apply(model))
    assert [r.path for r in report.layers if r.status == "spectral"] == ["inner", "outer"]
