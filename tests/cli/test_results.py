"""What is printed of several models, as each is done, in processes of their own."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import handmade
import pseudo_terminal
import pytest
import warm
from places import CASES, MODELS

from snconvert.cli.messages import Display
from snconvert.cli.results import SeveralResults
from snconvert.core.report import Report

Run = Callable[..., "subprocess.CompletedProcess[str]"]
DENSE, CONV = "a01_seq_plain", "a03_func_counter"
BAR = re.compile(r"^\d+ of \d+  .*[━─]")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two models, a file that is none, and a model that is converted already."""
    place = tmp_path / "models"
    place.mkdir()
    for name in (DENSE, CONV):
        shutil.copy(MODELS / f"{name}.keras", place)
    (place / "bad.keras").write_text("no model")
    return place


def large(folder: Path, count: int) -> None:
    """Writes models of which each takes a second or so."""
    handmade.chain(folder / "large0.keras", 1, 3000)
    for index in range(1, count):
        os.link(folder / "large0.keras", folder / f"large{index}.keras")


def test_lines_and_totals(snconvert: Run, folder: Path) -> None:
    """A line for each model that is done, an error for each other one, and what it comes to."""
    done = snconvert("apply", "models", "-o", "out", "--jobs", 2, cwd=folder.parent)
    assert done.returncode == 1
    (error,) = done.stderr.splitlines()
    assert error.startswith("error: models/bad.keras: ")
    *lines, totals = done.stdout.splitlines()
    assert [line.partition(":")[0] for line in sorted(lines)] == [
        f"models/{DENSE}.keras",
        f"models/{CONV}.keras",
    ]
    assert "2 conv left plain (--conv); sigma 1.49 to 1.75 -> 1; wrote out" in sorted(lines)[1]
    assert re.fullmatch(
        r"2 converted, 1 failed; 58.\d kB written to out as \*-sn.keras in \d\.\d s", totals
    )
    assert sorted(os.listdir(folder.parent / "out")) == [f"{x}-sn.keras" for x in (DENSE, CONV)]
    quiet = snconvert("inspect", folder, "-q")
    assert (quiet.stdout, quiet.stderr.count("\n")) == ("", 1)
    told = snconvert("inspect", folder, "--json")
    shapes = [json.loads(line) for line in told.stdout.splitlines()]
    assert ["error" in shape for shape in shapes] == [False, False, True]
    tables = snconvert("inspect", folder, "--lipschitz").stdout
    assert tables.count("; Lipschitz bound of the network: ") == 2
    assert snconvert("inspect", folder, "-v").stdout.count("layer  ") >= 2


def test_what_is_converted_already(snconvert: Run, folder: Path) -> None:
    """It is no failure in a folder, but one where it was to be converted in another way."""
    (folder / "bad.keras").unlink()
    assert snconvert("apply", folder / f"{DENSE}.keras", "--in-place").returncode == 0
    done = snconvert("apply", folder, "-o", folder / "out")
    assert (done.returncode, done.stderr) == (0, "")
    first, _, totals = done.stdout.splitlines()
    assert first == f"{folder / DENSE}.keras: already converted"
    assert totals.startswith("1 converted, 1 already converted; 42.")
    other = snconvert("apply", folder, "-o", folder / "other", "--mode", "cap")
    assert other.returncode == 1
    assert "with mode hard, not cap" in other.stderr
    back = snconvert("bake", folder, "-o", folder / "baked")
    assert back.returncode == 0, back.stderr
    assert back.stdout.splitlines()[-1].startswith("1 baked, 1 already plain; ")
    alone = snconvert("apply", folder / f"{DENSE}.keras")
    assert alone.returncode == 1
    assert "nothing left to convert" in alone.stderr


def test_what_has_nothing_to_convert(snconvert: Run, folder: Path) -> None:
    """A model without a kernel is told in its line, and is no failure; all of them together are."""
    bare = str(folder / "bare.keras")
    shutil.copy(CASES / "cfg_no_dense.keras", bare)
    (folder / "bad.keras").unlink()
    done = snconvert("apply", folder, "-o", folder / "out", "--jobs", 2)
    assert (done.returncode, done.stderr) == (0, "")
    *lines, totals = done.stdout.splitlines()
    assert f"{bare}: nothing to convert" in lines
    assert totals.startswith("2 converted, 1 with nothing to convert; 58.")
    told = snconvert("apply", folder, "-o", folder / "json", "--json")
    assert told.returncode == 0
    assert told.stderr == ""
    (passed,) = [x for x in map(json.loads, told.stdout.splitlines()) if "layers" not in x]
    assert passed["source"] == bare
    assert passed["skipped"].startswith("nothing to convert: no layer is of a kind")
    other = shutil.copy(bare, folder / "other.keras")
    both = snconvert("apply", bare, other)
    assert both.returncode == 1
    assert both.stderr.startswith("error: nothing to convert in any of the models. ")
    left = snconvert("apply", folder / f"{DENSE}.keras", bare, "--kinds", "conv")
    assert left.returncode == 1  # an option may be wrong
    assert left.stderr.count("\n") == 1


def test_a_dry_run_names_its_models(folder: Path) -> None:
    """Also where a folder is named for the results: by their names in the folder of the models."""
    (folder / "bad.keras").unlink()
    command = ["-m", "snconvert", "apply", "models", "-o", "out", "--dry-run"]
    _, text = pseudo_terminal.run(*command, cwd=folder.parent)
    lines = pseudo_terminal.screen(text)
    assert [line.split()[0] for line in lines[:3]] == ["model", DENSE, CONV]


def test_a_folder_that_gets_nothing_is_not_made(snconvert: Run, folder: Path) -> None:
    """Neither where every model fails, nor in a dry run; and a file is none."""
    out = folder.parent / "new" / "out"
    failed = snconvert("apply", folder / "bad.keras", folder / "no.keras", "-o", out)
    assert failed.returncode == 1
    assert failed.stdout.startswith("2 failed; nothing was written in ")
    assert snconvert("apply", folder, "-o", out, "--dry-run").returncode == 1
    assert os.listdir(folder.parent) == ["models"]
    wrong = snconvert("apply", folder, "-o", folder / "bad.keras")
    assert wrong.returncode == 2
    assert re.search("several models are written to a folder, and '.*' is a file", wrong.stderr)


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_says_what_is_done(folder: Path, jobs: int, number: int) -> None:
    """Each line comes when its model is done; what was begun goes, and what is done stays."""
    large(folder, 4)
    command = [sys.executable, "-m", "snconvert", "apply", ".", "-o", "out", "--jobs", str(jobs)]
    with warm.Popen(
        command,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        lines = [process.stdout.readline() for _ in range(2)]
        os.killpg(process.pid, number)
        rest, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    *more, totals = rest.splitlines()
    done = len(lines) + len(more)
    assert 2 <= done < 7
    written = os.listdir(folder / "out")
    assert len(written) == done
    assert all(name.endswith("-sn.keras") for name in written)
    failed = errors.count("error: ") - 1
    left = 7 - done - failed
    told = rf"{done} converted,{' 1 failed,' * failed} {left} not done; .* written to out as .* s"
    assert re.fullmatch(told, totals)
    assert errors.splitlines()[-1].startswith("error: interrupted.")


def test_lines_on_a_terminal(folder: Path) -> None:
    """The bar comes and goes between them, and tears none, whether errors or results."""
    large(folder, 4)
    command = ["-m", "snconvert", "apply", ".", "-o", "out", "--jobs", 2]
    code, text = pseudo_terminal.run(*command, cwd=folder, env={"NO_COLOR": "1"})
    assert code == 1
    assert re.search(r"\d of 7  .*[━─] .*large\d.keras", text)
    lines = pseudo_terminal.screen(text)
    assert not any(map(BAR.match, lines))
    heading, *rows, totals, last = lines
    assert heading.split() == ["model", "converted", "sigma", "size", "time"]
    done = (DENSE, CONV, *(f"large{index}" for index in range(4)))
    assert sorted(row.split()[0] for row in rows if row.startswith(done)) == [*done]
    assert "  2 conv plain: --conv" in rows  # below the line that has no room for it
    error = [row for row in rows if not row.startswith((*done, "  "))]
    assert error[0].startswith("error: bad.keras: ")
    assert error[-1].endswith(".")
    assert len(error) == 2
    assert totals.startswith("6 converted, 1 failed; ")
    assert last == ""
    assert "\x1b[3" not in text


def test_ctrl_c_on_a_terminal(folder: Path) -> None:
    """The bar is gone, the totals are there, and the folder is as if nothing had been begun."""
    for path in folder.iterdir():
        path.unlink()
    large(folder, 3)

    def press(process: subprocess.Popen[bytes], text: str) -> None:
        if BAR.match(pseudo_terminal.screen(text)[-1]):
            os.killpg(process.pid, signal.SIGINT)

    command = ["-m", "snconvert", "apply", ".", "-o", "out"]
    code, text = pseudo_terminal.run(*command, cwd=folder, then=press, start_new_session=True)
    assert code == 130
    *rows, totals, error, more, last = pseudo_terminal.screen(text)
    done = rows[1:]  # below the heading
    assert totals.startswith(f"{len(done)} converted, {3 - len(done)} not done; " if done else "3 ")
    assert error.startswith("error: interrupted.")
    assert (more.endswith("."), last) == (True, "")
    assert len(os.listdir(folder / "out") if done else os.listdir(folder)) == (len(done) or 3)


def test_reports_are_not_kept(capsys: pytest.CaptureFixture[str]) -> None:
    """Of thousands of models only totals are."""
    report = Report("m", None, "layer", "hard", 1.0, "matrix", (), 0, 0.0)
    before = sys.getrefcount(report)
    results = SeveralResults("apply", ["m"], Display(False, False), {}, [None])
    results.add(0, report)
    assert sys.getrefcount(report) == before
    assert capsys.readouterr().out.startswith("m: 0 layers to convert; nothing was written (0.00")


def test_a_rerun_has_no_headings(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nothing is done, there are no columns: headings come with the first line of numbers."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("NO_COLOR", "1")
    done = Report("m", "m-sn.keras", "layer", "hard", 1.0, "matrix", (), 0, 0.0)
    results = SeveralResults("apply", ["m", "n"], Display(False, False), {}, ["m-sn.keras", "n"])
    results.add(0, replace(done, up_to_date=True))
    assert capsys.readouterr().out.split() == ["m-sn.keras", "already", "converted"]
    results.add(1, replace(done, output="n"))
    assert capsys.readouterr().out.startswith("model ")
