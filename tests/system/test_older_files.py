"""What older versions of Keras saved, as people meet it: commands, folders, hostile files."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import pytest
from places import MODELS

import snconvert as package
from snconvert.errors import SnconvertError, SourceError, UnsafeError
from snconvert.formats import hdf5_model, table
from snconvert.formats.table import open_model

SAVED = "saved by Keras 2.15.0 as a whole model in HDF5"


@pytest.fixture
def older(tmp_path: Path) -> Path:
    """A whole model in HDF5."""
    return Path(shutil.copy(MODELS / "k215_seq.h5", tmp_path / "net.h5"))


def test_it_is_converted_like_any_model(older: Path, snconvert: Any) -> None:
    """Without a flag, and what it was is the one thing more that is said."""
    done = snconvert("apply", older, "--verify")
    assert done.returncode == 0
    assert done.stderr == f"warning: {older}: {SAVED}\n"
    assert "2 layers converted, 1 left as it was" in done.stdout
    out = older.with_name("net-sn.keras")
    assert f"wrote {out}" in done.stdout
    assert snconvert("verify", older, out).returncode == 0
    assert snconvert("remove", out).returncode == 0


def test_upgrade(older: Path, snconvert: Any) -> None:
    """It says what was written, and no table of layers unless that is asked for."""
    done = snconvert("upgrade", older)
    assert done.returncode == 0
    assert done.stdout.splitlines()[0] == f"{older}: 3 layers as they were"
    assert done.stdout.splitlines()[1].startswith(f"wrote {older.with_name('net-keras3.keras')} (")
    again = snconvert("upgrade", older)
    assert again.returncode == 0
    assert again.stdout.splitlines()[0] == f"{older}: already upgraded"
    older.with_name("net-keras3.keras").write_text("mine")
    again = snconvert("upgrade", older)
    assert (again.returncode, again.stdout) == (1, "")
    assert "it exists already" in again.stderr
    verbose = snconvert("upgrade", older, "--force", "-v")
    assert len(verbose.stdout.splitlines()) == 6
    dry = snconvert("upgrade", older, "--dry-run")
    assert "3 layers as they were; nothing was written" in dry.stdout
    report = json.loads(snconvert("upgrade", older, "--force", "--json").stdout)
    assert [layer["status"] for layer in report["layers"]] == ["skipped"] * 3
    assert (report["target"], report["mode"], report["converted"]) == ("none", "none", 0)
    nothing = snconvert("upgrade", older.with_name("net-keras3.keras"))
    assert nothing.returncode == 1
    assert "nothing to upgrade" in nothing.stderr


def test_a_folder_of_models(tmp_path: Path, snconvert: Any) -> None:
    """HDF5 files in it are models, but weights alone are not, nor are earlier results."""
    shutil.copy(MODELS / "k215_seq.h5", tmp_path / "a.h5")
    shutil.copy(MODELS / "k2.12.0_seq.keras", tmp_path / "b.keras")
    shutil.copy(MODELS / "a01_seq_plain.keras", tmp_path / "c.keras")
    (tmp_path / "d.weights.h5").write_bytes(b"")
    done = snconvert("apply", tmp_path, "--jobs", 2)
    assert done.returncode == 0, done.stderr
    assert {path.name for path in tmp_path.glob("*-sn.keras")} == {
        "a-sn.keras",
        "b-sn.keras",
        "c-sn.keras",
    }
    done = snconvert("upgrade", tmp_path / "*.h5", tmp_path / "b.keras")
    assert done.returncode == 1  # the weights alone, which the pattern names
    assert done.stderr.count("error: ") == 1
    assert (tmp_path / "b-keras3.keras").exists()


def test_two_models_of_one_name(tmp_path: Path, snconvert: Any) -> None:
    """Their results would have one name, too: that of the HDF5 file keeps its suffix."""
    shutil.copy(MODELS / "k215_seq.h5", tmp_path / "a.h5")
    shutil.copy(MODELS / "a01_seq_plain.keras", tmp_path / "a.keras")
    for flags in ([], ["--force"]):  # the second time beside the results of the first
        done = snconvert("apply", tmp_path, *flags)
        assert done.returncode == 0, done.stderr
        names = {path.name for path in tmp_path.glob("*-sn.keras")}
        assert names == {"a-sn.keras", "a-h5-sn.keras"}
        assert package.verify(tmp_path / "a.h5", tmp_path / "a-h5-sn.keras")
        assert package.verify(tmp_path / "a.keras", tmp_path / "a-sn.keras")


def test_a_folder_with_models_of_keras_3(older: Path, snconvert: Any) -> None:
    """`upgrade` passes over them, and says so; named by itself, such a model is an error."""
    shutil.copy(MODELS / "a01_seq_plain.keras", older.with_name("other.keras"))
    other = str(older.with_name("other.keras"))
    for jobs in (1, 2):
        done = snconvert("upgrade", older.parent, "--json", "--force", "--jobs", jobs)
        assert done.returncode == 0, done.stderr
        passed = [x for x in map(json.loads, done.stdout.splitlines()) if "layers" not in x]
        assert [x["source"] for x in passed] == [other]
        assert passed[0]["skipped"].startswith("there is nothing to upgrade")
        sources = {json.loads(line)["source"] for line in done.stdout.splitlines()}
        assert sources == {other, str(older)}
    assert snconvert("upgrade", older.parent, "--force", "-q").stderr == ""
    named = snconvert("upgrade", older.with_name("other.keras"))
    assert named.returncode == 1
    assert "error: " in named.stderr


def test_wrong_usage(older: Path, snconvert: Any) -> None:
    """A configuration beside a model that has one, for every command that takes it."""
    given = older.with_name("net.json")
    given.write_text("{}")
    for command in (["apply"], ["inspect"], ["upgrade"], ["remove"], ["bake"]):
        done = snconvert(*command, older, "--config", given)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith(f"error: {older}: the model has a configuration of its own")
    done = snconvert("verify", older, older, "--config", given)
    assert done.returncode == 2
    missing = snconvert("apply", older, "--config", older.with_name("none.json"))
    assert missing.returncode == 1
    assert missing.stderr.startswith(f"error: {older.with_name('none.json')}: there is no such")
    assert snconvert("apply", older, "--in-place").returncode == 1
    for flags in ([], ["--force"]):
        over = snconvert("apply", older, "-o", older, *flags)
        assert (over.returncode, over.stdout) == (1, "")
        says = f"error: {older}: the output is the input itself. Choose another output.\n"
        assert over.stderr == says


def changed(older: Path, name: str, change: Callable[[Any], Any]) -> Path:
    """Rewrites one of the configurations that stand in the attributes."""
    with h5py.File(older, "r+") as file:
        file.attrs[name] = json.dumps(change(json.loads(file.attrs[name])))
    return older


def hostile_loss(config: Any) -> Any:
    return {**config, "loss": {"module": "os", "class_name": "function", "config": "system"}}


def hostile_layer(config: Any) -> Any:
    initializer = {"module": "keras.utils", "class_name": "get_file", "config": {}}
    config["config"]["layers"][1]["config"]["kernel_initializer"] = initializer
    return config


def hostile_extra(config: Any) -> Any:
    """Something that no translation looks at."""
    return {**config, "beside": {"module": "os", "class_name": "system", "config": {}}}


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("training_config", hostile_loss),
        ("training_config", hostile_extra),
        ("model_config", hostile_layer),
        ("model_config", hostile_extra),
    ],
)
def test_what_no_model_needs_is_refused(name: str, change: Any, older: Path) -> None:
    """Wherever it stands, and whether or not the translation would drop it."""
    with pytest.raises(UnsafeError):
        package.inspect(changed(older, name, change))


@pytest.mark.parametrize("text", ["", "[]", "{", "null", '{"a": 1, "a": 2}', "[" * 5000])
@pytest.mark.parametrize("name", ["model_config", "training_config"])
def test_what_is_no_configuration(name: str, text: str, older: Path) -> None:
    """It is refused in one line, or a training that means nothing is not taken over."""
    with h5py.File(older, "r+") as file:
        file.attrs[name] = text
    said = ""
    try:
        package.upgrade_file(older)
    except SnconvertError as error:
        said = str(error)
    assert said.startswith(f"{older}: ") or (not said and name == "training_config")
    assert "\n" not in said


def test_attributes_that_hang_or_crash(older: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What an attribute does to HDF5 is one line, too."""
    for how, what in (("crash", "crashed"), ("hang", "did not finish")):
        monkeypatch.setattr(hdf5_model, "_READ_ATTRIBUTES", f"hdf5_faults:{how}")
        monkeypatch.setattr(hdf5_model, "_SECONDS", 1.0)
        with pytest.raises(SourceError, match=what):
            package.inspect(older)


@pytest.mark.parametrize("how", ["touched", "replaced", "removed"])
def test_a_file_that_changes_meanwhile(how: str, older: Path) -> None:
    """It has no checksum by which it could be known again: any change is refused."""
    with open_model(older) as source:
        source.check_unchanged()
        if how == "touched":
            older.chmod(0o600)
        elif how == "replaced":
            data = older.read_bytes()
            older.unlink()
            older.write_bytes(data)
        else:
            older.unlink()
        with pytest.raises(SourceError, match="was changed, replaced or removed"):
            source.check_unchanged()


def test_nothing_is_left_open(older: Path) -> None:
    """Neither a file nor a process, whether it was read or refused."""
    before = os.listdir("/proc/self/fd")
    for path in (older, MODELS / "k2.13.1_seq.keras"):
        with open_model(path):
            pass
    with h5py.File(older, "r+") as file:
        del file.attrs["model_config"]
    with pytest.raises(SourceError, match="weights only"):
        open_model(older)
    assert len(os.listdir("/proc/self/fd")) == len(before)
    assert table.FORMATS["hdf5_model"].older
