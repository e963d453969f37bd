"""What `snconvert.apply` warns of, and what it says of things that are no model."""

from __future__ import annotations

import types
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import snconvert
from snconvert.errors import OptionError


def critic() -> keras.Model:
    parts = [layers.Conv1D(3, 3), layers.SimpleRNN(3), layers.Dense(2)]
    return keras.Sequential([keras.Input((8, 2)), *parts])


def test_layers_of_kinds_that_nobody_chose_are_told_once():
    """One warning names how many layers of which kinds stay plain, and the argument."""
    told = r"2 layers stay plain: 1 conv, 1 recurrent\. Give kinds=\['dense', 'conv', 'recurrent'\]"
    with pytest.warns(snconvert.SnconvertWarning, match=told) as caught:
        snconvert.apply(critic())
    mine = [one for one in caught if one.category is snconvert.SnconvertWarning]
    assert [one.filename for one in mine] == [__file__]
    model = keras.Sequential([keras.Input((8, 2)), layers.Conv1D(3, 3), layers.Dense(2)])
    with pytest.warns(snconvert.SnconvertWarning, match=r"1 layer stays plain: 1 conv.*conv=True"):
        snconvert.apply(model, target="constraint")


def test_what_was_chosen_or_left_out_is_not_told(tmp_path):
    """No warning where an argument or a recipe chooses kinds, or a pattern leaves layers out."""
    (tmp_path / "recipe.toml").write_text("kinds = ['dense']\n")
    for options in (
        {"kinds": "dense"},
        {"kinds": ["dense", "conv"]},
        {"conv": True},
        {"conv": False},
        {"only": ["dense*"]},
        {"select": lambda path, _: path.startswith("dense")},
        {"recipe_file": tmp_path / "recipe.toml"},
        {"exclude": ["conv1d*", "simple_rnn*"]},
    ):
        snconvert.apply(critic(), **options)  # warnings are errors here


def within(outer: str) -> keras.Model:
    """A model whose layer also stands in a model or wrapper inside it."""
    dense, source = layers.Dense(2, name="dense"), keras.Input((4, 2))
    inner: keras.layers.Layer = layers.TimeDistributed(dense, name="inner")
    if outer == "model":
        inner = keras.Sequential([keras.Input((4, 2)), dense], name="inner")
    return keras.Model(source, dense(inner(source)))


@pytest.mark.filterwarnings("ignore:Skipping nested container")
@pytest.mark.parametrize("outer", ["model", "wrapper"])
def test_a_layer_in_two_owners_is_warned_of(outer, tmp_path):
    """Keras cannot load such a file; both carriers say so, once, and it is so."""
    model = within(outer)
    with pytest.warns(snconvert.SnconvertWarning, match="dense is the same layer as inner/dense,"):
        snconvert.apply(model)
    model.save(tmp_path / "model.keras")
    (told,) = snconvert.apply_file(tmp_path / "model.keras").warnings
    assert told.startswith("dense is the same layer as inner/dense, in another model or wrapper")
    for name in ("model", "model-sn"):
        with pytest.raises(ValueError, match="could not be loaded"):
            keras.saving.load_model(tmp_path / f"{name}.keras")
    other = within(outer)
    other.load_weights(tmp_path / "model.keras")
    np.testing.assert_array_equal(other.get_weights()[0], model.get_weights()[0])


def test_a_layer_shared_in_one_model_is_not_warned_of(tmp_path):
    """What Keras does load gives no warning: a layer, or a model, that is called twice."""
    dense, source = layers.Dense(2), keras.Input((2,))
    inner = keras.Sequential([keras.Input((2,)), layers.Dense(2)])
    model = keras.Model(source, inner(inner(dense(dense(source)))))
    snconvert.apply(model)
    model.save(tmp_path / "model.keras")
    assert snconvert.apply_file(tmp_path / "model.keras").warnings == ()
    keras.saving.load_model(tmp_path / "model-sn.keras")


def of_keras_2() -> object:
    """A model by its classes as tf-keras has them."""
    module = types.ModuleType("tf_keras.src.engine.training")
    base = type("Model", (tf.Module,), {"__module__": module.__name__})
    return type("Mine", (base,), {})()


OTHERS = {
    "path": (lambda: Path("m.keras"), r"'m\.keras' is a path.*snconvert\.apply_file"),
    "class": (lambda: keras.Sequential, "Sequential is a class"),
    "Keras 2": (of_keras_2, r"the Mine is of Keras 2 \(tf_keras\).*model\.save.*apply_file"),
    "TensorFlow": (tf.Module, "a Module is an object of TensorFlow without Keras layers"),
    "optimizer": (keras.optimizers.Adam, r"an Adam is no Keras model\. Give a keras\.Model"),
    "None": (lambda: None, "a NoneType is no Keras model"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_what_is_no_model_is_told_what_it_is(name):
    """An `OptionError` says what the object is and what to give instead, in every function."""
    make, told = OTHERS[name]
    with pytest.raises(OptionError, match=told):
        snconvert.apply(make())
    others = [snconvert.plan, snconvert.bake, snconvert.remove, snconvert.project]
    if name != "path":
        others += [snconvert.inspect, lambda one: snconvert.verify(one, one)]
    for function in others:
        with pytest.raises(OptionError):
            function(make())


def test_what_takes_files_as_well_says_so():
    """`inspect` and `verify`, if they get neither."""
    for function in (snconvert.inspect, lambda one: snconvert.verify(one, one)):
        with pytest.raises(OptionError, match=r"a list is no .* Give a keras\.Model or a path\.$"):
            function(["model.keras"])


def test_a_module_of_pytorch_is_sent_to_pytorch():
    """Without importing PyTorch: it is known by the names of its classes."""
    module = type("Module", (), {"__module__": "torch.nn.modules.module"})
    linear = type("Linear", (module,), {"__module__": "torch.nn.modules.linear"})()
    with pytest.raises(OptionError, match=r"a Linear is a module of PyTorch.*parametrizations"):
        snconvert.apply(linear)
