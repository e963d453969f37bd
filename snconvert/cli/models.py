"""Several models in one call: which files are meant, and working on some at once."""

from __future__ import annotations

import contextlib
import glob
import os
import signal
import sys
import traceback
from collections import Counter, deque
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, cast

from snconvert.archive.source import refuse_url
from snconvert.core.foreign import HDF5_SUFFIXES, WEIGHTS_SUFFIX
from snconvert.core.report import Report
from snconvert.core.system import FORKS
from snconvert.core.verbs import VERBS
from snconvert.errors import OptionError, OutputError, SnconvertError, SourceError, printable
from snconvert.formats.table import is_model_folder
from snconvert.sandbox import signals

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from multiprocessing.process import BaseProcess

Job = Callable[[str, str | None], Report]
"""Converts one source into one output."""

_TIDYING = 10.0  # seconds that a job which is ended has to clean up


def means_several(model: str) -> bool:
    """Whether one argument stands for any number of models: a glob, or a folder of models.

    Raises:
        SourceError: It is a URL, which may look like a glob.
    """
    if not os.path.lexists(model):
        refuse_url(model)
        return glob.has_magic(model)
    return os.path.isdir(model) and not is_model_folder(model)


def expand(models: Sequence[str], verb: str = "apply") -> list[str]:
    """Returns the model files and folders that the arguments mean.

    A folder that is an unzipped model stands for itself, any other for the `.keras` and HDF5 files
    in it, but for weights alone; results of an earlier run (`x-sn.keras` beside `x.keras`) are left
    out, unless one only looks.

    Raises:
        SourceError: A glob or a folder holds no model.
    """
    sources: list[str] = []
    for model in models:
        if not means_several(model):
            sources.append(model)
        elif not os.path.isdir(model):
            matches = sorted(glob.glob(model, recursive=True))
            if not matches:
                raise SourceError("the pattern matches no file", "Check it", file=model)
            sources += _without_results(matches, verb)
        else:
            inside = sorted(str(path) for path in Path(model).iterdir() if _is_model(path))
            if not inside:
                raise SourceError(
                    "the folder holds no .keras or .h5 file and is no unzipped model",
                    "Give a model file, or the folder that model.save(..., zipped=False) wrote",
                    file=model,
                )
            sources += _without_results(inside, verb)
    return list(dict.fromkeys(sources))


def _is_model(path: Path) -> bool:
    """Whether a file is a model by its name."""
    if path.suffix in HDF5_SUFFIXES:
        return not path.stem.endswith(WEIGHTS_SUFFIX)
    return path.suffix == ".keras"


def _without_results(paths: Sequence[str], verb: str) -> list[str]:
    if not VERBS[verb].writes:
        return list(paths)
    # What `apply` has made is what the ways back are for.
    verbs = [
        each
        for each in VERBS.values()
        if each.writes and (VERBS[verb].converts or not each.converts)
    ]
    results = {
        each.default_output(path, apart=apart)
        for path in paths
        for each in verbs
        for apart in (False, True)
    }
    return [path for path in paths if path not in results]


def outputs(sources: Sequence[str], folder: str | None, verb: str = "apply") -> list[str]:
    """Returns where each result goes: beside its source, or in `folder`.

    Where `m.h5` and `m.keras` would both become `m-sn.keras`, the first becomes `m-h5-sn.keras`.

    Raises:
        OutputError: `folder` is none.
        OptionError: Two results would have the same name all the same.
    """
    if folder is not None and not os.path.isdir(folder):
        raise OutputError(
            "with several models the output is a folder, and this is none",
            "Create it, or give an existing folder",
            file=folder,
        )
    placed = [_placed(source, folder, verb) for source in sources]
    shared = _shared(placed)
    placed = [
        _placed(source, folder, verb, apart=True) if os.path.normcase(path) in shared else path
        for source, path in zip(sources, placed, strict=True)
    ]
    for name in _shared(placed):
        first, second, *_ = (
            f"{printable(source)!r}"
            for source, path in zip(sources, placed, strict=True)
            if os.path.normcase(path) == name
        )
        raise OptionError(
            f"{first} and {second} would both be written to {printable(name)!r}",
            "Convert them in two calls, each with an output of its own (-o)",
        )
    return placed


def _placed(source: str, folder: str | None, verb: str, *, apart: bool = False) -> str:
    path = VERBS[verb].default_output(source, apart=apart)
    return path if folder is None else os.path.join(folder, os.path.basename(path))


def _shared(paths: Sequence[str]) -> list[str]:
    """Returns the names that several paths have, as they are compared."""
    return [name for name, count in Counter(map(os.path.normcase, paths)).items() if count > 1]


def run(
    job: Job, sources: Sequence[str], targets: Sequence[str | None], jobs: int
) -> Generator[tuple[int, Report | SnconvertError], None, None]:
    """Runs `job` on each source, `jobs` at once, and yields each outcome as it comes.

    Each job has a process of its own, so a failure stops none of the others. A pool of processes
    would not do: its workers take what ends one of them for the failure of its job, and go on.
    """
    if jobs <= 1:
        for index, pair in enumerate(zip(sources, targets, strict=True)):
            yield index, _attempt(job, *pair)
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
                with signals.blocked():
                    ours, theirs = context.Pipe(duplex=False)
                    process = context.Process(target=_work, args=(theirs, job, *pair))
                    process.start()
                    running[ours] = index, process
                    theirs.close()
            for ready in wait(list(running)):
                connection = cast("Connection", ready)
                index, process = running[connection]
                outcome = _outcome(connection, process, sources[index])
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


def _outcome(connection: Connection, process: BaseProcess, source: str) -> Report | SnconvertError:
    try:
        outcome: Report | Exception = connection.recv()
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


def _work(results: Connection, job: Job, source: str, target: str | None) -> None:
    """Does one job in its own process; the parent alone decides when it ends early."""
    # No signal is ignored for a moment that counts: one that waits would be lost.
    signal.signal(signal.SIGTERM, _leave)
    for number in set(signals.SIGNALS) - {signal.SIGTERM}:
        signal.signal(number, signal.SIG_IGN)
    signals.unblock()
    outcome: Report | Exception
    try:
        outcome = _attempt(job, source, target)
    except Exception as error:  # noqa: BLE001 - a bug: it is raised again where it can be seen
        error.add_note("".join(traceback.format_exception(error)))
        outcome = error
    with contextlib.suppress(BrokenPipeError):  # the parent was killed
        results.send(outcome)


def _leave(number: int, _frame: object) -> NoReturn:
    """Ends the process by an exception, so that what it has begun is cleaned up."""
    signals.ignore()
    sys.exit(128 + number)


def _attempt(job: Job, source: str, target: str | None) -> Report | SnconvertError:
    try:
        return job(source, target)
    except SnconvertError as error:
        return error
