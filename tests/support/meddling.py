"""A driver that changes the input while it is read, at each read of a conversion.

    python tests/support/meddling.py FOLDER COMMAND-HOW...

`tests/system/test_crash.py` judges what it prints as JSON, for each try.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import handmade
from faults import digest
from forked import run

from snconvert.core import system
from snconvert.jobs import measure
from snconvert.weights import reading

SIZE = 64  # 4 x 16 kB of kernels


def vanish(path: Path) -> None:
    path.unlink(missing_ok=True)


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def empty(path: Path) -> None:
    os.truncate(path, 0)


def grow(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


def replace(path: Path) -> None:
    other = path.with_name("other")
    shutil.copyfile(path, other)
    other.replace(path)


def rewrite(path: Path) -> None:
    """Changes a byte in the middle of the weights and hides it: size and time stay."""
    status = path.stat()
    with path.open("r+b") as file:
        file.seek(status.st_size // 2)
        byte = file.read(1)
        file.seek(status.st_size // 2)
        file.write(bytes([byte[0] ^ 1]))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


WAYS: dict[str, Callable[[Path], None]] = {
    function.__name__: function for function in (vanish, cut, empty, grow, replace, rewrite)
}


def at_read(number: int, change: Callable[[], None], log: Path) -> None:
    """Calls `change` before the read number `number` of this process."""
    original, pid, numbers = system.preadv, os.getpid(), itertools.count()

    def preadv(*args: Any) -> int:
        if os.getpid() == pid:
            count = next(numbers)
            log.write_text(str(count + 1))
            if count == number:
                change()
        return original(*args)

    system.preadv = preadv


def in_child(stage: str, change: Callable[[], None]) -> None:
    """Calls `change` in the guarded process, when the file is open or mapped there."""
    module, name = {"scan": (reading, "_scan"), "measure": (measure, "kernel_triplet")}[stage]
    original, once = getattr(module, name), threading.Lock()

    def changed(*args: Any, **options: Any) -> Any:
        if once.acquire(blocking=False):  # kernels are measured side by side
            change()
        return original(*args, **options)

    setattr(module, name, changed)


def main(command: str, how: str, folder: Path) -> dict[str, Any]:
    """Runs the command with a change at every read, then at two places of the child."""
    original, source, out = folder / "original.keras", folder / "model.keras", folder / "out"
    log = folder / "reads"
    handmade.chain(original, 4, SIZE)
    arguments: list[object] = [command, source, "-q"]
    if command == "apply":
        arguments += ["-o", out / "out.keras"]

    def attempt(prepare: Callable[[], object]) -> dict[str, Any]:
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        shutil.copyfile(original, source)
        outcome = run(arguments, prepare=prepare)
        return {
            "code": outcome.code,
            "stderr": outcome.stderr,
            "timeout": outcome.timeout,
            "left": sorted(os.listdir(out)),
            "output": digest(out / "out.keras"),
        }

    def change() -> None:
        WAYS[how](source)

    plain = attempt(lambda: at_read(-1, change, log))
    reads = int(log.read_text())
    runs = {
        f"read {number}": attempt(lambda number=number: at_read(number, change, log))
        for number in range(reads)
    }
    for stage in ("scan", "measure"):
        runs[stage] = attempt(lambda stage=stage: in_child(stage, change))
    return {"plain": plain, "runs": runs}


if __name__ == "__main__":
    place, *tries = sys.argv[1:]
    found = []
    for each in tries:
        (Path(place) / each).mkdir()
        found.append(main(*each.split("-"), Path(place) / each))
    json.dump(found, sys.stdout)
