"""What users see of files, compared with what is written down in `tests/data/golden.json`."""

from __future__ import annotations

import json
import subprocess
import sys

from places import DATA, SUPPORT

RENEW = "python tests/support/golden.py portable --renew"


def test_nothing_that_users_see_changes() -> None:
    """Messages, exit codes, tables and configurations are those that are written down.

    Where one is to change, renew the file with the command above and look at its difference.
    """
    command = [sys.executable, str(SUPPORT / "golden.py"), "portable"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    now: dict[str, str] = json.loads(done.stdout)
    before: dict[str, str] = json.loads((DATA / "golden.json").read_text("utf-8"))
    assert len(now) > 300
    differing = [
        f"{name}:\n  was {before.get(name)!r}\n  is  {now.get(name)!r}"
        for name in sorted(before.keys() | now.keys())
        if before.get(name) != now.get(name)
    ]
    told = "\n".join(differing[:20])
    assert not differing, f"{len(differing)} cases differ; if that is meant: {RENEW}\n{told}"
