"""A compiled model that never trained: Keras builds its optimizer's slots when it loads it."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest

import snconvert

OPTIMIZERS = {
    "adam": lambda: keras.optimizers.Adam(amsgrad=True, gradient_accumulation_steps=2),
    "ema": lambda: keras.optimizers.SGD(momentum=0.9, use_ema=True),
    "adagrad": lambda: keras.optimizers.Adagrad(initial_accumulator_value=0.3),
    "nadam": keras.optimizers.Nadam,
    "adafactor": keras.optimizers.Adafactor,
    "loss scale": lambda: keras.optimizers.LossScaleOptimizer(keras.optimizers.Ftrl()),
}


def files(name: str, folder: Path, mode: str) -> tuple[Path, Path, Path]:
    """Returns a compiled model, its conversion, and that as Keras saves it again."""
    inputs = keras.Input((3,))
    normalised = keras.layers.BatchNormalization()(keras.layers.Dense(4)(inputs))
    model = keras.Model(inputs, keras.layers.Dense(2)(normalised))
    model.compile(OPTIMIZERS[name](), "mse")
    before, after, again = (folder / f"{stem}.keras" for stem in ("before", "after", "again"))
    model.save(before)
    snconvert.apply_file(before, after, mode=mode)
    keras.saving.load_model(after).save(again)
    return before, after, again


def poison(path: Path, place: int) -> None:
    """Changes the last number of one of the slots that hold several."""
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    weights = io.BytesIO(parts["model.weights.h5"])
    with h5py.File(weights, "r+") as file:
        slots = [item for item in file["optimizer/vars"].values() if item.shape]
        slots.sort(key=lambda item: int(item.name.rpartition("/")[2]))
        values = slots[place][()]
        values.flat[-1] += 1e-3
        slots[place][...] = values
    parts["model.weights.h5"] = weights.getvalue()
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in parts.items():
            archive.writestr(name, data)


@pytest.mark.filterwarnings("ignore:Skipping variable loading for optimizer:UserWarning")
@pytest.mark.parametrize("mode", ["hard", "gain"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_slots_that_keras_builds_in_loading_are_no_difference(name, mode, tmp_path):
    """They hold what slots hold before the first step; another number in one is a difference."""
    before, after, again = files(name, tmp_path, mode)
    for one in (before, after):
        verdict = snconvert.verify(one, again)
        assert verdict, verdict.differences
    # EMA's first slots start as the variables, and are not compared.
    poison(again, -1 if name == "ema" else 0)
    (difference,) = snconvert.verify(before, again).differences
    assert difference.path.startswith("optimizer/vars/")
    assert "1 of" in difference.what
    assert "before the first step" in difference.what


def test_slots_that_no_optimizer_builds_are_a_difference(tmp_path):
    """SGD without momentum has none, so that none can have been built in loading."""
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4)])
    model.compile(keras.optimizers.SGD(), "mse")
    model.save(tmp_path / "before.keras")
    with zipfile.ZipFile(tmp_path / "before.keras") as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    weights = io.BytesIO(parts["model.weights.h5"])
    with h5py.File(weights, "r+") as file:
        for index, shape in enumerate([(3, 4), (4,)], start=2):
            file.create_dataset(f"optimizer/vars/{index}", data=np.zeros(shape, "f4"))
    parts["model.weights.h5"] = weights.getvalue()
    with zipfile.ZipFile(tmp_path / "after.keras", "w") as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
    verdict = snconvert.verify(tmp_path / "before.keras", tmp_path / "after.keras")
    assert [x.what for x in verdict.differences] == ["stored after only"] * 2
