"""What goes wrong with scripts around the built-in wrapper (PITFALLS, 12 to 18), and does not here.

Each number is that of the line; where a measured failure is quick to show, it is shown first.
"""

from __future__ import annotations

import keras
import live_models
import numpy as np
import pytest
import zoo
from live_models import outputs, targets, train

import snconvert
from snconvert.layers import Spectral
from snconvert.layers.composite import Composite
from snconvert.live.internals.walk import descendants


def spectral(model):
    """Returns the layers that own a normalised kernel: of an attention layer, its projections."""
    layers = [layer for _, layer in descendants(model) if isinstance(layer, Spectral)]
    return [layer for layer in layers if not isinstance(layer, Composite)]


def test_12_the_original_does_not_move():
    """Wrapping an object shares its weights; a conversion shares nothing."""
    model = zoo.sequential()
    wrapped = keras.Sequential(
        [keras.Input((5,)), *(keras.layers.SpectralNormalization(x) for x in model.layers)]
    )
    before = zoo.predict(model)[0]
    wrapped(np.ones((2, 5)), training=True)
    assert not np.array_equal(before, zoo.predict(model)[0])
    before = zoo.predict(model)[0]
    patched = snconvert.apply(model)
    for variable in patched.weights:
        variable.assign(variable * 3)
    assert np.array_equal(before, zoo.predict(model)[0])


def test_13_no_layer_is_missed():
    """Nested models, projections of attention and layers in custom blocks are all reached."""
    assert len(spectral(snconvert.apply(zoo.nested()))) == 4
    assert len(spectral(snconvert.apply(live_models.attention(), kinds="all"))) == 13
    model = live_models.nested_subclassed()
    dense = [x for _, x in descendants(model) if type(x) is keras.layers.Dense]
    assert len(spectral(snconvert.apply(model))) == len(dense) == 10


def test_14_names_and_frozen_layers_stay():
    """`get_layer`, losses by name and frozen layers are as before."""
    model = zoo.functional()
    model.get_layer("shared").trainable = False
    model.compile("sgd", {"zz": "mse", "aa": "mae"}, run_eagerly=True)
    patched = snconvert.apply(model)
    assert [layer.name for layer in patched.layers] == [layer.name for layer in model.layers]
    assert not patched.get_layer("shared").trainable
    assert [v.path for v in patched.trainable_variables] == [
        v.path for v in model.trainable_variables
    ]
    a, b = zoo.inputs_of(model)
    u = np.asarray(patched.get_layer("shared").u)
    patched.fit([a, b], {"zz": np.ones((4, 2)), "aa": np.ones((4, 3))}, verbose=0)
    assert np.array_equal(u, patched.get_layer("shared").u)
    assert patched.get_config()["output_layers"] == model.get_config()["output_layers"]


@pytest.mark.filterwarnings("ignore:`build")
def test_15_subclassed_models_are_saved_and_loaded(tmp_path):
    """Patched attributes predict and fit; the file of a conversion loads too."""
    model = live_models.subclassed()
    by_hand = live_models.Subclassed(6)
    by_hand.top = keras.layers.SpectralNormalization(keras.layers.Dense(3))
    outputs(by_hand)
    by_hand.save(tmp_path / "by_hand.keras")
    with pytest.raises(ValueError, match="could not be loaded"):
        keras.saving.load_model(tmp_path / "by_hand.keras")
    patched = snconvert.apply(model)
    patched.save(tmp_path / "patched.keras")
    loaded = keras.saving.load_model(tmp_path / "patched.keras")
    assert np.array_equal(outputs(patched), outputs(loaded))
    assert isinstance(loaded, live_models.Subclassed)


def test_16_the_optimizer_goes_on():
    """Iterations and slots are not lost."""
    model = live_models.in_sequential()
    model.compile("adam", "mse", run_eagerly=True)
    train(model, steps=6)
    patched = snconvert.apply(model, mode="gain")
    assert int(patched.optimizer.iterations) == 6
    patched.fit(live_models.X, targets(patched), verbose=0)
    assert int(patched.optimizer.iterations) == 7


def test_18_plain_weights_are_not_copied_by_position():
    """A whole-model `set_weights` of plain weights raises; `load_plain_weights` puts them right."""
    model, other = zoo.randomize(zoo.functional()), zoo.functional()
    patched = snconvert.apply(other)
    with pytest.raises(ValueError, match="weight list"):
        patched.set_weights(model.get_weights())
    snconvert.load_plain_weights(patched, model)
    for layer in spectral(patched):
        assert np.array_equal(layer.kernel, model.get_layer(layer.name).kernel)
        norm = np.linalg.norm(np.asarray(layer.effective_kernel()), 2)
        assert norm == pytest.approx(1.0, rel=1e-5)
