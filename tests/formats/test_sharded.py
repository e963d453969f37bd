"""Weights in several files: what the map may say, and that it follows the weights."""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
from places import DATA
from shards import spread

import snconvert
from snconvert.errors import OutputError, SourceError
from snconvert.formats.table import open_model

MODEL = DATA / "models" / "a18_assets.keras"
MAP = "model.weights.json"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model whose kernels and biases are in two files."""
    return spread(unzipped(tmp_path / "in"))


def unzipped(folder: Path) -> Path:
    """Unzips the model to a folder."""
    with zipfile.ZipFile(MODEL) as archive:
        archive.extractall(folder)
    return folder


def arrays(folder: Path) -> dict[str, np.ndarray]:
    """Returns all arrays by path, each read as Keras does: from the files that the map names."""
    found = {}
    for group, files in json.loads((folder / MAP).read_text())["weight_map"].items():
        for file in [files] if isinstance(files, str) else files:
            with h5py.File(folder / file) as shard:
                found |= {f"{group[1:]}/{name}": x[()] for name, x in shard[group].items()}
    return found


@pytest.mark.parametrize("target", ["layer", "keras"])
def test_the_result_is_that_of_one_file(target: str, folder: Path, tmp_path: Path) -> None:
    """Groups, arrays and the configuration are those of the same model in one file; what is new is
    in the map; and undone, the map is that of the input."""
    options = {"target": target, "force": True}
    snconvert.apply_file(unzipped(tmp_path / "whole"), tmp_path / "one", **options)
    snconvert.apply_file(folder, tmp_path / "two", **options, verify=True)
    expected = {}
    with h5py.File(tmp_path / "one" / "model.weights.h5") as whole:
        whole.visititems(
            lambda path, x: expected.update({path: x[()]}) if isinstance(x, h5py.Dataset) else None
        )
    found = arrays(tmp_path / "two")
    assert found.keys() == expected.keys() != arrays(folder).keys()
    assert all(np.array_equal(found[path], expected[path]) for path in found)
    text = [(tmp_path / name / "config.json").read_bytes() for name in ("one", "two")]
    assert text[0] == text[1]
    total = json.loads((tmp_path / "two" / MAP).read_text())["metadata"]["total_size"]
    assert total == sum(array.nbytes for array in found.values())
    snconvert.remove_file(tmp_path / "two", tmp_path / "back")
    assert (tmp_path / "back" / MAP).read_bytes() == (folder / MAP).read_bytes()
    assert not snconvert.verify(folder, tmp_path / "back").changes or target == "keras"


def test_the_same_bytes_each_time(folder: Path, tmp_path: Path) -> None:
    """A folder of the same name and the same input gives the same bytes, at another time too."""
    first, second = tmp_path / "a", tmp_path / "b"
    for out in (first, second):
        snconvert.apply_file(folder, out)
    for path in filter(Path.is_file, first.rglob("*")):
        assert path.read_bytes() == (second / path.relative_to(first)).read_bytes(), path


def test_an_output_is_replaced_as_a_whole(folder: Path, tmp_path: Path) -> None:
    """With `force` only, and not where something else lies in the folder."""
    out = tmp_path / "out"
    snconvert.apply_file(folder, out)
    with pytest.raises(OutputError, match="exists already"):
        snconvert.apply_file(folder, out, bound=2.0)
    snconvert.apply_file(folder, out, bound=2.0, force=True)
    (out / "diary.txt").touch()
    with pytest.raises(OutputError, match=r"other files as well \(diary.txt\)"):
        snconvert.apply_file(folder, out, force=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "out"]


def test_a_configuration_beside_the_weights(folder: Path, tmp_path: Path) -> None:
    """Weights in a folder without one take it from `config`; else the error says so."""
    (folder / "config.json").rename(tmp_path / "given.json")
    with pytest.raises(SourceError, match=r"without config.json.* with config"):
        open_model(folder)
    report = snconvert.apply_file(folder, tmp_path / "out", config=tmp_path / "given.json")
    assert report.converted
    assert (tmp_path / "out" / "config.json").exists()


def change(folder: Path, edit) -> None:
    """Edits the map of a folder."""
    tree = json.loads((folder / MAP).read_text())
    edit(tree["weight_map"], next(iter(tree["weight_map"])))
    (folder / MAP).write_text(json.dumps(tree))


def link(folder: Path, name: str) -> None:
    """Replaces a shard by a link to where it has gone."""
    (folder / name).rename(folder.parent / "elsewhere.weights.h5")
    (folder / name).symlink_to(folder.parent / "elsewhere.weights.h5")


FIRST, SECOND = "model_00000.weights.h5", "model_00001.weights.h5"
HOSTILE = {
    "above": (lambda f: change(f, lambda m, k: m.update({k: f"../{FIRST}"})), "not the name"),
    "absolute": (lambda f: change(f, lambda m, k: m.update({k: "/etc/x.weights.h5"})), "not the n"),
    "drive": (lambda f: change(f, lambda m, k: m.update({k: "c:x.weights.h5"})), "not the name"),
    "no text": (lambda f: change(f, lambda m, k: m.update({k: [[]]})), "not the name of a file"),
    "empty": (lambda f: change(f, lambda m, k: m.update({k: []})), "not the name of a file"),
    "config": (lambda f: change(f, lambda m, k: m.update({k: "config.json"})), "not the name of"),
    "missing": (lambda f: (f / SECOND).unlink(), f"no {SECOND}"),
    "other key": (lambda f: change(f, lambda m, k: m.update({k[1:]: FIRST})), "no group of var"),
    "not there": (lambda f: change(f, lambda m, _: m.update({"/a/vars": SECOND})), "holds no var"),
    "not said": (lambda f: change(f, lambda m, k: m.pop(k)), "which model.weights.json does not"),
    "two names": (
        lambda f: ((f / SECOND).unlink(), os.link(f / FIRST, f / SECOND)),
        "one file under two names",
    ),
    "twice": (lambda f: shutil.copy(f / FIRST, f / SECOND), "is both in|holds"),
    "link": (lambda f: link(f, SECOND), f"{SECOND} in the folder is a link"),
    "no hdf5": (lambda f: (f / SECOND).write_bytes(b"PK"), f"{SECOND} is not an HDF5 file"),
    "damaged": (
        lambda f: (f / SECOND).write_bytes((f / SECOND).read_bytes()[:900]),
        f"in {SECOND}, the HDF5 structure is damaged",
    ),
    "rival": (lambda f: shutil.copy(f / FIRST, f / "model.weights.h5"), "which weights are the"),
    "rival map": (lambda f: shutil.copy(f / MAP, f / "a.weights.json"), "which weights are the"),
    "no map": (lambda f: (f / MAP).write_text("[]"), "no map of sharded weights"),
    "no shard": (lambda f: (f / MAP).write_text('{"weight_map": {}}'), "no files of weights"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_map_that_lies(name: str, folder: Path, tmp_path: Path) -> None:
    """One clear line says what is wrong and where, and nothing is written."""
    spoil, message = HOSTILE[name]
    spoil(folder)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(SourceError, match=message):
        snconvert.apply_file(folder, tmp_path / "out")
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(("count", "message"), [(99, "holds no"), (101, "limit is 100")])
def test_many_files(count: int, message: str, tmp_path: Path) -> None:
    """A hundred files are read, no more."""
    folder = spread(unzipped(tmp_path / "in"))
    for i in range(count):
        shutil.copy(folder / FIRST, folder / f"{i}.weights.h5")
    tree = {"weight_map": {f"/a{i}/vars": f"{i}.weights.h5" for i in range(count)}}
    (folder / MAP).write_text(json.dumps(tree))
    with pytest.raises(SourceError, match=message):
        open_model(folder)
