"""The progress bar, which says what is done in the terms of each stage."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from places import SAMPLES

import snconvert
from snconvert.cli import progress, runner
from snconvert.cli.progress import ProgressBar
from snconvert.cli.runner import Display, _tell
from snconvert.core.report import Progress

DONE = [
    Progress("sigma", "a/layer/with/a/rather/long/path", 1_500_000, 3_000_000),
    Progress("lipschitz", "head\x1b", 3, 12),
    Progress("spectra", "spectra of 3 kernels, about 30 s", 0, 3_000_000),
]


def shown(patience: float, capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(progress, "PATIENCE", patience)
        patch.setenv("FORCE_COLOR", "1")
        patch.setenv("COLUMNS", "120")
        with ProgressBar() as bar:
            for done in DONE:
                _tell(bar.update, done)
    return capsys.readouterr().err


def test_what_is_done(capsys: pytest.CaptureFixture[str]) -> None:
    """Bytes, of a network operations; a name is cut and escaped, and what long work costs stands
    in a line of its own."""
    text = shown(0.0, capsys)
    assert "1.5 MB/3.0 MB" in text
    assert "3/12" in text
    assert "...with/a/rather/long/path"[-20:] in text
    assert r"head\x1b" in text
    assert "spectra of 3 kernels, about 30 s" in text


def test_short_work_has_no_bar(capsys: pytest.CaptureFixture[str]) -> None:
    """It would only flicker; the line is there all the same, and without a bar, too."""
    assert shown(60.0, capsys) == "spectra of 3 kernels, about 30 s\n"
    for done in DONE:
        _tell(None, done)
    assert capsys.readouterr().err == "spectra of 3 kernels, about 30 s\n"


def test_an_error_stands_below_the_bar(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The bar is taken away first: it would break the line where the terminal ends."""
    events = []

    @contextlib.contextmanager
    def bar() -> Iterator[None]:
        yield None
        events.append("bar gone")

    monkeypatch.setattr(runner, "progress_bar", bar)
    monkeypatch.setattr(runner, "complain", lambda _: events.append("error"))
    with pytest.raises(typer.Exit):
        runner.run("inspect", [str(tmp_path / "none.keras")], None, {}, 1, Display(False, False))
    assert events == ["bar gone", "error"]


def test_the_search_for_multipliers_is_a_step_of_its_own() -> None:
    """It comes after all operations and may take longer, so the bar is not full before."""
    told: list[Progress] = []
    snconvert.inspect(SAMPLES / "moons.keras", lipschitz=True, progress=told.append)
    network = [done for done in told if done.stage == "lipschitz"]
    assert network[0].what == "point"
    assert network[-1].what == "multipliers"
    assert [done.done for done in network] == [*range(1, network[-1].total)]
