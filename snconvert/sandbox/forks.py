"""Work on many items side by side, in forks of the guarded process.

Not in threads: each of the thousands of short calls into numpy ends with waiting for the
interpreter's lock, and two threads took longer than one. A fork costs a few milliseconds. On Linux
a fork does not outlive the process; it takes it along when it crashes, so that whoever guards the
one guards all.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NoReturn, TypeVar

from snconvert.core.system import FORKS
from snconvert.errors import SnconvertError
from snconvert.sandbox.channel import Channel
from snconvert.sandbox.child import end_with_parent

T = TypeVar("T")
R = TypeVar("R")


def side_by_side(
    work: Callable[[T], R], items: Sequence[T], processes: int
) -> Iterator[tuple[int, R]]:
    """Yields the place of each item and what `work` returns for it, in the order they are done.

    Args:
        work: What is done in a fork; its result must be picklable.
        items: What it is done with, the longest work first.
        processes: How many forks there may be; fewer than two, and there is none, nor where the
            system gives none.

    Raises:
        SnconvertError: As `work` raised it; a `MemoryError`, too.
        RuntimeError: `work` raised something else, which it tells.
    """
    with rounds(work, items, processes) as done:
        yield from done()


@contextlib.contextmanager
def rounds(
    work: Callable[[T], R], items: Sequence[T], processes: int
) -> Iterator[Callable[[], Iterator[tuple[int, R]]]]:
    """Does the same as `side_by_side`, each time that what it gives to the block is called.

    The forks have the memory of when the block began; what changes after that, they see only where
    it is shared.
    """
    count = min(processes, len(items)) if FORKS else 0
    forks: dict[Channel, int] = {}

    def done() -> Iterator[tuple[int, R]]:
        left = iter(range(len(items)))
        if not forks:
            yield from ((index, work(items[index])) for index in left)
        busy = {channel for channel, pid in forks.items() if _hand_out(channel, pid, left)}
        while busy:
            ready, _, _ = select.select(list(busy), [], [])
            for channel in ready:
                try:
                    index, result, error = channel.receive()
                except (EOFError, ConnectionError):
                    _die_as(forks[channel])
                if error is not None:
                    raise error
                if not _hand_out(channel, forks[channel], left):
                    busy.remove(channel)
                yield index, result

    try:
        with contextlib.suppress(OSError):  # there may be no more processes to be had
            for _ in range(count if count > 1 else 0):
                channel, pid = _fork(work, items, list(forks))
                forks[channel] = pid
        yield done
    finally:
        for channel, pid in forks.items():
            channel.close()
            with contextlib.suppress(ProcessLookupError, ChildProcessError):
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)


class OneAtATime:
    """A lock among forks: only one of them is inside the block; a context manager.

    It is to be made before the forks are.
    """

    def __init__(self) -> None:
        self._token, self._return = os.pipe()
        os.write(self._return, b"1")

    def __enter__(self) -> None:
        os.read(self._token, 1)

    def __exit__(self, *_: object) -> None:
        os.write(self._return, b"1")

    def close(self) -> None:
        """Gives its files back."""
        os.close(self._token)
        os.close(self._return)


def _hand_out(channel: Channel, pid: int, left: Iterator[int]) -> bool:
    index = next(left, None)
    if index is not None:
        try:
            channel.send(index)
        except ConnectionError:
            _die_as(pid)
    return index is not None


def _fork(work: Callable[[T], R], items: Sequence[T], others: list[Channel]) -> tuple[Channel, int]:
    ours, theirs = socket.socketpair()
    parent = os.getpid()
    with warnings.catch_warnings():
        # 3.12 warns of threads that only native libraries have, and those cope.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        try:
            end_with_parent(parent)
            for channel in others:
                channel.close()
            ours.close()
            _serve(work, items, Channel(theirs))
        finally:
            # The buffers and exit handlers of the process that was forked are not ours to run.
            os._exit(1)
    theirs.close()
    return Channel(ours), pid


def _serve(work: Callable[[T], Any], items: Sequence[T], channel: Channel) -> NoReturn:
    while True:
        index = channel.receive()
        try:
            answer: tuple[int, Any, Exception | None] = (index, work(items[index]), None)
        except (SnconvertError, MemoryError) as error:
            answer = (index, None, error)
        except Exception as error:  # noqa: BLE001 - a bug: it is raised again where it can be seen
            text = "".join(traceback.format_exception(error))
            answer = (index, None, RuntimeError(f"in a fork: {text}"))
        channel.send(answer)


def _die_as(pid: int) -> NoReturn:
    """Ends this process as a fork of it ended: who guards it tells crashes by that."""
    try:
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if status < 0:
            os.kill(os.getpid(), -status)
    finally:
        os._exit(1)
