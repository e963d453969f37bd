"""Starting the guarded process before anything else: it imports while this process does, too.

This module imports next to nothing itself. The child is handed to the first `guard.Worker`.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from collections.abc import Sequence

from snconvert.sandbox import signals

_begun: list[tuple[int, int, socket.socket]] = []


def start_ahead(modules: Sequence[str]) -> None:
    """Forks the child of the first `Worker` now.

    Args:
        modules: What the child will need. It need not be imported in this process.
    """
    ours, theirs = socket.socketpair()
    with theirs, signals.blocked():
        try:
            pid = os.fork()
        except OSError:  # the `Worker` tries again, and says so
            ours.close()
            return
        if pid == 0:
            from snconvert.sandbox.worker import serve  # noqa: PLC0415 -- later, in the parent

            ours.close()
            serve(theirs, modules=modules)
        _begun.append((os.getpid(), pid, ours))
        signals.at_end(_discard)


def take() -> tuple[int, socket.socket] | None:
    """Returns the child's number and the connection to it, once; `None` if there is none."""
    if not _begun or _begun[0][0] != os.getpid():
        return None
    _, pid, connection = _begun.pop()
    return pid, connection


def _discard() -> None:
    """Ends a child that no `Worker` took over."""
    begun = take()
    if begun is not None:
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            os.kill(begun[0], signal.SIGKILL)
            os.waitpid(begun[0], 0)
