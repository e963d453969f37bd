"""Working on several models, some of them at once, each in a process of its own."""

from __future__ import annotations

import contextlib
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

    Each job has a process of its own, so a failure stops none of the others. A pool of processes
    would not do: its workers take what ends one of them for the failure of its job, and go on.

    Args:
        job: What is done with each.
        sources: The models.
        targets: Where each goes.
        jobs: How many are worked on at once; of one, in this process.
        tell: Called with how far each is.
    """
    if jobs <= 1:
        for index, pair in enumerate(zip(sources, targets, strict=True)):
            yield index, _attempt(job, *pair, None if tell is None else partial(tell, index))
        return
    import multiprocessing
    from multiprocessing.connection import wait

    context: Any = multiprocessing.get_context("fork" if FORKS else "spawn")
    waiting = deque(enumerate(zip(sources, targets, strict=True)))
    running: dict[Connection, tuple[int, BaseProcess]] = {}
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                index, pair = waiting.popleft()
                with signals.blocked(), ticker.still(), warnings.catch_warnings():
                    # 3.12 warns of other threads: what a ticker does is over when a process forks.
                    warnings.simplefilter("ignore", DeprecationWarning)
                    ours, theirs = context.Pipe(duplex=False)
                    arguments = (theirs, job, *pair, tell is not None)
                    process = context.Process(target=_work, args=arguments)
                    process.start()
                    running[ours] = index, process
                    theirs.close()
            for ready in wait(list(running)):
                connection = cast("Connection", ready)
                index, process = running[connection]
                outcome = _received(connection, process, sources[index])
                if isinstance(outcome, Progress):
                    if tell is not None:
                        tell(index, outcome)
                    continue
                del running[connection]
                yield index, outcome
    finally:
        for _, process in running.values():
            process.terminate()
        for connection, (_, process) in running.items():
            connection.close()
            process.join(_TIDYING)
            process.kill()
            process.join()


def _received(
    connection: Connection, process: BaseProcess, source: str
) -> Report | SnconvertError | Progress:
    """Returns what a job has sent; its outcome is the last of it."""
    try:
        outcome: Report | Exception | Progress = connection.recv()
        if isinstance(outcome, Progress):
            return outcome
    except EOFError:
        process.join()
        number = -(process.exitcode or 0)
        how = f" ({signal.Signals(number).name})" if number in set(signal.Signals) else ""
        outcome = SourceError(
            f"the process that worked on it died{how}", "Run it alone", file=source
        )
    connection.close()
    process.join()
    if isinstance(outcome, Exception) and not isinstance(outcome, SnconvertError):
        raise outcome
    return outcome


def _work(results: Connection, job: Job, source: str, target: str | None, tells: bool) -> None:
    """Does one job in its own process; the parent alone decides when it ends early."""
    # No signal is ignored for a moment that counts: one that waits would be lost.
    signal.signal(signal.SIGTERM, _leave)
    for number in set(signals.SIGNALS) - {signal.SIGTERM}:
        signal.signal(number, signal.SIG_IGN)
    signals.unblock()
    outcome: Report | Exception
    try:
        outcome = _attempt(job, source, target, results.send if tells else None)
    except Exception as error:  # noqa: BLE001 - a bug: it is raised again where it can be seen
        error.add_note("".join(traceback.format_exception(error)))
        outcome = error
    with contextlib.suppress(BrokenPipeError):  # the parent was killed
        results.send(outcome)


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
