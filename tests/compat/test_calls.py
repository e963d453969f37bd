"""What Keras keeps for the time of a call or of loading."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np

from snconvert.compat import calls

X = np.ones((2, 3), "float32")


@keras.saving.register_keras_serializable("compat")
class Watching(keras.layers.Layer):
    """Notes what it sees while it is called, and whether a file is being loaded."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.seen: list[Any] = []
        self.loaded = calls.is_loading()

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        call = calls.current_call()
        assert calls.training_of(call) is training
        self.seen.append((call, training))
        return inputs


def test_the_current_call() -> None:
    """There is a record of a call while it is going on, with its `training`."""
    layer = Watching()
    assert calls.current_call() is None
    for training in (True, False):
        layer(X, training=training)
    (first, one), (second, two) = layer.seen
    assert first is not None
    assert first is not second
    assert (one, two) == (True, False)
    assert calls.current_call() is None


def test_loading(tmp_path: Path) -> None:
    """A layer is told apart that Keras makes for a file."""
    model = keras.Sequential([keras.Input((3,)), Watching()])
    model.save(tmp_path / "model.keras")
    assert not model.layers[0].loaded
    assert keras.saving.load_model(tmp_path / "model.keras").layers[0].loaded
    assert not calls.is_loading()


def test_without_autocast() -> None:
    """In the scope a layer of mixed precision reads its variables as they are stored."""
    seen: list[str] = []

    class Reading(keras.layers.Layer):
        def build(self, _: Any) -> None:
            self.kernel = self.add_weight(shape=(3, 3), name="kernel")

        def call(self, inputs: Any) -> Any:
            seen.append(keras.backend.standardize_dtype(self.kernel.value.dtype))
            with calls.without_autocast():
                seen.append(keras.backend.standardize_dtype(self.kernel.value.dtype))
            return keras.ops.matmul(inputs, self.kernel)

    Reading(dtype="mixed_float16")(X)
    assert seen[-2:] == ["float16", "float32"]


def test_masks() -> None:
    """The next layer gets the mask that a tensor was given."""
    tensor = keras.ops.convert_to_tensor(np.ones((1, 2, 3), "float32"))
    calls.set_mask(tensor, keras.ops.convert_to_tensor([[True, False]]))
    seen: list[Any] = []

    class Masked(keras.layers.Layer):
        supports_masking = True

        def call(self, inputs: Any, mask: Any = None) -> Any:
            seen.append(mask)
            return inputs

    Masked()(tensor)
    assert np.asarray(seen[0]).tolist() == [[True, False]]
