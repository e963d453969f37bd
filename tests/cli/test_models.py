"""Working on several models at once."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest

from snconvert.cli import models
from snconvert.core.report import Report
from snconvert.errors import OptionError, SnconvertError, SourceError


def _report(source: str) -> Report:
    return Report(source, None, "layer", "hard", 1.0, "matrix", (), 0, 0.0, 0.0)


def _slow(source: str, _target: str | None) -> Report:
    """Leaves `source.begun`, and while it works, `source.open`, as a temp file would be."""
    Path(source + ".begun").touch()
    place = Path(source + ".open")
    place.touch()
    try:
        time.sleep(0.2)
    finally:
        place.unlink()
    return _report(source)


def _dies(source: str, _target: str | None) -> Report:
    if source.endswith("1"):
        os.kill(os.getpid(), signal.SIGKILL)
    return _report(source)


def _fails(source: str, _target: str | None) -> Report:
    if source.endswith("1"):
        raise SourceError("it is damaged", file=source)
    return _report(source)


def _is_wrong(source: str, _target: str | None) -> Report:
    raise KeyError(source)


@pytest.mark.parametrize("jobs", [1, 2, 9])
def test_every_outcome_comes_with_its_index(jobs: int) -> None:
    """Whatever the order in which they end; a failure is an outcome like another."""
    names = [f"model{i}" for i in range(5)]
    found = dict(models.run(_fails, names, [None] * 5, jobs))
    assert sorted(found) == list(range(5))
    for index, outcome in found.items():
        assert isinstance(outcome, SnconvertError) == (index == 1)
        assert isinstance(outcome, SnconvertError) or outcome.source == names[index]


def test_a_job_that_dies_stops_no_other() -> None:
    """It is one error that says how it died; all others are done."""
    names = [f"model{i}" for i in range(5)]
    found = dict(models.run(_dies, names, [None] * 5, 2))
    died = found.pop(1)
    assert str(died) == "model1: the process that worked on it died (SIGKILL). Run it alone."
    assert [found[i].source for i in sorted(found)] == ["model0", "model2", "model3", "model4"]


def test_a_bug_is_raised() -> None:
    """With where it was, which is in another process."""
    with pytest.raises(KeyError, match="model0") as caught:
        list(models.run(_is_wrong, ["model0"], [None], 2))
    assert "_is_wrong" in "".join(caught.value.__notes__)


def test_an_early_end_is_the_end_of_all(tmp_path: Path) -> None:
    """What runs cleans up and ends; nothing else is begun, and no process is left."""
    names = [str(tmp_path / f"model{i}") for i in range(12)]
    outcomes = models.run(_slow, names, [None] * 12, 3)
    next(outcomes)
    started = time.monotonic()
    outcomes.close()
    assert time.monotonic() - started < 5
    time.sleep(0.5)
    assert len(list(tmp_path.glob("*.begun"))) <= 3
    assert list(tmp_path.glob("*.open")) == []
    assert multiprocessing.active_children() == []


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
