"""A guarded child process for work on untrusted bytes.

libhdf5 crashes and hangs on some damaged files. What reads them runs in a child whose death is one
clear error here: a crash, a kill by the system for lack of memory, or a missed deadline. The child
cannot allocate without bound, nor can any of its few forks, cannot reach the terminal, and on Linux
does not outlive its parent.

A fork costs a few milliseconds; where a fork is not safe (other threads, an imported backend) a
fresh interpreter is started instead.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import importlib
import os
import resource
import select
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any, NoReturn, Self

from snconvert.errors import SnconvertError, SourceError
from snconvert.sandbox import signals
from snconvert.sandbox.channel import Channel

MEMORY = 1536 << 20  # what a child may allocate; mapped files do not count

_SET_PDEATHSIG, _SET_DUMPABLE = 1, 4  # prctl(2)
_PATIENCE = 6  # seconds by the clock for each of computing time
_BACKENDS = ("tensorflow", "jax", "torch")
_imported: set[str] = set()  # by the first child: those that follow get it from this process
_DAMAGED = "The file is damaged or hostile: save the model again or take an intact copy"


class Worker:
    """Runs module-level functions in a guarded child process; a context manager.

    The child starts with the block, so that it imports while this process goes on, and is started
    anew after it died. Arguments and results are pickled; an `Extent` takes its open file along.

    Args:
        modules: What the child will need.
        memory: How many bytes the child may allocate beyond what it starts with.

    Example:
        >>> with Worker() as worker:
        ...     worker.call("math:hypot", 3, 4, seconds=10.0)
        5.0
    """

    def __init__(self, modules: Sequence[str] = (), memory: int = MEMORY) -> None:
        self._modules = modules
        self._memory = memory
        self._channel: Channel | None = None
        self._pid = 0
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        try:
            self._channel = self._start()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the child, whatever it is doing."""
        self._end()

    def call(
        self,
        function: Callable[..., Any] | str,
        /,
        *args: Any,
        seconds: float | None = None,
        progress: Callable[[Any], None] | None = None,
    ) -> Any:
        """Returns `function(*args)`, computed in the child.

        Args:
            function: A function at the top level of a module, or `module:name`, for a module that
                only the child needs.
            *args: Its arguments.
            seconds: How much computing time it may take; a child that takes more, or six times
                as long by the clock, is killed. A busy machine makes no file damaged.
            progress: If given, the function gets a keyword argument `report`, and whatever it
                calls that with is passed to `progress` here.

        Raises:
            SourceError: The child crashed, ran out of memory or missed the deadline.
            SnconvertError: Raised by the function, as it was raised.
        """
        deadline = None if seconds is None else time.monotonic() + _PATIENCE * seconds
        try:
            if self._channel is None:
                self._channel = self._start()
            channel = self._channel
            channel.send((function, args, progress is not None, seconds))
            while True:
                self._await(channel, deadline, seconds)
                kind, value = channel.receive()
                if kind == "report" and progress is not None:
                    progress(value)
                elif kind == "done":
                    return value
                elif kind == "raised":
                    break
        except (EOFError, ConnectionError):
            raise self._death() from None
        except BaseException:
            self._end()  # the child is in the middle of something that nobody waits for
            raise
        raise value

    def _await(self, channel: Channel, deadline: float | None, seconds: float | None) -> None:
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        ready, _, _ = select.select([channel], [], [], left)
        if not ready:
            raise SourceError(
                f"the HDF5 library did not finish on this file within {seconds:g} seconds", _DAMAGED
            )

    def _death(self) -> SourceError:
        """Collects the dead child and returns the error that says how it died."""
        status = self._end()
        if status in (-signal.SIGPROF, -signal.SIGALRM):
            return SourceError("the HDF5 library did not finish on this file in time", _DAMAGED)
        if status == -signal.SIGKILL:
            return SourceError(
                "the process that reads the weights was killed, perhaps for lack of memory",
                "Free some memory and try again",
            )
        if status == -signal.SIGBUS:
            return SourceError(
                "the file was cut while its weights were read, or the disk failed (SIGBUS)",
                "Try again with an intact file when nothing writes to it",
            )
        name = f"signal {-status}"
        with contextlib.suppress(ValueError):
            name = signal.Signals(-status).name
        how = name if status < 0 else f"exit status {status}"
        return SourceError(f"the HDF5 library crashed on this file ({how})", _DAMAGED)

    def _start(self) -> Channel:
        ours, theirs = socket.socketpair()
        with theirs, signals.put_off():
            forks = threading.active_count() == 1 and not any(map(sys.modules.get, _BACKENDS))
            if forks or not sys.executable:
                for module in _imported.intersection(self._modules):
                    _module(module)
                _imported.update(self._modules)
                with warnings.catch_warnings():
                    # 3.12 warns of threads that only native libraries have, and those cope.
                    warnings.simplefilter("ignore", DeprecationWarning)
                    self._pid = os.fork()
                if self._pid == 0:
                    ours.close()
                    serve(theirs, self._memory, self._modules)
            else:
                # The path is set before any import, so that no file in the current folder
                # can pose as a module of the standard library.
                code = (
                    f"import sys; sys.path[:] = {sys.path!r}; import socket; "
                    "from snconvert.sandbox.worker import serve; "
                    f"serve(socket.socket(fileno={theirs.fileno()}),"
                    f" {self._memory}, {[*self._modules]!r})"
                )
                self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and code
                    [sys.executable, "-P", "-c", code],
                    pass_fds=[theirs.fileno()],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},  # it works in processes
                )
                self._pid = self._process.pid
        return Channel(ours)

    def _end(self) -> int:
        """Kills and collects the child; returns its exit status, negative for a signal.

        A child that is dead already keeps the status it died with.
        """
        if self._channel is not None:
            self._channel.close()
            self._channel = None
        if not self._pid:
            return 0
        with signals.put_off():  # nobody else would collect it
            pid, process = self._pid, self._process
            self._pid, self._process = 0, None
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            if process is not None:
                return process.wait()
            try:
                return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            except ChildProcessError:  # somebody else collected it
                return 0


def serve(connection: socket.socket, memory: int = MEMORY, modules: Sequence[str] = ()) -> NoReturn:
    """Answers the calls of a `Worker` until it hangs up; the main loop of the child."""
    status = 1
    try:
        _confine(memory)
        with contextlib.suppress(ImportError):  # which the call will raise again
            for module in modules:
                _module(module)
        channel = Channel(connection)
        while True:
            try:
                function, args, reports, seconds = channel.receive()
            except (EOFError, ConnectionError):
                status = 0
                break
            if seconds is not None:  # SIGPROF and, should the parent hang, too, SIGALRM end this
                signal.setitimer(signal.ITIMER_PROF, seconds)
                signal.setitimer(signal.ITIMER_REAL, _PATIENCE * seconds + 5)
            channel.send(_answer(channel, function, args, reports))
            signal.setitimer(signal.ITIMER_PROF, 0)
            signal.setitimer(signal.ITIMER_REAL, 0)
            channel.release()
    finally:
        # Not sys.exit: the buffers and exit handlers of a forked parent are not ours to run.
        os._exit(status)


def _module(name: str) -> ModuleType:
    return sys.modules.get(name) or importlib.import_module(name)


def _answer(
    channel: Channel, function: Callable[..., Any] | str, args: tuple[Any, ...], reports: bool
) -> tuple[str, Any]:
    def report(value: Any) -> None:
        channel.send(("report", value))

    try:
        found: Any = function
        if isinstance(function, str):
            module, _, name = function.partition(":")
            found = getattr(_module(module), name)
        return "done", found(*args, report=report) if reports else found(*args)
    except SnconvertError as error:
        return "raised", error
    except MemoryError:
        return "raised", SourceError("reading the weights takes too much memory", _DAMAGED)
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
    for number in (signal.SIGTERM, signal.SIGALRM, signal.SIGPROF, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    # Ignored, as some supervisors start programs, nobody could learn how a fork of it ended.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, which ends us
    signal.set_wakeup_fd(-1)
    signals.admit()
    limit = _allocated() + memory
    if sys.platform == "linux":
        library = ctypes.CDLL(None)
        library.prctl(_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        library.prctl(_SET_DUMPABLE, 0, 0, 0, 0)  # a core of a mapped model helps nobody
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    with contextlib.suppress(ValueError, OSError):
        if soft == resource.RLIM_INFINITY or limit < soft:
            resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))


def end_with_parent(parent: int) -> None:
    """Has the system kill this process, a fork, when the process that forked it ends.

    Args:
        parent: The process's number, as it may have ended already.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def _allocated() -> int:
    """Returns how much private memory the process has already, as RLIMIT_DATA counts it."""
    try:
        with open("/proc/self/statm") as statistics:
            return int(statistics.read().split()[5]) * resource.getpagesize()
    except (OSError, ValueError, IndexError):
        return 0
