"""Steps of training without the data pipeline of `fit`, which takes longer than a small step."""

from __future__ import annotations

from typing import Any

import keras


def train(model: keras.Model, x: Any, y: Any, steps: int = 1) -> list[float]:
    """Takes steps on the whole of the data and returns their losses, as `fit` does in epochs of one
    batch; for what does not depend on how Keras feeds a model."""
    losses = [model.train_on_batch(x, y, return_dict=True)["loss"] for _ in range(steps)]
    model.optimizer.finalize_variable_values(model.trainable_weights)
    return losses
