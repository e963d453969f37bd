"""Files that only Python code can open: through Keras, converted in memory."""

from __future__ import annotations

import json
import sys
import zipfile
from pathlib import Path

import h5py
import hdf5_faults
import keras
import live_models
import numpy as np
import pytest
import saved_models
import warm
import zoo
from keras.src.legacy.saving.legacy_h5_format import save_weights_to_hdf5_group
from live_models import outputs, train
from places import CASES, SAMPLES

from snconvert.api import apply_file, remove_file, verify
from snconvert.archive.output import Destination
from snconvert.cli.tables import closing
from snconvert.errors import (
    OptionError,
    OutputError,
    SelectionError,
    SnconvertError,
    SourceError,
    UnsafeError,
)
from snconvert.layers import Spectral
from snconvert.live import loading
from snconvert.live.internals.walk import descendants
from snconvert.live.through_keras import apply_through_keras
from snconvert.planning.recipe import recipe

FILES = ("files.keras", "out.keras")


@pytest.fixture
def saved(tmp_path):
    model = zoo.randomize(live_models.task())
    model.compile("adam", "mse", run_eagerly=True)
    train(model, steps=1)
    model.save(tmp_path / "task.keras")
    return model, str(tmp_path / "task.keras"), str(tmp_path / "out.keras")


def test_custom_classes(saved):
    """A file with custom classes is converted inside them, and says how it was made."""
    model, source, output = saved
    before = Path(source).read_bytes()
    report = apply_through_keras(source, Destination(output), recipe(mode="gain"), ["live_models"])
    loaded = keras.saving.load_model(output)
    np.testing.assert_allclose(outputs(model), outputs(loaded), rtol=2e-5)
    assert int(loaded.optimizer.iterations) == 1
    assert report.converted == sum(isinstance(x, Spectral) for _, x in descendants(loaded)) == 6
    assert (report.source, report.output) == (source, output)
    assert report.bytes == Path(output).stat().st_size
    assert report.warnings == ()
    assert Path(source).read_bytes() == before
    with zipfile.ZipFile(output) as archive:
        assert set(archive.namelist()) == {"metadata.json", "config.json", "model.weights.h5"}
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}
        record = json.loads(archive.read("metadata.json"))["snconvert"]
    assert record["layers"]["head"]["new_class"] == "SpectralDense"
    assert record["options"]["mode"] == "gain"
    assert sorted(path.name for path in Path(output).parent.iterdir()) == [
        "out.keras",
        "task.keras",
    ]


def test_dry_run_and_existing_output(saved):
    """A dry run writes nothing; an existing output stays unless it is forced."""
    _, source, output = saved
    report = apply_through_keras(source, None, recipe())
    assert {layer.status for layer in report.layers} <= {"convertible", "skipped"}
    Path(output).write_text("mine")
    with pytest.raises(OutputError, match="exists already"):
        apply_through_keras(source, Destination(output), recipe())
    assert Path(output).read_text() == "mine"
    apply_through_keras(source, Destination(output, force=True), recipe())
    apply_through_keras(source, Destination(source, in_place=True), recipe())
    assert len(Path(source).read_bytes()) == len(Path(output).read_bytes())


def test_folders(saved):
    """An unzipped model gives an unzipped model."""
    model, source, _ = saved
    folder = Path(source).parent / "folder"
    model.save(folder, zipped=False)
    out = folder.with_name("folder-sn")
    apply_through_keras(str(folder), Destination(str(out)), recipe(mode="gain"))
    np.testing.assert_allclose(
        outputs(model), outputs(keras.saving.load_model(str(out))), rtol=2e-5
    )
    assert "snconvert" in json.loads((out / "metadata.json").read_text())


@pytest.mark.parametrize(
    "name", ["a02_seq_adam_k3legacy.h5", "k215_seq.h5", "tfk221_seq.h5", "k2.13.1_seq.keras"]
)
def test_older_files(name, models, tmp_path):
    """What an older Keras saved gives the same arrays as without Keras: nothing is lost, and the
    one warning says what it was."""
    source, output = str(models / name), str(tmp_path / "out.keras")
    report = apply_through_keras(source, Destination(output), recipe())
    assert report.converted
    (warning,) = report.warnings
    assert warning.startswith("saved by Keras ")
    apply_file(source, tmp_path / "files.keras")
    one, two = (saved_models.arrays(tmp_path / each) for each in FILES)
    assert one == two
    assert verify(source, output, imports=["keras"])
    records = [saved_models.metadata(tmp_path / each)["snconvert"] for each in FILES]
    assert records[0]["before"] == records[1]["before"]
    with pytest.raises(OptionError, match=r"ends in \.keras"):
        apply_through_keras(source, Destination(str(tmp_path / "out.h5")), recipe())


def damaged(data: bytes, seed: int) -> bytes:
    """Copies with overwritten bytes in the first blocks, where HDF5 keeps its structure."""
    rng = np.random.default_rng(seed)
    copy = bytearray(data)
    kind = seed % 4
    if kind == 0:
        return bytes(copy[: int(rng.integers(100, len(copy)))])
    for _ in range(1 + kind * 4):
        copy[int(rng.integers(8, min(len(copy), 20_000)))] = int(rng.integers(256))
    return bytes(copy)


@pytest.mark.parametrize("name", ["a02_seq_adam_k3legacy", "k215_seq", "tfk221_seq"])
def test_damaged_legacy_files(name, models, tmp_path):
    """A damaged .h5 file is converted, or refused in one line that names it."""
    data = (models / f"{name}.h5").read_bytes()
    errors = []
    for seed in range(12):
        source, output = tmp_path / f"{seed}.h5", tmp_path / f"{seed}.keras"
        source.write_bytes(damaged(data, seed))
        try:
            apply_through_keras(str(source), Destination(str(output)), recipe())
        except SnconvertError as error:
            errors.append((str(source), str(error)))
        assert output.exists() or errors[-1][0] == str(source)
    assert len(errors) > 3
    assert all(line.startswith(f"{source}: ") and "\n" not in line for source, line in errors)


def test_what_crashes_or_hangs_hdf5(models, tmp_path, monkeypatch):
    """Where reading a file kills the guarded process, or never ends, that is one line, too."""
    source = str(models / "k215_seq.h5")
    for how, what in ((hdf5_faults.crash, "crashed"), (hdf5_faults.hang, "did not finish")):
        monkeypatch.setattr(loading, "read_whole", how)
        monkeypatch.setattr(loading, "_SECONDS", 3.0)
        with pytest.raises(SourceError, match=what):
            apply_through_keras(source, Destination(str(tmp_path / "out.keras")), recipe())


def test_damage_ends_in_exit_code_1(models, tmp_path, snconvert):
    """The command line says one line of a damaged legacy file."""
    source = tmp_path / "cut.h5"
    source.write_bytes((models / "k215_seq.h5").read_bytes()[:9000])
    done = snconvert("apply", source, "--import", "keras", modules=warm.TENSORFLOW)
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {source}: ")
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


def test_hdf5_under_the_name_of_an_archive(models, tmp_path):
    """What Keras 2.12 called .keras is HDF5, and is opened as that."""
    source, output = str(models / "k2.12.0_seq.keras"), str(tmp_path / "out.keras")
    report = apply_through_keras(source, Destination(output), recipe())
    assert report.converted
    assert keras.saving.load_model(output).built


def test_weights_only(tmp_path):
    """A file of weights alone, of Keras 3 or 2, is refused as what it is on either carrier."""
    new, old = tmp_path / "w.weights.h5", tmp_path / "w.h5"
    zoo.sequential().save_weights(new)
    with h5py.File(old, "w") as file:  # as Keras 2.9 to 2.15
        save_weights_to_hdf5_group(file, zoo.sequential())
    for source, writer in ((new, "of Keras 3"), (old, "of Keras 2")):
        for imports in ([], ["keras"]):
            with pytest.raises(SourceError, match=rf"weights only \(.*{writer}.*config="):
                apply_file(source, tmp_path / "out.keras", imports=imports)


@pytest.mark.parametrize(
    ("name", "cause", "way_out"),
    [
        ("a24_lambda.keras", r"lambda \(Lambda\): .* safe mode", "safe_mode=False"),
        ("a09_custom_dense_subclass.keras", "does not know pkg>MyDense", "with --import"),
        (
            "a30_multiple_models_same_layer_nested.keras",
            "1 objects could not be loaded.*Layer '",
            "snconvert.apply in the code",
        ),
    ],
)
def test_the_way_out_fits_the_cause(name, cause, way_out, models, tmp_path):
    """Keras refuses files for several reasons: `--import` is the way out of one of them."""
    with pytest.raises(SourceError, match=cause) as caught:
        apply_through_keras(str(models / name), Destination(str(tmp_path / "out.keras")), recipe())
    assert way_out in caught.value.fix
    assert ("with --import" in caught.value.fix) == (way_out == "with --import")


def test_a_legacy_lambda(tmp_path):
    """An older file with a Lambda is converted without Keras, which does not load it."""
    source = CASES / "fmt_legacy_lambda.h5"
    with pytest.raises(SourceError, match="safe mode: this lambda") as caught:
        apply_through_keras(str(source), Destination(str(tmp_path / "out.keras")), recipe())
    assert "without --import" in caught.value.fix
    assert apply_file(source, tmp_path / "out.keras").converted


def test_what_has_to_be_imported(models, tmp_path):
    """The hint after a conversion names all that Keras needs to load the result, and is left out
    where there is nothing to load, or nothing to import."""
    source = models / "a09_custom_dense_subclass.keras"
    code = "the code that registers pkg>MyDense"
    load = "and keras.saving.load_model"

    def hint(**options):
        report = apply_file(source, tmp_path / "out.keras", force=True, **options)
        return closing(report)[-1]

    assert hint() == f"load it with `import snconvert`, {code} {load}"
    assert hint(target="constraint") == f"load it with `import snconvert`, {code} {load}"
    assert hint(target="keras") == f"load it with {code} {load}"
    remove_file(tmp_path / "out.keras", tmp_path / "plain.keras")
    source = models / "a01_seq_plain.keras"
    assert hint() == f"load it with `import snconvert` {load}"
    assert hint(imports=["zoo", "keras"]) == f"load it with `import snconvert`, `import zoo` {load}"
    assert hint(target="keras").startswith("wrote ")
    report = apply_file(source, tmp_path / "out.h5")
    assert closing(report)[-1].startswith("wrote ")


def test_no_word_of_loading_what_keras_does_not_load(models, tmp_path):
    """Such a file is converted, with a warning that says why, and without the usual hint."""
    source = models / "a30_multiple_models_same_layer_nested.keras"
    with pytest.raises((ValueError, TypeError)):
        keras.saving.load_model(source)
    report = apply_file(source, tmp_path / "out.keras")
    (warning,) = report.warnings
    assert warning.startswith("s2/tied is the same layer as s1/tied,")
    assert closing(report)[-1].startswith("wrote ")


def test_code_that_is_loaded_when_it_is_trusted(models, tmp_path):
    """The hint says what Keras needs for it, also where nothing is to be imported."""
    paths = [models / "a24_lambda.keras", tmp_path / "sn.keras", tmp_path / "plain.keras"]
    reports = [apply_file(*paths[:2]), remove_file(*paths[1:])]
    for path, report, needed in zip(
        paths[1:], reports, ["`import snconvert` and ", ""], strict=True
    ):
        trusted = f"{needed}keras.saving.load_model(..., safe_mode=False), if you trust its code"
        assert closing(report)[-1] == f"load it with {trusted}"
        assert "safe_mode=False only" in report.warnings[0]
        with pytest.raises(ValueError, match="safe_mode=False"):
            keras.saving.load_model(path)
        keras.saving.load_model(path, safe_mode=False)


@pytest.mark.filterwarnings("ignore:Skipping nested container:UserWarning")
@pytest.mark.parametrize("inside_first", [False, True])
def test_layers_in_two_places(inside_first, tmp_path):
    """A warning says so of those files with shared layers that Keras does not load, and of no
    other."""
    inputs = keras.Input((3,))
    tied = keras.layers.Dense(3, name="tied")
    part = keras.Model(inputs, tied(inputs), name="part")
    outputs = tied(part(inputs)) if inside_first else part(tied(inputs))
    keras.Model(inputs, outputs).save(tmp_path / "model.keras")
    try:
        keras.saving.load_model(tmp_path / "model.keras")
        loads = True
    except ValueError:
        loads = False
    assert loads is not inside_first
    warnings = apply_file(tmp_path / "model.keras", dry_run=True).warnings
    assert [("in another model or wrapper" in text) for text in warnings] == (
        [] if loads else [True]
    )


def test_unsafe_references_are_refused(tmp_path):
    """What the file carrier refuses, a loader is not given either."""
    model = zoo.sequential()
    model.save(tmp_path / "m.keras")
    model.save(tmp_path / "m.h5")
    with zipfile.ZipFile(tmp_path / "m.keras") as old:
        parts = {name: old.read(name) for name in old.namelist()}
    parts["config.json"] = parts["config.json"].replace(
        b'"module": "keras.initializers"', b'"module": "keras.utils"'
    )
    parts["config.json"] = parts["config.json"].replace(b"GlorotUniform", b"get_file")
    with zipfile.ZipFile(tmp_path / "evil.keras", "w") as new:
        for name, data in parts.items():
            new.writestr(name, data)
    with h5py.File(tmp_path / "m.h5", "r+") as file:
        text = file.attrs["model_config"]
        text = text.replace("GlorotUniform", "get_file")
        file.attrs["model_config"] = text.replace("keras.initializers", "keras.utils")
    for name in ("evil.keras", "m.h5"):
        with pytest.raises(UnsafeError, match="get_file"):
            apply_through_keras(
                str(tmp_path / name), Destination(str(tmp_path / "o.keras")), recipe()
            )


def test_errors_leave_nothing_behind(models, tmp_path):
    """What cannot be opened is refused in one line, and leaves no file."""
    output = str(tmp_path / "out.keras")
    for name, fix in {
        "zoo.py": 'Write imports=["zoo"].',
        "./zoo.py": 'Write imports=["zoo"].',
        "my/zoo.py": 'Write imports=["zoo"], and set PYTHONPATH=my, where it is.',
    }.items():
        with pytest.raises(OptionError, match="a module is to be named") as caught:
            loading.import_modules([name])
        assert str(caught.value).endswith(fix)
    with pytest.raises(OptionError, match=r"'no_such_module' cannot be imported"):
        apply_through_keras("x.keras", Destination(output), recipe(), ["no_such_module"])
    with pytest.raises(SourceError, match="Lambda"):
        apply_through_keras(str(models / "a24_lambda.keras"), Destination(output), recipe())
    with pytest.raises(SourceError, match="imports="):
        apply_through_keras(
            str(models / "a09_custom_dense_subclass.keras"), Destination(output), recipe()
        )
    with pytest.raises(SourceError, match="no such file"):
        apply_through_keras(str(tmp_path / "none.keras"), Destination(output), recipe())
    with pytest.raises(SelectionError, match=r"a01_seq_plain.keras: the pattern"):
        apply_through_keras(
            str(models / "a01_seq_plain.keras"), Destination(output), recipe(only="nothing")
        )
    assert list(tmp_path.iterdir()) == []


def test_same_bytes_for_the_same_model(tmp_path):
    """Converting a file twice gives the same bytes, shared objects included."""
    source, output = str(tmp_path / "plain.keras"), str(tmp_path / "out.keras")
    zoo.frozen().save(source)
    with zipfile.ZipFile(source) as archive:
        assert b"shared_object_id" in archive.read("config.json")
    apply_through_keras(source, Destination(output), recipe())
    first = Path(output).read_bytes()
    apply_through_keras(source, Destination(output, force=True), recipe())
    assert Path(output).read_bytes() == first


def test_own_kind_sample():
    """The sample with a layer class of one's own runs, in memory as on a file."""
    command = [sys.executable, SAMPLES / "own_kind.py"]
    done = warm.run(command, modules=warm.TENSORFLOW, capture_output=True, text=True, check=True)
    assert "Affine -> own_kind>SpectralAffine" in done.stdout
    assert done.stdout.count("now 1.0000") == 2
    assert "the same outputs: True" in done.stdout
