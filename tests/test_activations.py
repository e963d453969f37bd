"""The activations that keep what older models mean."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest

from snconvert.activations import hard_sigmoid


def test_the_formula() -> None:
    """It is a fifth of the input and a half, cut to 0 and 1, and not what Keras 3 computes."""
    x = np.linspace(-4, 4, 33, dtype="float32")
    expected = np.clip(0.2 * x + 0.5, 0, 1)
    numpy = keras.ops.convert_to_numpy
    np.testing.assert_allclose(numpy(hard_sigmoid(x)), expected, atol=1e-7)
    theirs = numpy(keras.activations.hard_sigmoid(keras.ops.convert_to_tensor(x)))
    assert np.abs(theirs - expected).max() > 0.05


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_the_dtype(dtype: str) -> None:
    """It computes in the dtype of its input."""
    assert keras.backend.standardize_dtype(hard_sigmoid(np.ones(2, dtype)).dtype) == dtype


def test_no_keras_takes_it_for_its_own() -> None:
    """Keras 3.6 goes by what a function is called."""
    saved = keras.activations.serialize(hard_sigmoid)
    assert saved["config"] == hard_sigmoid.__name__ == "snconvert>hard_sigmoid"
    assert keras.saving.deserialize_keras_object(saved) is hard_sigmoid


def test_models_keep_it(tmp_path: Path) -> None:
    """A saved model has it again, wherever an activation can stand."""
    layers = keras.layers
    inner = layers.LSTM(2, recurrent_activation=hard_sigmoid, return_sequences=True)
    parts = [layers.Bidirectional(inner), layers.TimeDistributed(layers.Dense(2, hard_sigmoid))]
    parts += [layers.RNN(layers.GRUCell(2, hard_sigmoid)), layers.Activation(hard_sigmoid)]
    model = keras.Sequential([keras.Input((3, 2)), *parts])
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.layers[-1].activation is hard_sigmoid
    x = np.random.default_rng(0).normal(size=(4, 3, 2)).astype("float32")
    outputs = [it.predict(x, verbose=0) for it in (loaded, model)]
    np.testing.assert_array_equal(*outputs)
