"""The progress bar: what it says, that it fits, and that it comes by itself."""

from __future__ import annotations

import itertools
import os
import re
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pseudo_terminal
import pytest
from places import SAMPLES

import snconvert
from snconvert.cli import progress
from snconvert.cli.columns import ASCII, UNICODE, Marks
from snconvert.cli.progress import ProgressBar, View, drawn, progress_bar
from snconvert.core.report import Progress
from snconvert.live.quiet import quiet_start
from snconvert.sandbox.ticker import Ticker
from snconvert.sandbox.worker import Worker

LONG = "a/layer/with/a/rather/long/path/dense_1"


@contextmanager
def bar(
    patch: pytest.MonkeyPatch, ours_theirs: tuple[int, int], **options: object
) -> Iterator[ProgressBar]:
    """A bar that appears soon on a terminal."""
    patch.setattr(progress, "PATIENCE", 0.02)
    patch.setattr(progress, "_BEAT", 0.02)
    stream = open(os.dup(ours_theirs[1]), "w", encoding="utf-8")  # noqa: SIM115 -- the bar closes it
    with ProgressBar(stream, **options) as shown:  # type: ignore[arg-type]
        yield shown


def waited_for(ours: int, what: str) -> str:
    """Returns all that arrives until something is in it."""
    text = ""
    for _ in range(500):
        text += pseudo_terminal.arrived(ours, 0.01)
        if what in text:
            return text
    raise AssertionError(f"{what!r} is not in {text!r}")


def test_it_comes_while_the_work_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody needs to call it: it says that the file is read, and goes without a trace."""
    with pseudo_terminal.terminal() as ends:
        with bar(monkeypatch, ends):
            text = waited_for(ends[0], "reading")
        text += pseudo_terminal.arrived(ends[0])
    assert pseudo_terminal.screen(text) == [""]
    assert progress.PATIENCE + progress._BEAT <= 0.4  # with the start of Python half a second


def test_short_work_has_no_bar() -> None:
    """Nothing is printed, and where there is no terminal there is no thread."""
    with pseudo_terminal.terminal() as ends:
        stream = open(os.dup(ends[1]), "w", encoding="utf-8")  # noqa: SIM115 -- the bar closes it
        with ProgressBar(stream) as shown:
            shown.update(Progress("sigma", "a", 1, 2))
        assert pseudo_terminal.arrived(ends[0], 0.05) == ""
    with progress_bar() as shown:  # pytest has stderr
        shown.update(Progress("sigma", "a", 1, 2))
        assert not any(isinstance(one, Ticker) for one in threading.enumerate())
    assert progress.PATIENCE >= 0.3


def test_it_is_there_before_an_import(monkeypatch: pytest.MonkeyPatch) -> None:
    """Libraries that are loaded let no thread run, so nobody waits for one; nothing goes before."""
    with pseudo_terminal.terminal() as ends:
        stream = open(os.dup(ends[1]), "w", encoding="utf-8")  # noqa: SIM115 -- the bar closes it
        with ProgressBar(stream) as shown:
            shown._ticker.stop()
            for name in ("keras", "tensorflow"):
                monkeypatch.delitem(sys.modules, name, raising=False)
            with quiet_start(shown.update):
                assert "importing Keras" in pseudo_terminal.arrived(ends[0], 0.05)
            assert shown.view().head == "in Keras"
        assert pseudo_terminal.screen(pseudo_terminal.arrived(ends[0])) == [""]


def test_lines_stand_above_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is printed aside is whole, whenever it comes, and the bar goes on below it."""
    with pseudo_terminal.terminal(60) as ends:
        text = ""
        with bar(monkeypatch, ends) as shown:
            for count in range(20):
                text += waited_for(ends[0], "reading")
                with shown.aside():
                    os.write(ends[1], f"warning {count}: {LONG}\n".encode())
        text += pseudo_terminal.arrived(ends[0], 0.05)
    assert pseudo_terminal.screen(text, 60) == [*(f"warning {x}: {LONG}" for x in range(20)), ""]


def test_another_width(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next picture has it."""
    with pseudo_terminal.terminal(80) as ends, bar(monkeypatch, ends) as shown:
        shown.update(Progress("sigma", LONG, 1_500_000, 3_000_000))
        waited_for(ends[0], "1.5 MB/3.0 MB")
        pseudo_terminal.resize(ends[1], 30)
        pseudo_terminal.arrived(ends[0])
        time.sleep(0.1)
        *_, last = waited_for(ends[0], "finding u").split("\r")
        (line,) = pseudo_terminal.screen(last, 200)
        assert len(line) < 30


def test_a_terminal_that_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The work goes on without the bar."""
    with pseudo_terminal.terminal() as ends, bar(monkeypatch, ends) as shown:
        waited_for(ends[0], "reading")
        for end in ends:
            os.close(end)
        time.sleep(0.1)
        shown.update(Progress("sigma", "", 1, 2))
        with shown.aside():
            pass


def test_processes_are_forked_beside_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread does not make the guarded process start anew."""
    monkeypatch.setattr("snconvert.sandbox.worker._BACKENDS", ())
    if threading.active_count() > 1:
        pytest.skip("another thread of this process runs")
    with pseudo_terminal.terminal() as ends, bar(monkeypatch, ends):
        waited_for(ends[0], "reading")
        with Worker() as worker:
            assert worker.call(os.getpid) == worker._pid
            assert worker._process is None


@pytest.mark.parametrize("marks", [UNICODE, ASCII], ids=["unicode", "ascii"])
@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 1.0])
def test_it_fits(marks: Marks, share: float) -> None:
    """However narrow the terminal; first goes what matters least, and colours take no room."""
    view = View("finding u", share, "123.4 MB/553.4 MB", "0:12 left", LONG)
    seen = []
    for width in range(1, 140):
        line = drawn(view, width, marks)
        assert len(line) < max(width, 2), width
        seen.append([text in line for text in (view.time, view.amount, LONG[:3], LONG)])
        coloured = drawn(view, width, marks, colours=True)
        assert share == 0.0 or re.sub(r"\x1b\[\d*m", "", coloured) == line
    for before, after in itertools.pairwise(seen):
        assert all(now or not earlier for earlier, now in zip(before, after, strict=True))
    assert seen[-1] == [True] * 4
    assert seen[79] == [True, True, True, False]


def test_what_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes, of a network operations; the time left follows from what a part took."""
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    shown = ProgressBar(None)
    assert shown.view() == View("reading", 0.0, "", "0:00 so far", "")
    shown.update(Progress("sigma", "", 0, 3_000_000))
    now = 110.0
    assert shown.view().time == "0:10 so far"
    shown.update(Progress("sigma", LONG, 1_000_000, 3_000_000))
    assert shown.view() == View("finding u", 1 / 3, "1.0 MB/3.0 MB", "0:20 left", LONG)
    now = 115.0
    assert shown.view().time == "0:15 left"
    now = 4000.0
    assert shown.view().time == "0:00 left"
    shown.update(Progress("lipschitz", "head\x1b", 3, 12))
    assert shown.view() == View("proving", 0.25, "3/12", "0:00 left", r"head\x1b")
    shown.update(Progress("flushing", "", 0, 0))
    now = 7700.0
    assert shown.view() == View("flushing", 0.0, "", "1:01:40 so far", "")


def test_several_models(monkeypatch: pytest.MonkeyPatch) -> None:
    """How many are done; time goes by their bytes, and what is said of the search in each."""
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    shown = ProgressBar(None, [("m/a.keras", 0), ("m/b.keras", 10_000_000), ("m/c.keras", 0)])
    assert shown.view() == View("0 of 3", 0.0, "", "0:00 so far", "reading a.keras")
    now = 10.0
    shown.end(0)
    assert shown.view() == View("1 of 3", 0.25, "", "0:30 left", "reading b.keras")
    now = 20.0
    shown.update(Progress("sigma", "dense", 1, 2), 1)
    assert shown.view() == View("1 of 3", 0.5, "", "0:20 left", "finding u b.keras")
    shown.update(Progress("sigma", "dense", 2, 2), 1)
    shown.update(Progress("writing", "", 0, 2), 1)
    assert shown.view().what == "writing b.keras"
    shown.end(2)
    assert shown.view().head == "2 of 3"
    assert shown.view().what == "writing b.keras"
    shown.end(1)
    assert shown.view() == View("3 of 3", 1.0, "", "0:20 so far", "reading c.keras")


def test_the_search_for_multipliers_is_a_step_of_its_own() -> None:
    """It comes after all operations and may take longer, so the bar is not full before."""
    told: list[Progress] = []
    snconvert.inspect(SAMPLES / "moons.keras", lipschitz=True, progress=told.append)
    network = [done for done in told if done.stage == "lipschitz"]
    assert [done.what for done in network[:2]] == ["", "point"]
    assert network[-1].what == "multipliers"
    assert [done.done for done in network] == [*range(network[-1].total)]


def test_every_wait_has_a_stage(tmp_path: object) -> None:
    """Each is told of when it begins, with its size where that is known."""
    told: list[Progress] = []

    def stages() -> list[str]:
        named = [done.stage for done in told]
        told.clear()
        return [now for before, now in zip(["", *named], named, strict=False) if now != before]

    source, result = SAMPLES / "moons.keras", f"{tmp_path}/sn.keras"
    snconvert.apply_file(source, result, verify=True, progress=told.append)
    assert stages() == ["sigma", "writing", "hashing", "checking", "flushing"]
    snconvert.apply_file(source, dry_run=True, progress=told.append)
    assert stages() == ["sigma", "checking"]
    snconvert.inspect(source, progress=told.append)
    assert stages() == ["sigma", "checking"]
    snconvert.bake_file(result, f"{tmp_path}/baked.keras", progress=told.append)
    assert stages() == ["sigma", "writing", "hashing", "flushing"]
    snconvert.verify(source, result, progress=told.append)
    assert stages() == ["sigma", "comparing", "checking"]
