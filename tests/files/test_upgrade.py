"""An older file becomes a model of Keras 3, and nothing else changes."""

from __future__ import annotations

import hashlib
import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest
import zoo
from keras.src.legacy.saving.legacy_h5_format import save_weights_to_hdf5_group
from places import MODELS
from saved_models import arrays, datasets, metadata, weights

import snconvert
from snconvert.errors import OptionError, SourceError

OLDER = sorted(
    path.name
    for path in MODELS.iterdir()
    if path.suffix == ".h5" or path.name.startswith(("k2", "tfk"))
)
OPENED_BY_KERAS = [name for name in OLDER if name.endswith(".h5")]
X = np.random.default_rng(0).normal(size=(4, 5)).astype("float32")


def config(path: Path) -> bytes:
    with zipfile.ZipFile(path) as archive:
        return archive.read("config.json")


@pytest.mark.parametrize("name", OLDER)
def test_keras_loads_the_result(name: str, tmp_path: Path) -> None:
    """With all of it: neither a warning nor an array without a place."""
    out = tmp_path / "out.keras"
    report = snconvert.upgrade_file(MODELS / name, out)
    assert report.warnings[0].startswith("saved by Keras ")
    assert {layer.status for layer in report.layers} == {"skipped"}
    model = keras.saving.load_model(out)
    assert model.compiled
    assert np.isfinite(model.predict(X, verbose=0)).all()


@pytest.mark.parametrize("name", OPENED_BY_KERAS)
def test_it_computes_what_the_old_file_did(name: str, tmp_path: Path) -> None:
    """Where Keras 3 opens the old file: the same outputs, bit for bit."""
    snconvert.upgrade_file(MODELS / name, tmp_path / "out.keras")
    before = keras.saving.load_model(MODELS / name, compile=False)
    after = keras.saving.load_model(tmp_path / "out.keras", compile=False)
    np.testing.assert_array_equal(before.predict(X, verbose=0), after.predict(X, verbose=0))


def test_the_optimizer_goes_on(tmp_path: Path) -> None:
    """Its state is the old one's; Keras' own reader of such files drops all moments."""
    model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(4), keras.layers.Dense(2)])
    model.compile(keras.optimizers.Adam(0.05), "mse")
    y = np.ones((4, 2), "float32")
    model.fit(X, y, epochs=3, verbose=0)
    model.save(tmp_path / "in.h5")
    snconvert.upgrade_file(tmp_path / "in.h5", tmp_path / "out.keras")
    again = keras.saving.load_model(tmp_path / "out.keras")
    for a, b in zip(model.optimizer.variables, again.optimizer.variables, strict=True):
        np.testing.assert_array_equal(a, b)
    for each in (model, again):
        each.fit(X, y, epochs=1, shuffle=False, verbose=0)
    for a, b in zip(model.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("target", ["layer", "keras", "constraint"])
@pytest.mark.parametrize("name", OLDER)
def test_removing_a_conversion_gives_the_upgrade(name: str, target: str, tmp_path: Path) -> None:
    """The configuration and the record to the letter, and the arrays to the bit; where the target
    has normalised kernels, these to float rounding."""
    up, sn, plain = (tmp_path / f"{each}.keras" for each in ("up", "sn", "plain"))
    snconvert.upgrade_file(MODELS / name, up)
    report = snconvert.apply_file(MODELS / name, sn, target=target, verify=True)
    assert report.converted
    assert snconvert.verify(MODELS / name, sn)
    snconvert.remove_file(sn, plain)
    assert config(plain) == config(up)
    assert metadata(plain) == metadata(up)
    if target == "layer":
        assert arrays(plain) == arrays(up)
        return
    before, after = (datasets(weights(path)) for path in (up, plain))
    assert before.keys() == after.keys()
    for path, array in before.items():
        np.testing.assert_allclose(after[path][()], array[()], rtol=1e-6)


def test_the_same_bytes(tmp_path: Path) -> None:
    """The same input gives the same output, and the input stays as it is."""
    source = Path(shutil.copy(MODELS / "k215_seq.h5", tmp_path / "in.h5"))
    before = source.read_bytes()
    for out in ("one.keras", "two.keras"):
        snconvert.upgrade_file(source, tmp_path / out)
    assert (tmp_path / "one.keras").read_bytes() == (tmp_path / "two.keras").read_bytes()
    assert source.read_bytes() == before


def test_it_records_what_the_old_file_was(tmp_path: Path) -> None:
    """Which Keras wrote it, in which format, and its SHA-256, under the key that Keras ignores."""
    source = MODELS / "k215_seq.h5"
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    snconvert.upgrade_file(source, tmp_path / "out.keras")
    about = metadata(tmp_path / "out.keras")
    assert about["keras_version"].startswith("3.")
    record = about["snconvert"]
    assert record.pop("version") == snconvert.__version__
    assert record == {
        "command": "upgrade",
        "format": "hdf5_model",
        "keras_version": "2.15.0",
        "backend": "tensorflow",
        "source_sha256": digest,
    }
    snconvert.apply_file(source, tmp_path / "sn.keras")
    converted = metadata(tmp_path / "sn.keras")["snconvert"]
    assert converted["source_sha256"] == digest
    assert converted["before"] == {**record, "version": snconvert.__version__}


def test_an_upgrade_is_converted_like_any_model(tmp_path: Path) -> None:
    """The order is no matter: the same configuration and arrays."""
    source = MODELS / "tfk221_seq.h5"
    snconvert.upgrade_file(source, tmp_path / "up.keras")
    snconvert.apply_file(tmp_path / "up.keras", tmp_path / "one.keras")
    snconvert.apply_file(source, tmp_path / "two.keras")
    assert config(tmp_path / "one.keras") == config(tmp_path / "two.keras")
    assert arrays(tmp_path / "one.keras") == arrays(tmp_path / "two.keras")


def test_an_operation_in_the_graph(tmp_path: Path) -> None:
    """Keras 3 writes it into HDF5 by a name that it may share with a layer, and does not load that:
    refused by what it is."""
    inputs = keras.Input((3,))
    model = keras.Model(inputs, keras.layers.Dense(3)(inputs) * 2.0)
    model.save(tmp_path / "in.h5")
    with pytest.raises(ValueError, match="Only input tensors"):
        keras.saving.load_model(tmp_path / "in.h5")
    with pytest.raises(SourceError, match=r"multiply\w* \(Multiply\): it is an operation of Keras"):
        snconvert.upgrade_file(tmp_path / "in.h5")


@pytest.mark.parametrize("name", ["a01_seq_plain.keras", "a16_dir_h5dir", "v3.0.5_seq.keras"])
def test_there_is_nothing_to_upgrade(name: str, tmp_path: Path) -> None:
    """A model of Keras 3 is refused, in one line, and nothing is written."""
    with pytest.raises(SourceError, match="nothing to upgrade"):
        snconvert.upgrade_file(MODELS / name, tmp_path / "out.keras")
    assert list(tmp_path.iterdir()) == []


def test_an_unzipped_archive_of_keras_2(tmp_path: Path) -> None:
    """It is called what it is, and its result is a folder, too."""
    with zipfile.ZipFile(MODELS / "k215_seq.keras") as archive:
        archive.extractall(tmp_path / "net")
    report = snconvert.upgrade_file(tmp_path / "net")
    said = "saved by Keras 2.15.0 as an unzipped .keras archive"
    assert report.warnings == (said,)
    assert (tmp_path / "net-keras3" / "config.json").exists()


def test_a_dry_run_writes_nothing(tmp_path: Path) -> None:
    """It reads and checks the file, and says what it is."""
    source = Path(shutil.copy(MODELS / "k215_seq.h5", tmp_path / "in.h5"))
    report = snconvert.upgrade_file(source, dry_run=True)
    assert report.output is None
    assert "Keras 2.15.0" in report.warnings[0]
    assert list(tmp_path.iterdir()) == [source]


def test_hard_sigmoid_needs_this_package(tmp_path: Path) -> None:
    """Every report says so, those of the ways back too: the activation stays."""
    source = Path(shutil.copy(MODELS / "k215_seq.h5", tmp_path / "in.h5"))
    with h5py.File(source, "r+") as file:
        text = file.attrs["model_config"]
        assert '"relu"' in text
        file.attrs["model_config"] = text.replace('"relu"', '"hard_sigmoid"')
    ours = ("`import snconvert`",)
    assert snconvert.upgrade_file(source).needs == ours
    assert snconvert.apply_file(source, tmp_path / "wrapped.keras", target="keras").needs == ours
    snconvert.apply_file(source, tmp_path / "sn.keras")
    for way in (snconvert.bake_file, snconvert.remove_file):
        assert way(tmp_path / "sn.keras").needs == ours
    plain = tmp_path / "plain.keras"
    snconvert.upgrade_file(MODELS / "k215_seq.h5", plain)
    snconvert.apply_file(plain, tmp_path / "sn.keras", force=True)
    assert snconvert.bake_file(tmp_path / "sn.keras", force=True).needs == ()


@pytest.mark.parametrize(
    ("name", "output"),
    [
        ("net.h5", "net-keras3.keras"),
        ("net.hdf5", "net-keras3.keras"),
        ("net.keras", "net-keras3.keras"),
    ],
)
def test_where_the_result_goes(name: str, output: str, tmp_path: Path) -> None:
    """Beside the source, whatever that is called."""
    shutil.copy(MODELS / "k215_seq.h5", tmp_path / name)
    snconvert.upgrade_file(tmp_path / name)
    assert {path.name for path in tmp_path.iterdir()} == {name, output}


def written(model: Any, folder: Path, how: str) -> tuple[Path, Path]:
    """Writes weights alone and the configuration that belongs to them, as users have them."""
    path, beside = folder / "net.weights.h5", folder / "net.json"
    if how.startswith("keras2"):
        with h5py.File(path, "w") as file:  # as `save_weights` of Keras 2
            save_weights_to_hdf5_group(file, model)
    else:
        model.save_weights(path)
    text = model.to_json()
    if how == "config.json":
        model.save(folder / "model.keras")
        text = config(folder / "model.keras").decode()
        (folder / "model.keras").unlink()
    beside.write_text(json.dumps(text) if how == "twice" else text)
    return path, beside


@pytest.mark.parametrize("how", ["to_json", "config.json", "twice", "keras2"])
def test_weights_alone(how: str, tmp_path: Path) -> None:
    """With the configuration beside them they are the model, for every verb."""
    model = zoo.randomize(zoo.functional())
    path, beside = written(model, tmp_path, how)
    out = tmp_path / "out.keras"
    snconvert.upgrade_file(path, out, config=beside)
    loaded = keras.saving.load_model(out)
    for a, b in zip(model.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert snconvert.inspect(path, config=beside).converted
    assert snconvert.apply_file(path, config=beside, verify=True).converted
    assert snconvert.verify(path, tmp_path / "net-sn.keras", config=beside)
    assert snconvert.apply_file(path, config=str(beside), dry_run=True).converted
    snconvert.remove_file(tmp_path / "net-sn.keras", tmp_path / "plain.keras")
    assert config(tmp_path / "plain.keras") == config(out)
    assert arrays(tmp_path / "plain.keras") == arrays(out)


@pytest.mark.parametrize("optimizer", ["nadam", "adafactor"])
def test_the_state_beside_weights_alone(optimizer: str, tmp_path: Path) -> None:
    """What Keras 3 wrote stays as it is, and the version of Keras is not made up."""
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    model.compile(optimizer, "mse")
    model.fit(np.ones((4, 3)), np.zeros((4, 2)), verbose=0)
    path, beside = written(model, tmp_path, "to_json")
    model.save(tmp_path / "whole.keras")
    report = snconvert.upgrade_file(path, tmp_path / "out.keras", config=beside)
    assert arrays(tmp_path / "out.keras") == arrays(tmp_path / "whole.keras")
    assert not any("optimizer" in warning for warning in report.warnings)
    with zipfile.ZipFile(tmp_path / "out.keras") as archive:
        assert "keras_version" not in json.loads(archive.read("metadata.json"))


def test_vocabularies_are_not_in_weights_alone(tmp_path: Path) -> None:
    """They are assets of the archive, so that a warning names the layers that lost theirs."""
    with zipfile.ZipFile(MODELS / "a18_assets.keras") as archive:
        (tmp_path / "net.json").write_bytes(archive.read("config.json"))
        (tmp_path / "net.weights.h5").write_bytes(archive.read("model.weights.h5"))
    report = snconvert.upgrade_file(tmp_path / "net.weights.h5", config=tmp_path / "net.json")
    assert any("vocabulary of text_vectorization" in warning for warning in report.warnings)


def test_a_recipe_may_name_the_configuration(tmp_path: Path) -> None:
    """It is an option like another."""
    path, beside = written(zoo.randomize(zoo.sequential()), tmp_path, "to_json")
    (tmp_path / "recipe.toml").write_text(f"config = {str(beside)!r}\nmode = 'cap'")
    report = snconvert.apply_file(path, recipe_file=tmp_path / "recipe.toml")
    assert (report.converted > 0, report.mode) == (True, "cap")


def test_normalised_weights_alone(tmp_path: Path) -> None:
    """The ways back take weights alone, too."""
    model = snconvert.apply(zoo.randomize(zoo.sequential()))
    path, beside = written(model, tmp_path, "to_json")
    for undo in (snconvert.remove_file, snconvert.bake_file):
        undo(path, tmp_path / "plain.keras", config=beside, force=True)
        keras.saving.load_model(tmp_path / "plain.keras")


@pytest.mark.parametrize(
    ("content", "error", "says"),
    [
        (None, SourceError, "no such file"),
        (b"PK\x03\x04", SourceError, "zip"),
        (b"{", SourceError, "JSON"),
        (b"[]", SourceError, "configuration"),
        (b"{}", SourceError, "class_name"),
    ],
)
def test_what_is_no_configuration(
    content: bytes | None, error: type[Exception], says: str, tmp_path: Path
) -> None:
    """One line says what is wrong with it."""
    path, beside = written(zoo.sequential(), tmp_path, "to_json")
    beside.unlink()
    if content is not None:
        beside.write_bytes(content)
    with pytest.raises(error, match=says) as caught:
        snconvert.upgrade_file(path, tmp_path / "out.keras", config=beside)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out.keras").exists()


def test_another_models_configuration(tmp_path: Path) -> None:
    """Weights that do not fit it are refused."""
    path, beside = written(zoo.sequential(), tmp_path, "to_json")
    beside.write_text(zoo.functional().to_json())
    with pytest.raises(SourceError):
        snconvert.upgrade_file(path, tmp_path / "out.keras", config=beside)


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (3, "config is of type int, not a path"),
        ({"class_name": "Model"}, "config is of type dict, not a path"),
        ('{"class_name": "Model"}', "config is the text of a configuration, not a path"),
    ],
)
def test_config_is_a_path(value: Any, says: str) -> None:
    """Anything else is an error of the option, in one line that shows no model."""
    path = MODELS / "k215_seq.h5"
    for call in (
        snconvert.inspect,
        snconvert.apply_file,
        snconvert.bake_file,
        snconvert.upgrade_file,
        lambda path, config: snconvert.verify(path, path, config=config),
    ):
        with pytest.raises(OptionError, match=says) as caught:
            call(path, config=value)
        assert "Model" not in str(caught.value)


def test_what_is_wrong_with_the_configuration_is_said_of_its_file(tmp_path: Path) -> None:
    """With what to give instead, where it is of another kind; of the weights nothing is said."""
    model = zoo.sequential()
    path, beside = written(model, tmp_path, "to_json")
    whole = json.loads(beside.read_text())
    no_inside = {**whole, "config": {**whole["config"], "layers": [{"class_name": "Dense"}]}}
    for text, says in (
        (json.dumps(model.get_config()), r"model\.to_json\(\)"),
        (json.dumps(no_inside), "Dense has no `config`"),
        ("{", "JSON"),
    ):
        beside.write_text(text)
        with pytest.raises(SourceError, match=says) as caught:
            snconvert.upgrade_file(path, tmp_path / "out.keras", config=beside)
        assert caught.value.file == str(beside)
