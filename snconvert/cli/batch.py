"""Working on several models, some of them at once, in processes that take one after the other."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import traceback
import warnings
from collections import deque
from collections.abc import Callable, Generator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn, cast

from snconvert.core.report import OnProgress, Progress, Report
from snconvert.core.system import FORKS
from snconvert.errors import SnconvertError, SourceError
from snconvert.sandbox import signals, ticker

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from multiprocessing.process import BaseProcess

Job = Callable[[str, str | None, OnProgress], Report]
"""Converts one source into one output, and says how far it is."""
Tell = Callable[[int, Progress], None] | None
"""The function that is called with the place of a model and how far it is."""

_TIDYING = 10.0  # seconds that a job which is ended has to clean up


def run(
    job: Job,
    sources: Sequence[str],
    targets: Sequence[str | None],
    jobs: int,
    tell: Tell = None,
) -> Generator[tuple[int, Report | SnconvertError], None, None]:
    """Runs `job` on each source, `jobs` at once, and yields each outcome as it comes.

    A process that dies is the failure of the model it worked on, and of no other: another takes its
    place. The pools of the standard library cannot tell which that was.

    Args:
        job: What is done with each.
        sources: The models.
        targets: Where each goes.
        jobs: How many are worked on at once; of one, in this process.
        tell: Called with how far each is.
    """
    models = list(zip(sources, targets, strict=True))
    if jobs <= 1:
        for index, model in enumerate(models):
            yield index, _attempt(job, *model, None if tell is None else partial(tell, index))
        return
    from multiprocessing.connection import wait

    waiting = deque(range(len(models)))
    processes: dict[Connection, BaseProcess] = {}
    running: dict[Connection, int] = {}
    try:
        for _ in range(min(jobs, len(models))):
            _hand_out(_start(job, tell is not None, processes), models, waiting, running)
        while running:
            for ready in wait(list(running)):
                connection = cast("Connection", ready)
                outcome = _received(connection, processes, sources[running[connection]])
                if isinstance(outcome, Progress):
                    if tell is not None:
                        tell(running[connection], outcome)
                    continue
                index = running.pop(connection)
                if waiting:
                    if connection not in processes:
                        connection = _start(job, tell is not None, processes)
                    _hand_out(connection, models, waiting, running)
                yield index, outcome
    finally:
        for process in processes.values():
            process.terminate()
        for connection, process in processes.items():
            connection.close()
            _end(process)


def _start(job: Job, tells: bool, processes: dict[Connection, BaseProcess]) -> Connection:
    """Starts a process that does `job` with what comes through the connection."""
    import multiprocessing

    context: Any = multiprocessing.get_context("fork" if FORKS else "spawn")
    with signals.blocked(), ticker.still(), warnings.catch_warnings():
        # 3.12 warns of other threads: what a ticker does is over when a process forks.
        warnings.simplefilter("ignore", DeprecationWarning)
        ours, theirs = context.Pipe()
        process = context.Process(
            target=_work, args=(theirs, job, tells, os.getpid(), ours if FORKS else None)
        )
        process.start()
        processes[ours] = process
        theirs.close()
    connection: Connection = ours
    return connection


def _hand_out(
    connection: Connection,
    models: Sequence[tuple[str, str | None]],
    waiting: deque[int],
    running: dict[Connection, int],
) -> None:
    """Has a process work on the next model; if it is dead, what it sends says so."""
    running[connection] = index = waiting.popleft()
    with contextlib.suppress(BrokenPipeError):
        connection.send(models[index])


def _received(
    connection: Connection, processes: dict[Connection, BaseProcess], source: str
) -> Report | SnconvertError | Progress:
    """Returns what a process has sent; the outcome is the last of a model."""
    try:
        outcome: Report | Exception | Progress = connection.recv()
    except (EOFError, ConnectionError):
        process = processes.pop(connection)
        connection.close()
        _end(process)
        number = -(process.exitcode or 0)
        how = f" ({signal.Signals(number).name})" if number in set(signal.Signals) else ""
        return SourceError(f"the process that worked on it died{how}", "Run it alone", file=source)
    if isinstance(outcome, Exception) and not isinstance(outcome, SnconvertError):
        raise outcome
    return outcome


def _end(process: BaseProcess) -> None:
    """Waits for a process that has been told to end, or is dead."""
    process.join(_TIDYING)
    if process.is_alive():
        process.kill()
        process.join()


def _work(
    connection: Connection, job: Job, tells: bool, parent: int, inherited: Connection | None
) -> None:
    """Does what comes in a process of its own; the parent alone decides when it ends early."""
    if inherited is not None:  # the parent's end: as long as it is open, nobody hears of its death
        inherited.close()
    # No signal is ignored for a moment that counts: one that waits would be lost.
    signal.signal(signal.SIGTERM, _leave)
    for number in set(signals.SIGNALS) - {signal.SIGTERM}:
        signal.signal(number, signal.SIG_IGN)
    signals.unblock()
    with contextlib.suppress(EOFError, ConnectionError):  # the parent was killed
        while os.getppid() == parent:
            source, target = connection.recv()
            outcome: Report | Exception
            try:
                outcome = _attempt(job, source, target, connection.send if tells else None)
            except Exception as error:  # noqa: BLE001 - a bug: it is raised where it can be seen
                error.add_note("".join(traceback.format_exception(error)))
                outcome = error
            connection.send(outcome)


def _leave(number: int, _frame: object) -> NoReturn:
    """Ends the process by an exception, so that what it has begun is cleaned up."""
    signals.ignore()
    sys.exit(128 + number)


def _attempt(
    job: Job, source: str, target: str | None, progress: OnProgress
) -> Report | SnconvertError:
    try:
        return job(source, target, progress)
    except SnconvertError as error:
        return error
