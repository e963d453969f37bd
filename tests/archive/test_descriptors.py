"""Commands that may open few files at once."""

from __future__ import annotations

import contextlib
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import snconvert
from snconvert.archive.descriptors import NEEDED
from snconvert.errors import UnsupportedError

LIMITS = (5, 8, 16, 26, 27)  # with 4 Python itself does not start


def limited(count: int) -> Callable[[], None]:
    return lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (count, count))


@pytest.mark.parametrize("limit", LIMITS)
def test_a_command_with_few_descriptors(limit: int, models: Path, tmp_path: Path) -> None:
    """It works, or says in one line what is missing; no file is blamed, and nothing is left."""
    command = [sys.executable, "-m", "snconvert", "apply", str(models / "a01_seq_plain.keras")]
    result = subprocess.run(
        [*command, "-o", str(tmp_path / "out.keras"), "--verify"],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=limited(limit),
    )
    if result.returncode == 0:
        assert limit == LIMITS[-1]
        assert os.listdir(tmp_path) == ["out.keras"]
        return
    assert result.returncode == 1
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"error: only {limit - 3} more files can be opened at once")
    assert "ulimit -n" in line
    assert os.listdir(tmp_path) == []


def test_a_process_with_many_files(models: Path) -> None:
    """In Python it is an error of this package, too; what was opened to find out is closed."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, before[1]))
    files = []
    try:
        with contextlib.suppress(OSError):
            while True:
                files.append(os.open(os.devnull, os.O_RDONLY))
        for _ in range(NEEDED - 1):
            os.close(files.pop())
        for _ in range(2):
            with pytest.raises(UnsupportedError, match=f"only {NEEDED - 1} more files can be"):
                snconvert.inspect(models / "a01_seq_plain.keras")
        os.close(files.pop())
        assert snconvert.inspect(models / "a01_seq_plain.keras").converted == 2
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
        for file in files:
            os.close(file)
