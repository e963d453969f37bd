"""Which models are meant, and where their results go."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from snconvert.cli import models
from snconvert.errors import OptionError, OutputError


@pytest.mark.parametrize(
    ("verb", "names"),
    [
        ("apply", ["x.keras"]),
        ("bake", ["x-sn.keras", "x.keras"]),
        ("inspect", ["x-baked.keras", "x-sn.keras", "x.keras"]),
    ],
)
def test_results_of_an_earlier_run(verb: str, names: list[str], tmp_path: Path) -> None:
    """They are no input of the verb that makes them; who only looks sees all files."""
    for name in ("x.keras", "x-sn.keras", "x-baked.keras"):
        (tmp_path / name).touch()
    for argument in (tmp_path, tmp_path / "*.keras"):
        found = models.expand([str(argument)], verb)
        assert [Path(path).name for path in found] == names


def test_two_of_one_name_that_nothing_tells_apart(tmp_path: Path) -> None:
    """Both are named."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    sources = [str(tmp_path / name / "m.h5") for name in ("a", "b")]
    with pytest.raises(OptionError) as caught:
        models.outputs(sources, str(tmp_path))
    assert all(source in str(caught.value) for source in sources)


def test_names_do_not_hang_on_the_order() -> None:
    """Each of two HDF5 files of one name keeps its suffix."""
    sources = ["m.hdf5", "m.weights.h5", "n.h5", "n.keras"]
    names = ["m-hdf5-sn.keras", "m-weights-h5-sn.keras", "n-h5-sn.keras", "n-sn.keras"]
    assert models.outputs(sources, None) == names
    assert models.outputs(sources[::-1], None) == names[::-1]


def test_a_file_is_no_folder_for_results(tmp_path: Path) -> None:
    """Nor is a folder made that is named like one; any other name is that of a folder to make."""
    there = tmp_path / "there"
    there.touch()
    with pytest.raises(
        OptionError, match=r"several models are written to a folder, and '.*there' is"
    ):
        models.outputs(["a.keras", "b.keras"], str(there))
    with pytest.raises(OptionError, match=r"out\.keras' names a file"):
        models.outputs(["a.keras", "b.keras"], str(tmp_path / "out.keras"))
    new = str(tmp_path / "out")
    assert models.outputs(["a.keras"], new) == [os.path.join(new, "a-sn.keras")]


def test_a_folder_that_is_made(tmp_path: Path) -> None:
    """It stays with what is in it; without, it goes again, and what was made above it."""
    inner = tmp_path / "a" / "b"
    with models.made(str(inner)):
        assert inner.is_dir()
    assert os.listdir(tmp_path) == []
    for _ in range(2):
        with models.made(str(inner)):
            (inner / "x").touch()
    assert os.listdir(inner) == ["x"]
    (inner / "x").unlink()
    with models.made(str(inner)), models.made(None):
        pass
    assert inner.is_dir()  # it was there before
    (inner / "y").touch()
    with (
        pytest.raises(OutputError, match="x: the output cannot be written"),
        models.made(str(inner / "y" / "x")),
    ):
        pass


def test_the_size_of_a_model(tmp_path: Path) -> None:
    """All files of a folder; nothing of what cannot be seen."""
    (tmp_path / "a").mkdir()
    for name in ("a/one", "two"):
        (tmp_path / name).write_bytes(bytes(1000))
    assert models.size_of(str(tmp_path / "two")) == 1000
    assert models.size_of(str(tmp_path)) == 2000
    assert models.size_of(str(tmp_path / "none")) == 0
