"""What Keras keeps of a live layer."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from snconvert.compat import layers

X = np.ones((2, 3), "float32")


class Outer(keras.layers.Layer):
    """A layer with a variable of its own and two layers, one of them in a list."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.inner, self.more = keras.layers.Dense(3), [keras.layers.Dense(2)]

    def build(self, _: Any) -> None:
        self.scale = self.add_weight(shape=(), initializer="ones", name="scale")

    def call(self, inputs: Any) -> Any:
        return self.more[0](self.inner(inputs)) * self.scale


def test_own_variables_and_layers() -> None:
    """A layer's own variables are told from those inside, and all layers inside are listed."""
    layer = Outer()
    layer(X)
    assert layers.own_variables(layer) == [layer.scale]
    assert [list(variables) for variables in layers.variable_lists(layer)] == [[layer.scale], []]
    assert layers.tracked_layers(layer) == [layer.inner, *layer.more]


def test_variables_of_a_built_layer() -> None:
    """A built layer gets further variables only where it is unlocked, and loses them again."""
    layer = keras.layers.Dense(2)
    layer.build((None, 3))
    options = {"shape": (), "name": "extra", "trainable": False}
    with pytest.raises(ValueError, match="cannot add"):
        layer.add_weight(**options)
    with layers.unlocked(layer):
        extra = layer.add_weight(**options)
    with pytest.raises(ValueError, match="cannot add"):
        layer.add_weight(**options)
    assert any(variable is extra for variable in layer.weights)
    layers.untrack(layer, extra)
    assert not any(variable is extra for variable in layer.weights)


def test_call_after_build() -> None:
    """Keras calls the function once for each layer that it has built."""

    class Plain(keras.layers.Dense):
        pass

    built: list[Any] = []
    layers.call_after_build(Plain, built.append)
    layer = Plain(2)
    assert built == []
    layer(X)
    layer(X)
    assert built == [layer]


def test_follow_class() -> None:
    """After a layer got another class, Keras builds and calls it by that one's methods."""

    class Training(keras.layers.Dense):
        seen: list[Any]

        def build(self, input_shape: Any) -> None:
            super().build(input_shape)
            self.seen = []

        def call(self, inputs: Any, training: bool | None = None) -> Any:
            self.seen.append(training)
            return super().call(inputs)

    layer = keras.layers.Dense(2)
    object.__setattr__(layer, "__class__", Training)
    layers.follow_class(layer)
    layer(X, training=True)
    assert layer.seen[-1] is True


def test_layers_that_there_are() -> None:
    """A layer that this Keras lacks is told from one that it has."""
    assert layers.has_layer("Dense")
    assert not layers.has_layer("Dense4D")
