"""Loading a file with spectral layers costs what loading it with plain ones does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from spectral_cases import EVERY, Example, make

from snconvert import layers
from snconvert.layers.config_view import Attributes

# Keras 3.15.1 hands its variables to h5py, which asks numpy 2.4 for them in the new way.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def stack(mode: str) -> keras.Model:
    return keras.Sequential(
        [
            keras.Input((9, 9, 2)),
            layers.SpectralConv2D(3, 3, mode=mode),
            layers.SpectralConv2D(4, 3, mode=mode, norm="operator"),
            keras.layers.Flatten(),
            layers.SpectralDense(5, mode=mode),
            keras.layers.Reshape((5, 1)),
            layers.SpectralLSTM(3, mode=mode),
        ]
    )


@pytest.mark.parametrize("mode", ["hard", "gain"])
def test_nothing_is_searched_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    """No `u` is sought and no sigma computed for the kernels that a file's replace; what is loaded
    is what was saved, to the bit."""
    model = stack(mode)
    model.save(tmp_path / "model.keras")
    with monkeypatch.context() as without:
        without.setattr("snconvert.layers.base.warm_u", None)
        without.setattr("snconvert.layers.base.current_norm", None)
        with pytest.raises(TypeError):
            stack(mode)
        loaded = keras.saving.load_model(tmp_path / "model.keras")
    for saved, found in zip(model.weights, loaded.weights, strict=True):
        np.testing.assert_array_equal(found, saved)
    x = np.random.default_rng(0).normal(size=(2, 9, 9, 2))
    np.testing.assert_array_equal(loaded(x), model(x))


def test_a_configuration_without_weights_gives_a_normalised_model() -> None:
    """A model that is made anew from its configuration starts at sigma, to 1e-5."""
    model = keras.models.model_from_json(stack("gain").to_json())
    layer = model.layers[3]
    sigma = np.linalg.svd(np.array(layer.kernel, "float64"), compute_uv=False)[0]
    for found in (layer.spectral_norms()["kernel"], layer.gamma):
        np.testing.assert_allclose(found, sigma, rtol=1e-5)


@pytest.mark.parametrize("norm", ["matrix", "operator"])
@pytest.mark.parametrize("example", EVERY)
def test_attributes_are_the_configuration(
    monkeypatch: pytest.MonkeyPatch, example: Example, norm: str
) -> None:
    """What a rule reads off a layer of any kind is what its configuration says; only a layer that
    has no such attribute is asked for that."""
    asked = []
    read = Attributes.__getitem__

    def item(self: Attributes, key: str) -> Any:
        asked.append((self, key))
        return read(self, key)

    with monkeypatch.context() as watched:
        watched.setattr(Attributes, "__getitem__", item)
        make(example, norm=norm)
    for attributes, key in asked:  # of the layer, or of its cell
        layer = attributes._layer
        config = layer.get_config()
        if key in config:
            with monkeypatch.context() as without:
                without.setattr(type(layer), "get_config", None)
                assert attributes[key] == config[key]


@pytest.mark.parametrize("backend", [pytest.param("jax", marks=pytest.mark.slow), "torch"])
def test_tensorflow_stays_out(tmp_path: Path, backend: str) -> None:
    """On another backend TensorFlow, which takes seconds to import, is not: not to load spectral
    layers, nor to run them, nor to make new ones."""
    stack("gain").save(tmp_path / "model.keras")
    script = (
        "import sys, keras, numpy, snconvert\n"
        "model = keras.saving.load_model(sys.argv[1])\n"
        "model(numpy.ones((1, 9, 9, 2)))\n"
        "snconvert.SpectralDense(3).build((None, 4))\n"
        "sys.exit('tensorflow' in sys.modules)"
    )
    environment = {**os.environ, "KERAS_BACKEND": backend, "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-c", script, tmp_path / "model.keras"]
    found = subprocess.run(command, env=environment, check=False, capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
