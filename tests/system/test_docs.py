"""The README is true: its blocks run, and every command and flag is in it or in --help."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import warm
from places import ROOT

from snconvert.core.settings import MODES, TARGETS
from snconvert.kinds.table import RULES

README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(marker: str) -> list[str]:
    """Returns the fenced blocks below `<!-- marker -->`."""
    return re.findall(rf"<!-- {marker} -->\n```\w+\n(.*?)```", README, re.DOTALL)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder with the samples, as a new user has it."""
    shutil.copytree(ROOT / "samples", tmp_path / "samples")
    return tmp_path


def test_the_story_runs(checkout: Path) -> None:
    """The first command, then every Python block in one session, do what the text says."""
    (command,) = blocks("first run")
    shell = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    first = subprocess.run(
        ["bash", "-c", command.replace("snconvert ", f"{sys.executable} -m snconvert ", 1)],
        cwd=checkout,
        env=os.environ | shell,
        capture_output=True,
        text=True,
        check=False,
    )
    assert first.returncode == 0, first.stderr
    assert "SpectralDense" in first.stdout
    code = "\n".join(blocks("python"))
    command = [sys.executable, "-c", code]
    result = warm.run(
        command, modules=warm.TENSORFLOW, cwd=checkout, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    assert "4 layers converted" in result.stdout
    assert {path.name for path in (checkout / "samples").glob("*.keras")} == {
        "moons.keras",
        "moons-sn.keras",
        "moons-trained.keras",
        "moons-cap.keras",
        "moons-live.keras",
    }


def test_commands_and_values() -> None:
    """Every command, mode, target and kind of layer is in the README."""
    from snconvert.cli.commands import app

    for command in app.registered_commands:
        assert command.callback is not None
        assert f"snconvert {command.callback.__name__}" in README
    for word in (*MODES, *TARGETS, *RULES):
        assert word in README


def test_the_install_and_test_commands_are_one_line_each() -> None:
    """Install, run and test: one line each."""
    for marker in ("install", "first run", "install the tests", "run the tests"):
        (block,) = blocks(marker)
        assert block.count("\n") == 1
