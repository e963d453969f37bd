"""TensorFlow's own checkpoints and SavedModels of what `apply`, `bake` and `remove` return."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, optimizers
from live_models import TOPOLOGIES, X, outputs, train

import snconvert
from snconvert.errors import UnsupportedError

OPTIMIZERS: dict[str, Callable[[], Any]] = {
    "adam": lambda: optimizers.Adam(use_ema=True),
    "loss scale": lambda: optimizers.LossScaleOptimizer(optimizers.Adam()),
    "adafactor": optimizers.Adafactor,
}


def small() -> keras.Model:
    tower = keras.Sequential([keras.Input((6,)), layers.Dense(6, "tanh"), layers.Dense(6)])
    return keras.Sequential([keras.Input((6,)), tower, layers.Dense(6)])


def compiled(model: keras.Model, optimizer: str = "adam") -> keras.Model:
    model.compile(OPTIMIZERS[optimizer](), "mse")
    model.optimizer.build(model.trainable_variables)
    return model


def disturb(model: keras.Model, seed: int = 1) -> list[bytes]:
    """Gives each number of a model and its optimizer another value, and returns their bytes."""
    rng = np.random.default_rng(seed)
    for variable in variables(model):
        variable.assign(keras.ops.cast(rng.uniform(0.5, 1.5, variable.shape), variable.dtype))
    return [np.asarray(variable).tobytes() for variable in variables(model)]


def variables(model: keras.Model) -> list[Any]:
    """All but the states of random generators, which Keras does not show to TensorFlow."""
    every = [*model.variables, *model.optimizer.variables]
    return [variable for variable in every if "seed" not in variable.path]


def written(folder: Path, **parts: Any) -> tuple[str, set[str]]:
    """A new checkpoint, and the keys in it."""
    path = tf.train.Checkpoint(**parts).save(tempfile.mkdtemp(dir=folder) + "/checkpoint")
    return path, {key for key, _ in tf.train.list_variables(path)}


def restored(path: str, **parts: Any) -> None:
    status = tf.train.Checkpoint(**parts).restore(path)
    status.assert_consumed()
    status.assert_existing_objects_matched()


@pytest.mark.parametrize(("name", "in_place"), [("in_functional", False), ("recurrent", True)])
def test_a_converted_model_is_stored_as_one_that_keras_has_loaded(name, in_place, tmp_path):
    """Both have the same keys, also of layers in lists, and restore each other's numbers, and the
    optimizer's, bit for bit."""
    converted = snconvert.apply(
        compiled(TOPOLOGIES[name]()), mode="gain", kinds="all", in_place=in_place
    )
    values = disturb(converted)
    path, keys = written(tmp_path, model=converted)
    converted.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    disturb(loaded, 2)
    assert written(tmp_path, model=loaded)[1] == keys
    restored(path, model=loaded)
    assert [np.asarray(variable).tobytes() for variable in variables(loaded)] == values


@pytest.mark.parametrize(
    ("verb", "in_place", "optimizer"),
    [("bake", False, "loss scale"), ("remove", True, "adam"), ("remove", False, "adafactor")],
)
def test_the_ways_back_read_what_the_plain_model_wrote(verb, in_place, optimizer, tmp_path):
    """The plain model's checkpoint fits what comes back, number for number and key for key."""
    model = compiled(small(), optimizer)
    values = disturb(model)
    path, keys = written(tmp_path, model=model)
    back = getattr(snconvert, verb)(snconvert.apply(model, mode="gain"), in_place=in_place)
    disturb(back, 2)
    assert written(tmp_path, model=back)[1] == keys
    restored(path, model=back)
    assert [np.asarray(variable).tobytes() for variable in variables(back)] == values
    assert written(tmp_path, model=model)[1] == keys  # the original is as it was


def test_a_saved_model_computes_the_same(tmp_path):
    """`tf.saved_model.save` takes a converted model that was trained."""
    converted = snconvert.apply(compiled(small()))
    train(converted)
    expected = outputs(converted)
    tf.saved_model.save(converted, tmp_path)
    (found,) = tf.saved_model.load(tmp_path).signatures["serving_default"](tf.constant(X)).values()
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("target", ["keras", "constraint"])
def test_other_targets(target, tmp_path):
    """What other targets make is stored and restored, too."""
    model = snconvert.apply(compiled(small(), "loss scale"), target=target)
    values = [np.asarray(variable) for variable in model.variables]
    path, _ = written(tmp_path, model=model)
    disturb(model, 2)
    restored(path, model=model)
    for variable, value in zip(model.variables, values, strict=True):
        np.testing.assert_array_equal(variable, value)


def gan() -> dict[str, Any]:
    generator = keras.Sequential([keras.Input((4,)), layers.Dense(6)])
    critic = keras.Sequential([keras.Input((6,)), layers.Dense(8), layers.Dense(1)])
    critic = snconvert.apply(critic, mode="gain")
    parts = {"generator": generator, "critic": critic}
    for name, model in list(parts.items()):
        parts[f"{name}_optimizer"] = optimizers.Adam(0.01)
        parts[f"{name}_optimizer"].build(model.trainable_variables)
    return parts


def play(parts: dict[str, Any]) -> list[bytes]:
    """Takes two steps of a training loop, and returns the bytes of every number."""
    generator, critic = parts["generator"], parts["critic"]
    for _ in range(2):
        with tf.GradientTape(persistent=True) as tape:
            made = critic(generator(X[:, :4], training=True), training=True)
            loss = keras.ops.mean(made) - keras.ops.mean(critic(X, training=True))
        for name, sign in (("generator", -1.0), ("critic", 1.0)):
            weights = parts[name].trainable_variables
            gradients = [sign * gradient for gradient in tape.gradient(loss, weights)]
            parts[f"{name}_optimizer"].apply(gradients, weights)
    return [np.asarray(v).tobytes() for part in parts.values() for v in part.variables]


@pytest.mark.filterwarnings("ignore:Calling GradientTape.gradient on a persistent tape")
def test_a_gan_goes_on_where_it_was(tmp_path):
    """Two models and two optimizers, restored by a manager into new ones, go on bit for bit."""
    first, second = gan(), gan()
    play(first)
    manager = tf.train.CheckpointManager(tf.train.Checkpoint(**first), str(tmp_path), 1)
    manager.save()
    expected = play(first)
    restored(tf.train.latest_checkpoint(str(tmp_path)), **second)
    assert play(second) == expected


class Part(tf.Module):
    """Variables in a list and a dict."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = tf.Variable(2.0)
        self.more = [tf.Variable(3.0), {"last": tf.Variable(4.0)}]


class Holder(layers.Layer):
    """What a layer may own that TensorFlow keeps values in."""

    def __init__(self) -> None:
        super().__init__()
        self.variable = tf.Variable(1.0)
        self.pair = (layers.Dense(6), [layers.Dense(6)])
        self.part = Part()
        self.bare = tf.Module()
        self.bare.variable = tf.Variable(5.0)
        self.table = tf.lookup.experimental.MutableHashTable(tf.int64, tf.float32, -1.0)

    def call(self, inputs):
        for layer in (self.pair[0], self.pair[1][0]):
            inputs = layer(inputs)
        return inputs * self.variable * self.part.scale * self.part.more[1]["last"]

    def values(self) -> list[Any]:
        part = self.part
        return [self.variable, self.bare.variable, part.scale, part.more[0], part.more[1]["last"]]


def test_a_copy_owns_what_a_layer_owns(tmp_path):
    """Variables, modules and tables of TensorFlow are copied and stored, and nothing is shared."""
    source = keras.Input((6,))
    model = keras.Model(source, Holder()(source))
    key = tf.constant([1], tf.int64)
    model.layers[1].table.insert(key, [7.0])
    copies = [snconvert.apply(model, mode="gain") for _ in range(2)]
    np.testing.assert_allclose(outputs(copies[0]), outputs(model), rtol=0, atol=1e-5)
    one, two = (copy.layers[1] for copy in copies)
    for value in one.values():
        value.assign(9.0)
    one.table.insert(key, [9.0])
    assert [float(value) for value in model.layers[1].values()] == [1.0, 5.0, 2.0, 3.0, 4.0]
    assert model.layers[1].table.lookup(key) == 7.0
    assert two.table.lookup(key) == 7.0
    restored(written(tmp_path, model=copies[0])[0], model=copies[1])
    assert [float(value) for value in two.values()] == [9.0] * 5
    assert two.table.lookup(key) == 9.0
    np.testing.assert_array_equal(outputs(copies[0]), outputs(copies[1]))


def test_a_loaded_saved_model_is_not_copied(tmp_path):
    """Functions of a SavedModel go with their variables, which a copy would not have."""
    model = keras.Sequential([keras.Input((6,)), layers.Dense(6)])
    model.export(tmp_path / "saved", verbose=False)
    layer = layers.TFSMLayer(tmp_path / "saved", call_endpoint="serve")
    model = keras.Sequential([keras.Input((6,)), layer, layers.Dense(3)])
    with pytest.raises(UnsupportedError, match=r"cannot be copied\. Give in_place=True"):
        snconvert.apply(model)
    assert type(snconvert.apply(model, in_place=True).layers[1]).__name__ == "SpectralDense"
