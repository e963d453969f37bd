"""The child's side of a `Worker`: it confines itself, then answers calls.

It can allocate no more than it is allowed to, nor can any of its few forks, cannot reach the
terminal, and on Linux does not outlive its parent.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import importlib
import os
import signal
import socket
import struct
import sys
import traceback
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any, NoReturn

from snconvert.core.system import allocated, resource
from snconvert.errors import SnconvertError, SourceError
from snconvert.sandbox import signals
from snconvert.sandbox.channel import Channel

MEMORY = 1536 << 20
"""How many bytes a child may allocate; mapped files do not count."""
PATIENCE = 6
"""Seconds by the clock for each of computing time."""
DAMAGED = "The file is damaged or hostile: save the model again or take an intact copy"

_START = 256 << 20  # what a started interpreter takes for itself
_SET_PDEATHSIG, _SET_DUMPABLE = 1, 4  # prctl(2)


def serve(connection: socket.socket, memory: int = MEMORY, modules: Sequence[str] = ()) -> NoReturn:
    """Answers the calls of a `Worker` until it hangs up; the main loop of the child."""
    status = 1
    try:
        _confine(memory)
        with contextlib.suppress(ImportError):  # which the call will raise again
            for module in modules:
                load_module(module)
        channel = Channel(connection)
        while True:
            try:
                function, args, reports, seconds = channel.receive()
            except (EOFError, ConnectionError):
                status = 0
                break
            except SnconvertError as error:
                channel.send(("raised", error))
                continue
            if seconds is not None:
                _limit_time(seconds, PATIENCE * seconds + 5)
            answer = _answer(channel, function, args, reports)
            channel.release()  # first, as the parent may want to replace them
            channel.send(answer)
            _limit_time(0, 0)
    finally:
        # Not sys.exit: the buffers and exit handlers of a forked parent are not ours to run.
        os._exit(status)


def _limit_time(computing: float, by_the_clock: float) -> None:
    """Has the system end this process, should the parent hang, too; a limit of 0 is none."""
    if hasattr(signal, "setitimer"):  # SIGPROF, SIGALRM
        signal.setitimer(signal.ITIMER_PROF, computing)
        signal.setitimer(signal.ITIMER_REAL, by_the_clock)
    elif by_the_clock:  # by a thread that does not wait for the interpreter's lock
        faulthandler.dump_traceback_later(by_the_clock, exit=True)
    else:
        faulthandler.cancel_dump_traceback_later()


def load_module(name: str) -> ModuleType:
    """Returns a module, imported where it is not yet."""
    return sys.modules.get(name) or importlib.import_module(name)


def _answer(
    channel: Channel, function: Callable[..., Any] | str, args: tuple[Any, ...], reports: bool
) -> tuple[str, Any]:
    def report(value: Any) -> None:
        channel.send(("report", value))

    try:
        call: Any = function
        if isinstance(function, str):
            module, _, name = function.partition(":")
            call = getattr(load_module(module), name)
        return "done", call(*args, report=report) if reports else call(*args)
    except SnconvertError as error:
        return "raised", error
    except MemoryError:
        return "raised", SourceError("reading the weights takes too much memory", DAMAGED)
    except Exception as error:  # noqa: BLE001 - a bug: it is raised again where it can be seen
        text = "".join(traceback.format_exception(error))
        return "raised", RuntimeError(f"in the guarded process: {text}")


def _confine(memory: int) -> None:
    """Cuts the process off from the terminal and limits what it can take."""
    faulthandler.disable()
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    sys.stdout = sys.stderr = open(null, "w", encoding="utf-8")  # noqa: SIM115 - for good
    # SIGCHLD ignored, as some supervisors start programs, nobody could learn how a fork ended.
    for number in signals.known("SIGTERM", "SIGALRM", "SIGPROF", "SIGHUP", "SIGCHLD"):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, which ends us
    signal.set_wakeup_fd(-1)
    signals.unblock()
    if sys.platform == "linux":
        library = ctypes.CDLL(None)
        library.prctl(_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        library.prctl(_SET_DUMPABLE, 0, 0, 0, 0)  # a core of a mapped model helps nobody
    if resource is None:
        _limit_by_job(memory + _START)
        return
    limit = allocated() + memory
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    with contextlib.suppress(ValueError, OSError):
        if soft == resource.RLIM_INFINITY or limit < soft:
            resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))


def _limit_by_job(memory: int) -> None:
    """Has Windows give this process no more memory."""
    with contextlib.suppress(AttributeError, OSError):
        kernel = getattr(ctypes, "WinDLL")("kernel32")  # noqa: B009 - mypy knows it on Windows only
        job = kernel.CreateJobObjectW(None, None)
        # JOBOBJECT_EXTENDED_LIMIT_INFORMATION, 9, with JOB_OBJECT_LIMIT_PROCESS_MEMORY, 0x100
        limits = struct.pack("<16xI44x48xQ24x", 0x100, memory)
        kernel.SetInformationJobObject(job, 9, limits, len(limits))
        kernel.AssignProcessToJobObject(job, ctypes.c_void_p(-1))  # this process


def end_with_parent(parent: int) -> None:
    """Has the system kill this process, a fork, when the process that forked it ends.

    Args:
        parent: The process's number, as it may have ended already.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)
