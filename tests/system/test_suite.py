"""How the suite itself starts: `python -m pytest` takes a process for each core, and no more."""

import os
import subprocess
import sys

from places import ROOT


def test_workers_start_no_workers() -> None:
    command = [sys.executable, "-m", "pytest", "--fast", "-o", "testpaths=tests/core", "-rN"]
    environment = {key: value for key, value in os.environ.items() if "PYTEST" not in key}
    done = subprocess.run(
        command, check=False, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed in " in done.stdout
