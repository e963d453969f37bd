"""Masks that a converted embedding makes, and what the layers behind it make of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import snconvert

IDS = np.array([[3, 4, 5, 0, 0], [1, 6, 2, 0, 0]], "int32")


def build(*, mask_zero: bool = True) -> keras.Model:
    """An embedding, a layer that hands its mask on, and two layers that look at it."""
    ids = keras.Input((None,), dtype="int32")
    x = keras.layers.Embedding(8, 4, mask_zero=mask_zero, name="table")(ids)
    x = keras.layers.Dense(4, name="dense")(x)
    x = keras.layers.LSTM(3, return_sequences=True, name="first")(x)
    return keras.Model(ids, keras.layers.LSTM(2, name="last")(x))


@pytest.mark.parametrize("carrier", ["file", "live"])
@pytest.mark.parametrize(
    "options",
    [{"mode": "gain"}, {"bound": 0.7}, {"target": "constraint", "bound": 0.7}],
    ids=["gain", "hard", "constraint"],
)
def test_an_embedding_with_a_mask(carrier: str, options: dict[str, Any], tmp_path: Path) -> None:
    """A converted embedding makes the mask of the plain one, and ids of zero at the end change no
    output, at rest or in training; without the mask they do."""
    keras.utils.set_random_seed(2)
    plain = build()
    for variable in plain.trainable_variables:
        variable.assign(variable * 3.0)
    if carrier == "live":
        model = snconvert.apply(plain, kinds="all", **options)
    else:
        plain.save(tmp_path / "plain.keras")
        snconvert.apply_file(
            tmp_path / "plain.keras", tmp_path / "sn.keras", kinds="all", **options
        )
        model = keras.saving.load_model(tmp_path / "sn.keras")
    table = model.get_layer("table")
    mask = plain.get_layer("table").compute_mask(IDS)
    np.testing.assert_array_equal(mask, IDS != 0)
    np.testing.assert_array_equal(table.compute_mask(IDS), mask)
    np.testing.assert_array_equal(table(IDS)._keras_mask, mask)
    np.testing.assert_array_equal(model.get_layer("dense")(table(IDS))._keras_mask, mask)
    for training in (False, True):
        short = np.array(model(IDS[:, :3], training=training))
        np.testing.assert_allclose(model(IDS, training=training), short, rtol=1e-5, atol=1e-6)
    open_ = build(mask_zero=False)
    open_.set_weights(plain.get_weights())
    unmasked = snconvert.apply(open_, kinds="all", **options)
    assert np.abs(unmasked(IDS) - unmasked(IDS[:, :3])).max() > 1e-3
    if options.get("mode") == "gain":
        np.testing.assert_allclose(model(IDS), plain(IDS), rtol=1e-5, atol=1e-6)
