"""Command-line runs in forked children of one warm interpreter: real processes, without start-up.

For drivers that replace something of the interpreter in a run, or need thousands. A driver is a
script of its own: a process that has TensorFlow loaded is no good for forking. Others use `warm`.
"""

from __future__ import annotations

import contextlib
import os
import resource
import select
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from places import ROOT

sys.path.insert(0, str(ROOT))

from warm import import_file_carrier

from snconvert.cli import commands

import_file_carrier()  # children find it loaded


@dataclass(frozen=True)
class Outcome:
    """What a run came to; `code` is negative for a signal, `megabytes` its largest process."""

    code: int
    stdout: str
    stderr: str
    seconds: float
    megabytes: float
    timeout: bool


def run(
    arguments: Iterable[object],
    *,
    prepare: Callable[[], object] | None = None,
    meanwhile: Callable[[int], object] | None = None,
    seconds: float = 30.0,
) -> Outcome:
    """Runs `snconvert` with `arguments` in a forked child.

    Args:
        arguments: The command line after the program's name.
        prepare: Called in the child before the command line.
        meanwhile: Called here with the child's process number as soon as it is there.
        seconds: The deadline, after which the child and all of its children are killed.
    """
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        started = time.monotonic()
        pid = os.fork()
        if pid == 0:
            _child([str(argument) for argument in arguments], prepare, out.fileno(), err.fileno())
        if meanwhile is not None:
            meanwhile(pid)
        ended = os.pidfd_open(pid)
        timeout = not select.select([ended], [], [], seconds)[0]
        os.close(ended)
        if timeout:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
        _, status, usage = os.wait4(pid, 0)
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read().decode("utf-8", "backslashreplace"))
        return Outcome(
            os.waitstatus_to_exitcode(status),
            *texts,
            seconds=time.monotonic() - started,
            megabytes=usage.ru_maxrss / 1024,
            timeout=timeout,
        )


def _child(arguments: list[str], prepare: Callable[[], object] | None, out: int, err: int) -> None:
    code: object = 70
    try:
        os.setsid()
        null = os.open(os.devnull, os.O_RDONLY)
        for ours, theirs in ((null, 0), (out, 1), (err, 2)):
            os.dup2(ours, theirs)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        sys.argv = ["snconvert", *arguments]
        if prepare is not None:
            prepare()
        commands.main()
        code = 0
    except SystemExit as end:
        code = end.code
    except BaseException:  # noqa: BLE001 - as the interpreter would
        traceback.print_exc()
        code = 1
    finally:
        with contextlib.suppress(BaseException):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code if isinstance(code, int) else int(code is not None))
