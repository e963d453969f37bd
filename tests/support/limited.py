"""Runs commands side by side, each in a process of its own with a deadline and its memory counted.

A script rather than a function: the kernel counts the memory of whoever starts a process as that
process's own (`vfork`), and the test runner has TensorFlow loaded. Reads a list of jobs as JSON
from stdin and writes a list of outcomes to stdout.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

AT_ONCE = 2


def run(
    job: dict[str, Any], start: Callable[..., subprocess.Popen[Any]] = subprocess.Popen
) -> dict[str, Any]:
    """Runs `job["command"]` for `job["seconds"]` at most, in `job["cwd"]`.

    `job["env"]` adds to the environment; `None` takes out.

    Returns:
        `code` (negative for a signal), `stdout`, `stderr`, `seconds`, `timeout`, and `megabytes`:
        the largest resident memory of any process of its tree, files that it maps included.
    """
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        started = time.monotonic()
        process = start(
            job["command"],
            cwd=job.get("cwd"),
            env={
                name: value
                for name, value in (os.environ | job.get("env", {})).items()
                if value is not None
            },
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            start_new_session=True,
        )
        late = threading.Event()

        def stop() -> None:
            late.set()
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)

        timer = threading.Timer(job["seconds"], stop)
        timer.start()
        _, status, usage = os.wait4(process.pid, 0)
        timer.cancel()
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        err.seek(0)
        return {
            "code": process.returncode,
            "stdout": out.read().decode("utf-8", "backslashreplace"),
            "stderr": err.read().decode("utf-8", "backslashreplace"),
            "seconds": time.monotonic() - started,
            "timeout": late.is_set(),
            "megabytes": usage.ru_maxrss / 1024,
        }


def run_all(jobs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Runs the jobs through this script and returns their outcomes in order."""
    found = subprocess.run(
        [sys.executable, __file__],
        input=json.dumps(jobs),
        capture_output=True,
        text=True,
        check=True,
    )
    outcomes: list[dict[str, Any]] = json.loads(found.stdout)
    return outcomes


if __name__ == "__main__":
    with ThreadPoolExecutor(AT_ONCE) as pool:
        json.dump(list(pool.map(run, json.load(sys.stdin))), sys.stdout)
