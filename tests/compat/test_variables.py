"""Keras' variables: their class, and what they keep."""

from __future__ import annotations

import keras
import numpy as np

from snconvert.compat import variables


def test_values() -> None:
    """The value of a variable is that of the backend, in a stateless scope as well."""
    variable = keras.Variable(np.ones(2, "float32"), autocast=False)
    value = variables.value_of(variable)
    with keras.StatelessScope(state_mapping=[(variable, keras.ops.zeros(2))]):
        assert variables.value_of(variable) is value
    assert np.asarray(value).tolist() == [1.0, 1.0]
    assert not variables.is_elsewhere(variable)
    assert not variables.is_autocast(variable)
    assert {"_value"} < variables.BACKEND_STATE <= vars(variable).keys()


def test_arguments() -> None:
    """A variable that is made with the arguments of another one is like it."""
    options = {"trainable": False, "autocast": False, "aggregation": "sum", "name": "state"}
    one = keras.Variable(np.ones(2, "float16"), dtype="float16", **options)
    two = variables.Variable(np.zeros(2), **variables.arguments_of(one))
    for name in ("dtype", "trainable", "aggregation", "synchronization", "name"):
        assert getattr(two, name) == getattr(one, name)
    assert not variables.is_autocast(two)


def test_the_class() -> None:
    """What a layer makes, and what a user makes, is a variable."""
    layer = keras.layers.Dense(2)
    layer.build((None, 3))
    assert isinstance(layer.kernel, variables.Variable)
    assert isinstance(keras.Variable(np.ones(2)), variables.Variable)
