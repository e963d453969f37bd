"""Activations that Keras 3 computes in another way than the Keras that saved a model."""

from __future__ import annotations

from typing import Any

import keras

__all__ = ["hard_sigmoid"]


def hard_sigmoid(x: Any) -> Any:
    """Returns `clip(0.2 x + 0.5, 0, 1)`, which is what Keras 2 means by `hard_sigmoid`.

    Keras 3 means `clip(x / 6 + 0.5, 0, 1)`; models of Keras 2 keep their meaning by this one.

    Args:
        x: The input, of any shape.

    Example:
        >>> print(round(float(hard_sigmoid(1.0)), 6))
        0.7
    """
    return keras.ops.clip(0.2 * keras.ops.convert_to_tensor(x) + 0.5, 0.0, 1.0)


keras.saving.register_keras_serializable("snconvert")(hard_sigmoid)
# Keras 3.6 saves a function by this, and would take it for its own.
hard_sigmoid.__name__ = "snconvert>hard_sigmoid"
