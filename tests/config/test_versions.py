"""Configurations as other versions of Keras, and other programs, spell them."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import zoo

import snconvert
from snconvert.config.versions import is_keras_2, newer_than_tried
from snconvert.errors import SourceError

Entry = dict[str, Any]


def rewritten(
    source: Path, target: Path, change: Callable[[Entry], object], version: str | None = None
) -> None:
    """Copies an archive, with every serialised object of its configuration changed, and what it
    says of the version that wrote it."""

    def walk(value: Any) -> None:
        if isinstance(value, dict):
            if "class_name" in value:
                change(value)
            value = list(value.values())
        for child in value if isinstance(value, list) else ():
            walk(child)

    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            if name == "config.json":
                config = json.loads(data)
                walk(config)
                data = json.dumps(config).encode()
            if name == "metadata.json" and version is not None:
                data = json.dumps({"keras_version": version}).encode()
            new.writestr(name, data)


def config(path: Path) -> bytes:
    with zipfile.ZipFile(path) as archive:
        return archive.read("config.json")


def assert_there_and_back(source: Path, folder: Path, target: str) -> None:
    """Converts with proof; Keras loads the result, and both ways back give the configuration."""
    options: dict[str, Any] = {"kinds": "all", "target": target, "verify": True}
    snconvert.apply_file(source, folder / "sn.keras", **options, force=True)
    keras.saving.load_model(folder / "sn.keras")
    for undo in (snconvert.remove_file, snconvert.bake_file):
        undo(folder / "sn.keras", folder / "plain.keras", force=True)
        assert config(folder / "plain.keras") == config(source)
    if target == "layer":
        snconvert.remove_file(folder / "sn.keras", folder / "plain.keras", force=True)
        assert snconvert.verify(source, folder / "plain.keras")


def keras_300(entry: Entry) -> None:
    """Keras 3.0.0 names the defining module, and the class where null stands today."""
    cls = getattr(keras.layers, entry["class_name"], None)
    if entry.get("module") == "keras.layers" and cls is not None:
        entry.update(module=cls.__module__, registered_name=entry["class_name"])


def unregistered(entry: Entry) -> None:
    entry.pop("registered_name", None)


@pytest.mark.parametrize("target", ["layer", "keras", "constraint"])
@pytest.mark.parametrize("spelling", [keras_300, unregistered])
def test_the_ways_back_restore_the_spelling(spelling, target, tmp_path):
    """A Keras layer that is named in another way is the same layer, and has its name again after
    `remove` and `bake`."""
    inputs = keras.Input((2, 3))
    inner = keras.layers.TimeDistributed(keras.layers.Dense(4))(inputs)
    outputs = keras.layers.Dense(2)(keras.layers.SimpleRNN(2)(inner))
    keras.Model(inputs, outputs).save(tmp_path / "model.keras")
    rewritten(tmp_path / "model.keras", tmp_path / "old.keras", spelling)
    assert config(tmp_path / "old.keras") != config(tmp_path / "model.keras")
    assert_there_and_back(tmp_path / "old.keras", tmp_path, target)


def test_a_recorded_spelling_is_not_trusted(tmp_path):
    """What a record says of a plain layer's name is taken only where it is that Keras layer."""
    zoo.randomize(zoo.sequential()).save(tmp_path / "model.keras")
    snconvert.apply_file(tmp_path / "model.keras", tmp_path / "sn.keras")
    with (
        zipfile.ZipFile(tmp_path / "sn.keras") as old,
        zipfile.ZipFile(tmp_path / "bad.keras", "w") as new,
    ):
        for name in old.namelist():
            data = old.read(name)
            if name == "metadata.json":
                metadata = json.loads(data)
                for layer in metadata["snconvert"]["layers"].values():
                    layer["plain"] = {"module": "os", "registered_name": "system"}
                data = json.dumps(metadata).encode()
            new.writestr(name, data)
    snconvert.remove_file(tmp_path / "bad.keras", tmp_path / "plain.keras")
    assert config(tmp_path / "plain.keras") == config(tmp_path / "model.keras")


def test_without_any_module(tmp_path):
    """Keras loads no model that names no module: said so, and not called a user's class."""
    zoo.sequential().save(tmp_path / "model.keras")

    def bare(entry: Entry) -> None:
        entry.pop("module", None)
        entry.pop("registered_name", None)

    rewritten(tmp_path / "model.keras", tmp_path / "bare.keras", bare)
    with pytest.raises(TypeError, match="Could not locate class 'Sequential'"):
        keras.saving.load_model(tmp_path / "bare.keras")
    with pytest.raises(SourceError, match="names no module for its Sequential"):
        snconvert.inspect(tmp_path / "bare.keras")


@pytest.mark.filterwarnings("ignore:.*does not support masking:UserWarning")  # Keras' wrapper
@pytest.mark.parametrize("target", ["layer", "keras", "constraint"])
def test_what_is_no_number(target, tmp_path):
    """NaN and the infinities in a configuration, which Keras writes, are kept to the letter."""
    parts = [keras.Input((4, 3)), keras.layers.Masking(mask_value=float("nan"))]
    parts += [keras.layers.Dense(3), keras.layers.ReLU(max_value=float("inf"))]
    model = keras.Sequential(parts)
    model.save(tmp_path / "model.keras")
    assert b"NaN" in config(tmp_path / "model.keras")
    assert b"Infinity" in config(tmp_path / "model.keras")
    assert_there_and_back(tmp_path / "model.keras", tmp_path, target)
    back = snconvert.remove(snconvert.apply(model))
    assert snconvert.verify(model, back)
    data = np.random.default_rng(0).normal(size=(2, 4, 3)).astype("float32")
    np.testing.assert_array_equal(back(data), model(data))
    snconvert.apply_file(tmp_path / "model.keras", tmp_path / "live.keras", imports=["keras"])


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
@pytest.mark.parametrize("place", ["units", "build_config"])
def test_what_is_no_number_is_no_size(place, number, tmp_path):
    """Where a count or a size must stand, they are errors that name the layer."""
    keras.Sequential([keras.Input((3,)), keras.layers.Dense(3, name="d")]).save(
        tmp_path / "model.keras"
    )

    def odd(entry: Entry) -> None:
        if entry["class_name"] == "Dense" and place == "units":
            entry["config"]["units"] = float(number)
        elif entry["class_name"] == "Dense":
            entry["build_config"] = {"input_shape": [None, float(number)]}

    rewritten(tmp_path / "model.keras", tmp_path / "odd.keras", odd)
    with pytest.raises(SourceError, match=r"d \(Dense\): .* is .*(nan|inf).* expected"):
        snconvert.apply_file(tmp_path / "odd.keras", tmp_path / "out.keras")


@pytest.mark.parametrize(
    ("version", "config", "older"),
    [
        ("2.15.0", {}, True),
        ("3.0.5", {"module": "keras.src.engine.functional"}, False),
        (None, {"module": "keras.src.engine.functional"}, True),
        (None, {"module": "keras", "config": [{"batch_input_shape": [None, 3]}]}, True),
        (None, {"module": "keras", "config": [{"batch_shape": [None, 3]}]}, False),
        (None, {"module": "keras", "keras_version": "2.9.0"}, True),
        (None, {"module": "keras"}, False),
        ("?", {"class_name": "Sequential"}, True),
        (None, [], False),
    ],
)
def test_what_keras_2_wrote(version, config, older):
    """The version says it, or where there is none, the first key that only one of them has."""
    assert is_keras_2(version, config) is older


def test_a_version_that_was_not_tried():
    """It is warned of, and older ones are not."""
    assert newer_than_tried({"keras_version": "3.99.0"})
    assert not newer_than_tried({"keras_version": "3.0.5"})
    assert not newer_than_tried({})
