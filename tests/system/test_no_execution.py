"""Nothing from a file is executed: apply and inspect on the whole corpus under an audit hook."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
from limited import run_all
from places import SUPPORT
from watched import CASES, COMMANDS, PROBES

DRIVER = SUPPORT / "watched.py"
NAMES = sorted(path.name for path in CASES.glob("*") if path.is_file())
PARTS = 2


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Runs both commands on every case, each in a process of its own with a hook of its own."""
    jobs = []
    for part in range(PARTS):
        folder = tmp_path_factory.mktemp("watched")
        arguments = ["cases", str(part), str(PARTS), str(folder)]
        jobs.append({"command": [sys.executable, str(DRIVER), *arguments], "seconds": 180})
    found: dict[str, Any] = {}
    for outcome in run_all(jobs):
        assert outcome["code"] == 0, outcome
        found |= json.loads(outcome["stdout"])
    return found


@pytest.fixture(scope="module")
def probed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Does each forbidden thing once under the hook."""
    folder = tmp_path_factory.mktemp("probes")
    command = [sys.executable, str(DRIVER), "probes", str(folder)]
    done = subprocess.run(command, capture_output=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


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
