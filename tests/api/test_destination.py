"""Where the result of one model goes: also into a folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from places import SAMPLES

import snconvert as package
from snconvert.api.destination import is_place

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def moons(tmp_path: Path) -> Path:
    return Path(shutil.copy(SAMPLES / "moons.keras", tmp_path / "moons.keras"))


def unzipped(model: Path) -> Path:
    """Returns the folder with the members of a model."""
    folder = model.with_name("unzipped")
    with zipfile.ZipFile(model) as archive:
        archive.extractall(folder)
    return folder


def test_a_place(moons: Path) -> None:
    """A folder that is there or a slash at the end, but no model, and not of one in a folder."""
    model, place = unzipped(moons), moons.parent
    assert is_place(place, moons)
    assert is_place(f"{place}/new/", moons)
    assert not is_place(place / "new", moons)
    assert not is_place(model, moons)
    assert not is_place(place, model)


def test_one_model_goes_into_a_folder(snconvert: Run, moons: Path) -> None:
    """As several do: the folder is made, and a second run finds what is done."""
    first = snconvert("apply", "moons.keras", "-o", "out/", cwd=moons.parent)
    assert first.returncode == 0, first.stderr
    assert os.listdir(moons.parent / "out") == ["moons-sn.keras"]
    again = snconvert("apply", "moons.keras", "-o", "out", cwd=moons.parent)
    assert "already converted" in again.stdout
    back = snconvert("remove", "out/moons-sn.keras", "-o", "back/", cwd=moons.parent)
    assert back.returncode == 0, back.stderr
    assert os.listdir(moons.parent / "back") == ["moons-sn-plain.keras"]
    failed = snconvert("remove", "moons.keras", "-o", "none/", cwd=moons.parent)
    assert failed.returncode == 1
    assert not (moons.parent / "none").exists()


def test_a_slash_behind_a_file(snconvert: Run, moons: Path) -> None:
    """Is an error that says so; a name like that of a file is no obstacle behind a slash."""
    refused = snconvert("apply", moons, "-o", f"{moons}/")
    assert refused.returncode == 2
    assert f"means a folder, and '{moons}' is a file. Leave out the slash" in refused.stderr
    made = snconvert("apply", "moons.keras", "-o", "new.keras/", cwd=moons.parent)
    assert made.returncode == 0, made.stderr
    assert (moons.parent / "new.keras" / "moons-sn.keras").is_file()


def test_the_folder_of_a_model_stays_its_name(moons: Path) -> None:
    """What is unzipped has a folder as its result, and none that is a model is a place."""
    model = unzipped(moons)
    report = package.apply_file(model, f"{model.parent}/new/")
    assert report.output == f"{model.parent}/new/"
    assert (moons.parent / "new" / "config.json").is_file()
    with pytest.raises(package.SnconvertError, match="the output is a folder"):
        package.apply_file(moons, model, force=True)


def test_in_python(moons: Path) -> None:
    """A folder that is there takes the result."""
    folder = moons.parent / "out"
    folder.mkdir()
    report = package.apply_file(moons, folder)
    assert report.output == str(folder / "moons-sn.keras")
