"""SIGINT, SIGTERM and SIGHUP: when they end the process at once, and when by an exception.

An exception out of a signal handler can get lost: in a callback around a fork, in an import, in a
destructor. So it is used only while there is something to clean up, and put off around a fork.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn


def known(*names: str) -> tuple[signal.Signals, ...]:
    """Returns those of the named signals that the system has."""
    return tuple(getattr(signal, name) for name in names if hasattr(signal, name))


SIGNALS = known("SIGINT", "SIGTERM", "SIGHUP")


class Interrupted(BaseException):
    """One of `SIGNALS` came; not a KeyboardInterrupt, which typer would take for its own.

    Args:
        number: Which one.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def end_at_once() -> None:
    """Lets a signal end the process with one line, for as long as there is nothing to clean up.

    Signals that are ignored, as `nohup` wants it, stay ignored.
    """
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _end)


def interrupt() -> None:
    """Lets the first signal raise `Interrupted` from now on, where it ended the process before.

    Those that follow are ignored: the clean-up is short, and not to be interrupted itself.
    """
    for number in SIGNALS:
        if signal.getsignal(number) is _end:
            signal.signal(number, _raise)


def ignore() -> None:
    """Lets signals have no effect from now on."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


@contextmanager
def blocked() -> Iterator[None]:
    """Makes signals wait until the end of the block; in a process forked in it, until `unblock`.

    Where nothing can be forked, signals do not wait.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def unblock() -> None:
    """Ends the waiting of `blocked` in a child."""
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


def _end(number: int, _frame: object) -> NoReturn:
    try:
        os.write(2, b"error: interrupted. Nothing was written.\n")
    finally:
        os._exit(128 + number)


def _raise(number: int, _frame: object) -> NoReturn:
    ignore()
    raise Interrupted(number)
