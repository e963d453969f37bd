"""A driver that lets the system fail under a conversion, at each call that changes a file.

    python tests/support/faults.py SCENARIO MODE FOLDER

Runs one scenario once without a fault to count the calls, then once for each call, and prints as
JSON what was there afterwards; `tests/system/test_crash.py` judges it.
"""

from __future__ import annotations

import errno
import hashlib
import itertools
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from concurrent.futures import wait
from pathlib import Path
from typing import Any

from forked import Outcome, run
from places import CASES, MODELS

from snconvert.archive import atomic, background, copying
from snconvert.core import system

CHANGES = (
    "open",
    "write",
    "pwrite",
    "fsync",
    "fchmod",
    "chmod",
    "mkdir",
    "link",
    "rename",
    "replace",
    "unlink",
    "rmdir",
    "close",
)


class Fault:
    """Fails the call number `at` of the functions that open, write, rename and close files.

    Args:
        at: The number of the call, from 0; -1 for none.
        mode: `kill` (SIGKILL before the call, a write half done), `killed` (after it) or the name
            of an error: a write is half done then, a close is done.
        log: Where the names of the calls go, one a line.
    """

    def __init__(self, at: int, mode: str, log: Path) -> None:
        self._at, self._mode, self._log = at, mode, log
        self._numbers = itertools.count()

    def install(self) -> None:
        """Replaces the functions in this process; its guarded child is left alone."""
        self._pid = os.getpid()
        self._file = os.open(self._log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND)
        self._write = os.write
        for name in CHANGES:
            setattr(os, name, self._wrapped(name, getattr(os, name)))
        system.pwrite = os.pwrite
        atomic._renameat2 = self._wrapped("renameat2", atomic._renameat2)
        in_order(copying.Copying, "_crc")
        in_order(background.Hashing, "_digest")

    def _wrapped(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            if os.getpid() != self._pid:
                return function(*args, **options)
            number = next(self._numbers)
            self._write(self._file, f"{name}\n".encode())
            if number != self._at:
                return function(*args, **options)
            if name in ("write", "pwrite"):
                function(args[0], bytes(args[1])[: len(args[1]) // 2], *args[2:])
            elif self._mode == "killed" or name == "close":
                function(*args, **options)
            if self._mode in ("kill", "killed"):
                os.kill(self._pid, signal.SIGKILL)
            raise OSError(getattr(errno, self._mode), os.strerror(getattr(errno, self._mode)))

        return call


def in_order(beside: type, future: str) -> None:
    """Lets what is done in a thread be done at once, so that calls come in the same order."""
    begin = beside.__init__

    def begin_and_wait(this: object, *args: Any) -> None:
        begin(this, *args)
        wait([getattr(this, future)])

    beside.__init__ = begin_and_wait  # type: ignore[misc]


def digest(path: Path) -> str:
    """Returns what identifies a file, or a folder and all in it."""
    if path.is_dir():
        inside = sorted(item for item in path.rglob("*") if item.is_file())
        return "+".join(f"{item.relative_to(path)}:{digest(item)}" for item in inside)
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16] if path.exists() else ""


class Scenario:
    """A conversion that can be repeated: its files, its command line and its right result."""

    def __init__(self, name: str, folder: Path) -> None:
        kind, _, how = name.partition("-")
        self.folder = folder
        source = {
            "archive": CASES / "ok_assets.keras",
            "deflated": CASES / "ok_deflated.keras",
            "folder": MODELS / "a16_dir_h5dir",
        }[kind]
        self._original = source
        self._how = how
        self.source = folder / "in" / "model.keras"
        self.output = self.source if how == "inplace" else folder / "out" / "out.keras"
        self.arguments: list[object] = ["apply", self.source, "-q"]
        if how == "inplace":
            self.arguments.append("--in-place")
        else:
            self.arguments += ["-o", self.output]
        if how == "force":
            self.arguments.append("--force")

    def reset(self) -> None:
        """Puts the files back to where they are before the conversion."""
        shutil.rmtree(self.folder, ignore_errors=True)
        (self.folder / "in").mkdir(parents=True)
        (self.folder / "out").mkdir()
        (self.folder / "tmp").mkdir()
        self._copy(self.source)
        if self._how == "force":
            self._copy(self.output)
            if self.output.is_file():
                self.output.chmod(0o640)

    def _copy(self, place: Path) -> None:
        if self._original.is_dir():
            shutil.copytree(self._original, place, copy_function=shutil.copyfile)
            place.chmod(0o755)
        else:
            shutil.copyfile(self._original, place)

    def look(self) -> dict[str, Any]:
        """Returns what is there: the digests of input and output, and other names."""
        expected = {"in", "out", "tmp", "calls", *("in/model.keras", "out/out.keras")}
        kept = [self.source, self.output]
        names = [
            str(path.relative_to(self.folder))
            for path in self.folder.rglob("*")
            if not any(place in path.parents for place in kept)
        ]
        return {
            "input": digest(self.source),
            "output": digest(self.output),
            "others": sorted(set(names) - expected),
        }

    def convert(self, fault: Fault | None = None) -> Outcome:
        """Runs the command line, with a fault or without."""

        def prepare() -> None:
            if fault is not None:
                fault.install()

        os.environ["TMPDIR"] = str(self.folder / "tmp")
        return run(self.arguments, prepare=prepare)


def shown(outcome: Outcome) -> dict[str, Any]:
    """Returns the part of an outcome that is judged."""
    return {"code": outcome.code, "stderr": outcome.stderr, "timeout": outcome.timeout}


def main(name: str, mode: str, folder: Path) -> dict[str, Any]:
    """Runs the scenario with every fault; and once more where anything is left behind, as where
    nothing is all is as it was before."""
    scenario = Scenario(name, folder)
    calls = folder / "calls"
    scenario.reset()
    before = scenario.look()
    outcome = scenario.convert(Fault(-1, mode, calls))
    after = scenario.look()
    names = calls.read_text().split()
    runs = []
    for at, call in enumerate(names):
        scenario.reset()
        outcome_at = scenario.convert(Fault(at, mode, calls))
        found: dict[str, Any] = {"at": at, "call": call, **shown(outcome_at)}
        found["there"] = scenario.look()
        if found["there"]["others"]:
            again = scenario.convert()
            found["again"] = shown(again) | {"there": scenario.look()}
        runs.append(found)
    return {"calls": names, "before": before, "after": after, **shown(outcome), "runs": runs}


if __name__ == "__main__":
    scenario_name, fault_mode, where = sys.argv[1:]
    json.dump(main(scenario_name, fault_mode, Path(where)), sys.stdout)
