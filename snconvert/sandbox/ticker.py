"""A thread that acts again and again, beside which this process may be forked.

A fork copies one thread only: a lock that another one holds at that moment stays locked in the
child for ever. A `Ticker` holds none between two acts, and acts never fall within `still`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager

from snconvert.sandbox import signals

_still = threading.RLock()


class Ticker(threading.Thread):
    """Calls a function again and again until it is stopped.

    Args:
        act: The function.
        patience: Seconds before the first call.
        beat: Seconds between two calls.
    """

    def __init__(self, act: Callable[[], None], patience: float, beat: float) -> None:
        super().__init__(name="snconvert-ticker", daemon=True)
        self._act, self._patience, self._beat = act, patience, beat
        self._stopped = threading.Event()

    def start(self) -> None:
        """Starts the thread, which no signal wakes: they are the main thread's.

        Raises:
            RuntimeError: The system starts no more threads.
        """
        with signals.blocked():
            super().start()

    def run(self) -> None:
        """Does the work of the thread."""
        seconds = self._patience
        while not self._stopped.wait(seconds):
            with _still:
                if not self._stopped.is_set():
                    self._act()
            seconds = self._beat

    def stop(self) -> None:
        """Ends the calls: none is going on any more, and none comes."""
        self._stopped.set()
        with _still:
            pass


def still() -> AbstractContextManager[object]:
    """Makes tickers wait until the end of the block; one that acts at the moment is waited for."""
    return _still


def is_alone() -> bool:
    """Whether no other thread runs, but for tickers."""
    this = threading.current_thread()
    return all(one is this or isinstance(one, Ticker) for one in threading.enumerate())
