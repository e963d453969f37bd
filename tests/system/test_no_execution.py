"""Nothing from a file is executed: apply and inspect on the whole corpus under an audit hook."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from places import SUPPORT
from watched import CASES, COMMANDS, PROBES

DRIVER = SUPPORT / "watched.py"
NAMES = sorted(path.name for path in CASES.glob("*") if path.is_file())


def driven(kind: str, folder: Path) -> dict[str, Any]:
    """Runs the driver, and returns what it saw."""
    command = [sys.executable, str(DRIVER), kind, str(folder)]
    done = subprocess.run(command, capture_output=True, check=True, timeout=300)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Runs both commands on every case, each in a process of its own with a hook of its own."""
    return driven("cases", tmp_path_factory.mktemp("watched"))


@pytest.fixture(scope="module")
def probed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Does each forbidden thing once under the hook."""
    return driven("probes", tmp_path_factory.mktemp("probes"))


@pytest.mark.parametrize("name", NAMES)
def test_a_case_runs_nothing(name: str, seen: dict[str, Any]) -> None:
    """No import that the file names, no file opened, listed or changed outside the input, the
    output's folder and the temp folder, no network, no other program, no code compiled."""
    for command in COMMANDS:
        run = seen[f"{command} {name}"]
        assert run["code"] in (0, 1), run
        assert run["violations"] == []


@pytest.mark.parametrize("name", PROBES)
def test_the_hook_fires(name: str, probed: dict[str, Any]) -> None:
    """Each forbidden thing is noticed, in the process and in the guarded process it forks."""
    probe = probed[name]
    seen = [(event, where) for event, where, *_ in probe["violations"]]
    assert (probe["event"], probe["where"]) in seen, seen
