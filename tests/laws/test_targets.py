"""What is true of every target: it is proved, it is recognised, and there is a way back."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
from comparable import weights
from target_examples import example_of

import snconvert
from snconvert.core.targets import TARGETS as NAMES
from snconvert.errors import SelectionError
from snconvert.files.targets import TARGETS

INPUTS = np.random.default_rng(0).normal(size=(5, 6)).astype("float32")


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a small model."""
    keras.utils.set_random_seed(1)
    hidden = keras.layers.Dense(8, activation="relu", name="hidden")
    model = keras.Sequential([keras.Input((6,)), hidden, keras.layers.Dense(3, name="out")])
    model.save(path := tmp_path_factory.mktemp("targets") / "plain.keras")
    return path


@pytest.mark.parametrize("name", NAMES)
def test_files(name: str, plain: Path, tmp_path: Path) -> None:
    """A converted file is proved and recognised; `remove` restores it, `bake` keeps its outputs."""
    there, removed, baked = (tmp_path / f"{each}.keras" for each in ("there", "removed", "baked"))
    snconvert.apply_file(plain, there, **example_of(name))
    assert snconvert.verify(plain, there)
    report = snconvert.inspect(there)
    assert [layer.status for layer in report.layers] == ["spectral"] * 2
    assert {layer.reason for layer in report.layers} == {TARGETS[name].ALREADY}
    with pytest.raises(SelectionError, match="nothing left to convert"):
        snconvert.apply_file(there, tmp_path / "twice.keras", **example_of(name))
    assert snconvert.remove_file(there, removed).target == name
    assert snconvert.verify(there, removed)
    before, after = (keras.saving.load_model(path).get_weights() for path in (plain, removed))
    for one, two in zip(before, after, strict=True):
        np.testing.assert_allclose(two, one, rtol=1e-6)
    snconvert.bake_file(there, baked)
    assert snconvert.verify(there, baked)
    wanted, found = (keras.saving.load_model(path)(INPUTS) for path in (there, baked))
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_carriers(name: str, plain: Path, tmp_path: Path) -> None:
    """A live model gets the arrays that its file gets, and is recognised and proved like it."""
    model = keras.saving.load_model(plain)
    live = snconvert.apply(model, **example_of(name))
    live.save(tmp_path / "live.keras")
    snconvert.apply_file(plain, tmp_path / "file.keras", **example_of(name))
    assert weights(tmp_path / "live.keras") == weights(tmp_path / "file.keras")
    assert snconvert.verify(model, live)
    assert {layer.status for layer in snconvert.inspect(live).layers} == {"spectral"}
    np.testing.assert_allclose(snconvert.bake(live)(INPUTS), live(INPUTS), rtol=1e-5, atol=1e-6)
