"""Models that only their own code can build, converted in their files without their values."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import keras
import numpy as np
import pytest
from shards import spread

import snconvert
from snconvert.compat.variables import without_values
from snconvert.errors import OptionError, SourceError, WeightsError

X = np.random.default_rng(0).normal(size=(3, 5)).astype("float32")


@keras.saving.register_keras_serializable("skeleton")
class Block(keras.layers.Layer):
    """A layer whose configuration says nothing of the layers in it."""

    def build(self, shape):
        self.inner = [keras.layers.Dense(4), keras.layers.Dense(5, use_bias=False)]
        for layer in self.inner:
            layer.build(shape)
            shape = (*shape[:-1], layer.units)

    def call(self, x):
        for layer in self.inner:
            x = keras.ops.tanh(layer(x))
        return x


@keras.saving.register_keras_serializable("skeleton")
class Net(keras.Model):
    """A functional model as those of keras-hub are: of its own class, made by its own code."""

    def __init__(self, width, **kwargs):
        x = keras.Input((5,))
        y = keras.layers.Dropout(0.1)(keras.layers.Dense(width, name="first")(x))
        y = keras.layers.Dense(5, name="second")(y)
        super().__init__(x, Block(name="block")(y), **kwargs)
        self.width = width

    def get_config(self):
        return {"width": self.width, "name": self.name}

    @classmethod
    def from_config(cls, config):
        return cls(**config)


@pytest.fixture
def model() -> Net:
    """A model with values of its own."""
    keras.utils.set_random_seed(1)
    return Net(6)


@pytest.fixture
def folder(model: Net, tmp_path: Path) -> Path:
    """Its configuration, beside weights in two files."""
    (tmp_path / "in").mkdir()
    text = json.dumps(keras.saving.serialize_keras_object(model))
    (tmp_path / "in" / "config.json").write_text(text)
    model.save_weights(tmp_path / "in" / "model.weights.h5")
    return spread(tmp_path / "in")


def load(folder: Path) -> keras.Model:
    """Loads a folder as a user does."""
    entry = json.loads((folder / "config.json").read_text())
    model = keras.saving.deserialize_keras_object(entry)
    model.load_weights(folder / "model.weights.json")
    return model


OPTIONS = {"imports": ["json"]}


@pytest.mark.parametrize("mode", ["hard", "gain"])
def test_the_file_is_that_of_the_live_model(
    mode: str, model: Net, folder: Path, tmp_path: Path
) -> None:
    """What comes back from the converted files has the bits of the live model, converted; undone,
    they are the files of before."""
    report = snconvert.apply_file(folder, tmp_path / "out", mode=mode, **OPTIONS)
    assert report.converted == 4
    found, live = load(tmp_path / "out"), snconvert.apply(model, mode=mode)
    for a, b in zip(found.weights, live.weights, strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())
    np.testing.assert_array_equal(found(X), live(X))
    assert snconvert.verify(folder, tmp_path / "out", imports=["json"])
    snconvert.remove_file(tmp_path / "out", tmp_path / "back", **OPTIONS)
    name = "model.weights.json"
    assert (tmp_path / "back" / name).read_bytes() == (folder / name).read_bytes()
    config = json.loads((tmp_path / "back" / "config.json").read_text())
    assert config == json.loads((folder / "config.json").read_text())
    for a, b in zip(load(tmp_path / "back").weights, model.weights, strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())


def test_baking_keeps_the_outputs(folder: Path, tmp_path: Path) -> None:
    """Baked files hold plain layers with the outputs of the converted ones."""
    snconvert.apply_file(folder, tmp_path / "out", **OPTIONS)
    snconvert.bake_file(tmp_path / "out", tmp_path / "baked", **OPTIONS)
    baked = load(tmp_path / "baked")
    assert type(baked) is Net
    np.testing.assert_allclose(baked(X), load(tmp_path / "out")(X), rtol=0, atol=1e-6)


def test_errors(folder: Path, tmp_path: Path) -> None:
    """Without the flag, with what is not there, and with weights of another model: one line."""
    with pytest.raises(SourceError, match="subclassed model"):
        snconvert.apply_file(folder, tmp_path / "out")
    with pytest.raises(OptionError, match="target keras"):
        snconvert.apply_file(folder, tmp_path / "out", target="keras", **OPTIONS)
    text = (folder / "config.json").read_text()
    (folder / "config.json").write_text(text.replace('"width": 6', '"width": 7'))
    with pytest.raises(WeightsError, match="is stored with the shape"):
        snconvert.apply_file(folder, tmp_path / "out", **OPTIONS)
    (folder / "config.json").write_text(text.replace('"width": 6', '"depth": 6'))
    with pytest.raises(SourceError, match="cannot build the model"):
        snconvert.apply_file(folder, tmp_path / "out", **OPTIONS)
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_a_model_without_values() -> None:
    """Variables have shapes and no values, in this thread and for the time of the block only."""
    others = []
    with without_values():
        bare = Net(6)
        thread = threading.Thread(target=lambda: others.append(keras.layers.Dense(2)))
        thread.start()
        thread.join()
        assert all(variable._value is None for variable in bare.variables)
    others[0].build((None, 3))
    assert others[0].kernel._value is not None
    assert all(variable._value is not None for variable in Net(6).variables)
