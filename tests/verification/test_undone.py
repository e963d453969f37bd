"""What an earlier `bake` or `remove` has made is left; nothing else is taken for it."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from places import SAMPLES

import snconvert as package
from snconvert.errors import OutputError

Run = Callable[..., "subprocess.CompletedProcess[str]"]
WAYS: dict[str, Any] = {"bake": package.bake_file, "remove": package.remove_file}


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, and what becomes of it."""
    folder = tmp_path_factory.mktemp("undone")
    shutil.copy(SAMPLES / "moons.keras", folder / "m.keras")
    for target in ("layer", "keras", "constraint"):
        package.apply_file(folder / "m.keras", folder / f"{target}.keras", target=target)
    return folder


@pytest.mark.parametrize("target", ["layer", "keras", "constraint"])
@pytest.mark.parametrize("way", WAYS)
def test_a_rerun_writes_nothing(way: str, target: str, places: Path) -> None:
    """The report says the same, and that nothing was done; with other options it is an error."""
    source, out = places / f"{target}.keras", places / f"{target}-{way}.keras"
    first = WAYS[way](source, out)
    written, when = out.read_bytes(), out.stat().st_mtime_ns
    again = WAYS[way](source, out)
    assert (first.up_to_date, again.up_to_date) == (False, True)
    assert again.layers == first.layers
    for name in ("output", "bytes", "warnings", "needs", "loads", "mode", "bound", "target"):
        assert getattr(again, name) == getattr(first, name), name
    with pytest.raises(OutputError, match="it exists already, but it is not what is made now"):
        WAYS[way](source, out, only="block_0")
    assert (out.read_bytes(), out.stat().st_mtime_ns) == (written, when)


def test_what_is_something_else(places: Path, tmp_path: Path) -> None:
    """The other way's result, one of another model, or no model is not taken for a result."""
    source, out = places / "layer.keras", tmp_path / "out.keras"
    package.bake_file(source, out)
    with pytest.raises(OutputError, match="as bake leaves it, and others as remove"):
        package.remove_file(source, out)
    shutil.copy(source, out)
    with pytest.raises(OutputError, match="plain in one of them only"):
        package.remove_file(source, out)
    out.write_text("mine")
    with pytest.raises(OutputError, match="but this is not a zip archive"):
        package.bake_file(source, out)
    assert out.read_text() == "mine"
    with pytest.raises(OutputError, match="the output is the input itself"):
        package.bake_file(source, source)


@pytest.mark.parametrize(("way", "number"), [("bake", 0), ("remove", 1)])
def test_a_bit_that_is_another(way: str, number: int, places: Path, tmp_path: Path) -> None:
    """It is not what is made now: neither in a kernel, nor in a bias, which is carried over."""
    source, out, path = places / "layer.keras", tmp_path / "x", f"layers/dense/vars/{number}"
    WAYS[way](source, out)
    with zipfile.ZipFile(out) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    stored = io.BytesIO(members["model.weights.h5"])
    with h5py.File(stored, "r+") as file:
        numbers = file[path][()]
        numbers.flat[0] = np.nextafter(numbers.flat[0], np.float32(9))
        file[path][...] = numbers
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in (members | {"model.weights.h5": stored.getvalue()}).items():
            archive.writestr(name, data)
    with pytest.raises(OutputError, match=f"it is not what is made now: stem: {path}: 1 of "):
        WAYS[way](source, out)


def test_reruns_of_several(snconvert: Run, places: Path, tmp_path: Path) -> None:
    """Each is left as it is, and says so: to people, and in JSON."""
    command = ["bake", places / "layer.keras", places / "keras.keras", "-o", tmp_path / "out"]
    assert snconvert(*command).returncode == 0
    again = snconvert(*command)
    assert (again.returncode, again.stderr) == (0, "")
    assert again.stdout.splitlines()[-1].startswith("2 already baked; nothing was written")
    shapes = [json.loads(line) for line in snconvert(*command, "--json").stdout.splitlines()]
    assert [shape["up_to_date"] for shape in shapes] == [True, True]


@pytest.mark.parametrize("verb", ["apply", "bake"])
def test_in_place(verb: str, snconvert: Run, places: Path, tmp_path: Path) -> None:
    """One that is done is left, as among several; elsewhere there is nothing to do, an error."""
    name = "layer.keras" if verb == "apply" else "m.keras"
    model = Path(shutil.copy(places / name, tmp_path / "x.keras"))
    before = model.read_bytes()
    done = snconvert(verb, model, "--in-place")
    assert (done.returncode, done.stderr) == (0, "")
    what = "converted" if verb == "apply" else "plain"
    assert done.stdout == f"{model}: already {what}; left as it is\n"
    for models in ([model], [model, shutil.copy(model, tmp_path / "y.keras")]):
        told = snconvert(verb, *models, "--in-place", "--json")
        shapes = [json.loads(line) for line in told.stdout.splitlines()]
        assert (told.returncode, told.stderr) == (0, "")
        assert [shape["source"] for shape in shapes] == [str(each) for each in models]
        assert all("nothing " in shape["skipped"] for shape in shapes)
    assert model.read_bytes() == before
    assert snconvert(verb, model).returncode == 1
    if verb == "apply":
        other = snconvert(verb, model, "--in-place", "--mode", "cap")
        assert other.returncode == 1
        assert "with mode hard, not cap" in other.stderr
