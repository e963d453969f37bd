"""Working on several models at once."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest

from snconvert.cli import batch
from snconvert.core.report import OnProgress, Progress, Report
from snconvert.errors import SnconvertError, SourceError
from snconvert.sandbox.ticker import Ticker


def _report(source: str) -> Report:
    return Report(source, None, "layer", "hard", 1.0, "matrix", (), 0, 0.0, 0.0)


def _slow(source: str, _target: str | None, _: OnProgress) -> Report:
    """Leaves `source.begun`, and while it works, `source.open`, as a temp file would be."""
    Path(source + ".begun").touch()
    place = Path(source + ".open")
    place.touch()
    try:
        time.sleep(0.2)
    finally:
        place.unlink()
    return _report(source)


def _dies(source: str, _target: str | None, _: OnProgress) -> Report:
    if source.endswith("1"):
        os.kill(os.getpid(), signal.SIGKILL)
    return _report(source)


def _fails(source: str, _target: str | None, _: OnProgress) -> Report:
    if source.endswith("1"):
        raise SourceError("it is damaged", file=source)
    return _report(source)


def _is_wrong(source: str, _target: str | None, _: OnProgress) -> Report:
    raise KeyError(source)


@pytest.mark.parametrize("jobs", [1, 2, 9])
def test_every_outcome_comes_with_its_index(jobs: int) -> None:
    """Whatever the order in which they end; a failure is an outcome like another."""
    names = [f"model{i}" for i in range(5)]
    found = dict(batch.run(_fails, names, [None] * 5, jobs))
    assert sorted(found) == list(range(5))
    for index, outcome in found.items():
        assert isinstance(outcome, SnconvertError) == (index == 1)
        assert isinstance(outcome, SnconvertError) or outcome.source == names[index]


def test_a_job_that_dies_stops_no_other() -> None:
    """It is one error that says how it died; all others are done."""
    names = [f"model{i}" for i in range(5)]
    found = dict(batch.run(_dies, names, [None] * 5, 2))
    died = found.pop(1)
    assert str(died) == "model1: the process that worked on it died (SIGKILL). Run it alone."
    assert [found[i].source for i in sorted(found)] == ["model0", "model2", "model3", "model4"]


def _is_in(source: str, _target: str | None, _: OnProgress) -> Report:
    time.sleep(0.01)
    return _report(f"{source} in {os.getpid()}")


def test_a_process_takes_one_model_after_the_other() -> None:
    """What it has imported serves all of them."""
    names = [f"model{i}" for i in range(20)]
    found = [outcome for _, outcome in batch.run(_is_in, names, [None] * 20, 2)]
    places = {outcome.source.split()[-1] for outcome in found if isinstance(outcome, Report)}
    assert len(found) == 20
    assert len(places) == 2
    assert str(os.getpid()) not in places


def _is_left_alone(source: str, _target: str | None, _: OnProgress) -> Report:
    """Leaves the number of its process, and has the parent die while it works."""
    Path(source).write_text(str(os.getpid()))
    begun = Path(source).parent
    while len(list(begun.iterdir())) < 3:
        time.sleep(0.01)
    if source.endswith("0"):
        os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(0.1)
    return _report(source)


def test_no_process_is_left_when_the_parent_is_killed(tmp_path: Path) -> None:
    """Each ends when its model is done, and begins no other."""
    names = [str(tmp_path / f"model{i}") for i in range(9)]
    parent = multiprocessing.get_context("fork").Process(
        target=lambda: list(batch.run(_is_left_alone, names, [None] * 9, 3))
    )
    parent.start()
    parent.join(20)
    assert parent.exitcode == -signal.SIGKILL
    begun = [int(path.read_text()) for path in tmp_path.iterdir()]
    deadline = time.monotonic() + 20
    while any(Path(f"/proc/{number}").exists() for number in begun):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert len(list(tmp_path.iterdir())) == 3


def test_a_bug_is_raised() -> None:
    """With where it was, which is in another process."""
    with pytest.raises(KeyError, match="model0") as caught:
        list(batch.run(_is_wrong, ["model0"], [None], 2))
    assert "_is_wrong" in "".join(caught.value.__notes__)


def test_an_early_end_is_the_end_of_all(tmp_path: Path) -> None:
    """What runs cleans up and ends; nothing else is begun, and no process is left."""
    names = [str(tmp_path / f"model{i}") for i in range(12)]
    outcomes = batch.run(_slow, names, [None] * 12, 3)
    next(outcomes)
    started = time.monotonic()
    outcomes.close()
    assert time.monotonic() - started < 5
    time.sleep(0.5)
    assert len(list(tmp_path.glob("*.begun"))) <= 1 + 3  # what is done, and what ran
    assert list(tmp_path.glob("*.open")) == []
    assert multiprocessing.active_children() == []


def _tells(source: str, _target: str | None, progress: OnProgress) -> Report:
    assert progress is not None
    for done in range(3):
        progress(Progress("sigma", source, done, 2))
    return _report(source)


@pytest.mark.parametrize("jobs", [1, 2])
def test_progress_comes_with_the_place_of_its_model(jobs: int) -> None:
    """In its order, and before the model's outcome; also beside a thread that draws."""
    told: list[tuple[int, Progress]] = []
    ticker = Ticker(lambda: None, 0.0, 0.001)
    ticker.start()
    names = [f"model{i}" for i in range(4)]
    for index, outcome in batch.run(_tells, names, [None] * 4, jobs, lambda *x: told.append(x)):
        assert isinstance(outcome, Report)
        assert [done for place, done in told if place == index] == [
            Progress("sigma", names[index], done, 2) for done in range(3)
        ]
    ticker.stop()
    assert len(told) == 12
