"""A guarded child process for work on untrusted bytes.

libhdf5 crashes and hangs on some damaged files. What reads them runs in a child whose death is one
clear error here: a crash, a kill by the system for lack of memory, or a missed deadline. The child
cannot allocate without bound, nor can any of its few forks, cannot reach the terminal, and on Linux
does not outlive its parent.

A fork costs a few milliseconds; where there is none, or it is not safe (other threads, an imported
backend, macOS), a fresh interpreter is started instead.
"""

from __future__ import annotations

import contextlib
import math
import os
import select
import signal
import socket
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any, Self

from snconvert.core.system import FORKS
from snconvert.errors import SourceError
from snconvert.sandbox import signals, ticker
from snconvert.sandbox.channel import Channel
from snconvert.sandbox.child import DAMAGED, MEMORY, PATIENCE, load_module, serve

_BEAT = 0.5  # seconds: on Windows, Ctrl-C does not reach a process while it waits for a socket
_BACKENDS = ("tensorflow", "jax", "torch")
_imported: set[str] = set()  # by a child that has ended: those that follow get it from here
_ahead: dict[tuple[int, Sequence[str], int], tuple[Channel, int, Any]] = {}


class Worker:
    """Runs module-level functions in a guarded child process; a context manager.

    The child starts with the block or with the first call, so that it imports while this process
    goes on, and is started anew after it died. Arguments and results are pickled; an `Extent` takes
    its open file along.

    Args:
        modules: What the child will need.
        memory: How many bytes the child may allocate beyond what it starts with.

    Example:
        >>> with Worker() as worker:
        ...     worker.call("math:hypot", 3, 4, seconds=10.0)
        5.0
    """

    def __init__(self, modules: Sequence[str] = (), memory: int = MEMORY) -> None:
        self._modules = tuple(modules)
        self._memory = memory
        self._channel: Channel | None = None
        self._pid = 0
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        try:
            self._channel = self._channel or self._start()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start_ahead(self) -> None:
        """Starts the child of the next worker of this kind, so that both processes import at once.

        If the system starts none now, that worker will say so. A child that none takes over ends
        with this process.
        """
        with contextlib.suppress(OSError):
            channel = self._start()
            _ahead[os.getpid(), self._modules, self._memory] = channel, self._pid, self._process

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
        deadline = None if seconds is None else time.monotonic() + PATIENCE * seconds
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
        left = math.inf
        while left > 0:
            left = math.inf if deadline is None else deadline - time.monotonic()
            if select.select([channel], [], [], max(0.0, min(_BEAT, left)))[0]:
                return
        raise SourceError(
            f"the HDF5 library did not finish on this file within {seconds:g} seconds", DAMAGED
        )

    def _death(self) -> SourceError:
        """Collects the dead child and returns the error that says how it died."""
        status = self._end()
        name = f"signal {-status}"
        with contextlib.suppress(ValueError):
            name = signal.Signals(-status).name
        if name in {"SIGPROF", "SIGALRM"}:
            return SourceError("the HDF5 library did not finish on this file in time", DAMAGED)
        if name == "SIGKILL":
            return SourceError(
                "the process that reads the weights was killed, perhaps for lack of memory",
                "Free some memory and try again",
            )
        if name == "SIGBUS":
            return SourceError(
                "the file was cut while its weights were read, or the disk failed (SIGBUS)",
                "Try again with an intact file when nothing writes to it",
            )
        how = name if status < 0 else f"exit status {status}"
        return SourceError(f"the HDF5 library crashed on this file ({how})", DAMAGED)

    def _start(self) -> Channel:
        # Of this process alone: one that was forked from it shares the connection.
        ahead = _ahead.pop((os.getpid(), self._modules, self._memory), None)
        if ahead is not None:
            channel, self._pid, self._process = ahead
            return channel
        ours, theirs = socket.socketpair()
        with theirs, signals.blocked(), ticker.still():
            forks = ticker.is_alone() and not any(map(sys.modules.get, _BACKENDS))
            if FORKS and (forks or not sys.executable):
                for module in _imported.intersection(self._modules):
                    load_module(module)
                with warnings.catch_warnings():
                    # 3.12 warns of threads that only native libraries have, and those cope.
                    warnings.simplefilter("ignore", DeprecationWarning)
                    self._pid = os.fork()
                if self._pid == 0:
                    ours.close()
                    serve(theirs, self._memory, self._modules)
            else:
                self._process = _interpreter(theirs, f"{self._memory}, {[*self._modules]!r}")
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
        _imported.update(self._modules)
        with signals.blocked():  # nobody else would collect it
            pid, process = self._pid, self._process
            self._pid, self._process = 0, None
            if process is not None:
                process.kill()
                return process.wait()
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            try:
                return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            except ChildProcessError:  # somebody else collected it
                return 0


def _interpreter(connection: Any, arguments: str) -> subprocess.Popen[bytes]:
    """Starts an interpreter that serves a connection.

    Args:
        connection: The child's end.
        arguments: Further ones of `serve`.
    """
    shares = hasattr(socket, "fromshare")  # Windows, where it cannot be inherited
    taken = f"socket.socket(fileno={connection.fileno()})"
    options: dict[str, Any] = {"pass_fds": [connection.fileno()], "stdin": subprocess.DEVNULL}
    if shares:
        taken = "print(os.getpid(), flush=True) or socket.fromshare(sys.stdin.buffer.read())"
        options = {"stdin": subprocess.PIPE}
    # The path is set before any import, so that no file in the current folder can pose as a module
    # of the standard library.
    code = (
        f"import sys; sys.path[:] = {sys.path!r}; import os, socket; taken = {taken}; "
        f"from snconvert.sandbox.child import serve; serve(taken, {arguments})"
    )
    process: Any = subprocess.Popen(  # noqa: S603 - our own interpreter and code
        [sys.executable, "-P", "-c", code],
        stdout=subprocess.PIPE if shares else subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},  # it works in processes
        creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        **options,
    )
    if shares:
        # Its own number, as in a virtual environment ours is that of a launcher. If it has ended
        # already, the connection will say so.
        with process.stdout, process.stdin, contextlib.suppress(OSError, ValueError):
            process.stdin.write(connection.share(int(process.stdout.readline())))
    started: subprocess.Popen[bytes] = process
    return started
