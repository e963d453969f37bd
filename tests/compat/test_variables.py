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
