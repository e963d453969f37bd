"""A terminal for commands: what comes to it in time, and what stands on it in the end."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import warm

_CONTROL = re.compile(r"\x1b\[([?0-9;]*)([A-Za-z])")


@contextmanager
def terminal(columns: int = 80) -> Iterator[tuple[int, int]]:
    """Yields both ends of a terminal: where what is printed arrives, and the terminal itself."""
    ours, theirs = pty.openpty()
    resize(theirs, columns)
    try:
        yield ours, theirs
    finally:
        for one in (ours, theirs):
            with contextlib.suppress(OSError):
                os.close(one)


def resize(descriptor: int, columns: int) -> None:
    """Gives a terminal another width."""
    fcntl.ioctl(descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))


def arrived(ours: int, seconds: float = 0.0) -> str:
    """Returns what has arrived, or arrives within some seconds after the last of it."""
    text = b""
    while select.select([ours], [], [], seconds)[0]:
        try:
            block = os.read(ours, 65536)
        except OSError:  # nobody has it open any more
            break
        if not block:
            break
        text += block
    return text.decode()


def run(
    *arguments: Any,
    columns: int = 80,
    then: Callable[[subprocess.Popen[bytes], str], None] | None = None,
    **options: Any,
) -> tuple[int, str]:
    """Runs Python with arguments on a terminal.

    Args:
        *arguments: Those of the interpreter.
        columns: How wide the terminal is.
        then: Called with the process and all that has arrived, when something has.
        **options: Further ones of `subprocess.Popen`.

    Returns:
        The exit code, and what has arrived.
    """
    environment = {**os.environ, "TERM": "xterm-256color", **options.pop("env", {})}
    environment.pop("COLUMNS", None)
    with terminal(columns) as (ours, theirs):
        process = warm.Popen(
            [sys.executable, *map(str, arguments)],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=environment,
            **options,
        )
        os.close(theirs)
        text, deadline = "", time.monotonic() + 60
        while time.monotonic() < deadline:
            more = arrived(ours, 0.02)
            text += more
            if then is not None and more:
                then(process, text)
            if not more and process.poll() is not None:
                return process.returncode, text + arrived(ours)
        process.kill()
        raise AssertionError(f"it did not end: {text!r}")


def screen(text: str, columns: int = 80) -> list[str]:
    """Returns the lines that stand on a terminal after a text, folded where they are too wide."""
    lines: list[list[str]] = [[]]
    column = place = 0
    while place < len(text):
        if control := _CONTROL.match(text, place):
            place = control.end()
            if control[2] == "K":
                assert control[1] == "2"  # all of the line: no other is used
                lines[-1] = []
            else:
                assert control[2] == "m", control
            continue
        char = text[place]
        place += 1
        if char == "\r":
            column = 0
        elif char == "\n":
            lines.append([])
            column = 0
        else:
            if column == columns:
                lines.append([])
                column = 0
            lines[-1] += " " * (column - len(lines[-1]))
            lines[-1][column : column + 1] = [char]
            column += 1
    return ["".join(line).rstrip() for line in lines]
