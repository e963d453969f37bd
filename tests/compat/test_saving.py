"""How Keras writes and reads files, and the names by which files know classes."""

from __future__ import annotations

import io
from pathlib import Path

import keras
import numpy as np

from snconvert.compat import saving


def test_a_model_goes_into_an_open_file_and_a_folder(tmp_path: Path) -> None:
    """Both hold the model that Keras loads."""
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    file = io.BytesIO()
    saving.save_model(model, file)
    (tmp_path / "file.keras").write_bytes(file.getvalue())
    (tmp_path / "folder").mkdir()
    saving.save_model(model, str(tmp_path / "folder"), zipped=False)
    for name in ("file.keras", "folder"):
        loaded = keras.saving.load_model(tmp_path / name)
        np.testing.assert_array_equal(loaded.get_weights()[0], model.get_weights()[0])


def test_names() -> None:
    """Configurations use the exported name of a class, and registered ones."""
    assert saving.exported_name(keras.layers.GroupQueryAttention) == "GroupQueryAttention"
    assert keras.layers.GroupQueryAttention.__name__ == "GroupedQueryAttention"

    class Mine(keras.layers.Dense):
        pass

    assert saving.exported_name(Mine) == "Mine"
    saving.register_class(Mine, "compat>Ours")
    assert keras.saving.get_registered_name(Mine) == "compat>Ours"
    saving.register_name("compat>Ours", Mine)
    assert keras.saving.get_registered_object("compat>Ours") is Mine
