"""Several models in one call: which files are meant, and working on some at once."""

from __future__ import annotations

import glob
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import NoReturn

from snconvert import signals
from snconvert.api import SUFFIXES, default_output
from snconvert.errors import OptionError, OutputError, SnconvertError, SourceError
from snconvert.report import Report

Job = Callable[[str, str | None], Report]
"""Converts one source into one output."""


def means_several(model: str) -> bool:
    """Whether one argument stands for any number of models: a glob, or a folder of models."""
    if not os.path.lexists(model):
        return glob.has_magic(model)
    return os.path.isdir(model) and not _is_model_folder(model)


def expand(models: Sequence[str], verb: str = "apply") -> list[str]:
    """Returns the model files and folders that the arguments mean.

    A folder that is an unzipped model stands for itself, any other for the `.keras` files in it;
    results of an earlier run (`x-sn.keras` beside `x.keras`) are left out.

    Raises:
        SourceError: A glob or a folder holds no model.
    """
    found: list[str] = []
    for model in models:
        if not means_several(model):
            found.append(model)
        elif not os.path.isdir(model):
            matches = sorted(glob.glob(model, recursive=True))
            if not matches:
                raise SourceError("the pattern matches no file", "Check it", file=model)
            found += _without_results(matches, verb)
        else:
            inside = sorted(str(path) for path in Path(model).glob("*.keras"))
            if not inside:
                raise SourceError(
                    "the folder holds no .keras file and is no unzipped model",
                    "Give a model file, or the folder that model.save(..., zipped=False) wrote",
                    file=model,
                )
            found += _without_results(inside, verb)
    return list(dict.fromkeys(found))


def _is_model_folder(path: str) -> bool:
    names = ("config.json", "model.weights.h5", "metadata.json", "saved_model.pb")
    return any(os.path.lexists(os.path.join(path, name)) for name in names)


def _without_results(paths: Sequence[str], verb: str) -> list[str]:
    # What `apply` has made is what the ways back are for.
    verbs = [other for other in SUFFIXES if verb == "apply" or other != "apply"]
    results = {default_output(path, other) for path in paths for other in verbs}
    return [path for path in paths if path not in results]


def outputs(sources: Sequence[str], folder: str | None, verb: str = "apply") -> list[str]:
    """Returns where each result goes: beside its source, or in `folder`.

    Raises:
        OutputError: `folder` is none.
        OptionError: Two results would have the same name.
    """
    if folder is not None and not os.path.isdir(folder):
        raise OutputError(
            "with several models the output is a folder, and this is none",
            "Create it, or give an existing folder",
            file=folder,
        )
    beside = [default_output(source, verb) for source in sources]
    placed = [
        path if folder is None else os.path.join(folder, os.path.basename(path)) for path in beside
    ]
    if len(set(placed)) < len(placed):
        twice = next(path for path in placed if placed.count(path) > 1)
        raise OptionError(
            f"two models would be written to {twice!r}", "Convert them into different folders"
        )
    return placed


def run(
    job: Job, sources: Sequence[str], targets: Sequence[str | None], jobs: int
) -> Generator[tuple[int, Report | SnconvertError], None, None]:
    """Runs `job` on each source, `jobs` at once, and yields each outcome as it comes.

    Each job has a process of its own, so a failure stops none of the others.
    """
    if jobs <= 1:
        for index, pair in enumerate(zip(sources, targets, strict=True)):
            yield index, _attempt(job, *pair)
        return
    methods = multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("fork" if "fork" in methods else "spawn")
    with ProcessPoolExecutor(
        min(jobs, len(sources)), mp_context=context, initializer=_obey
    ) as pool:
        try:
            with signals.put_off():
                pending = {
                    pool.submit(_attempt, job, source, target): index
                    for index, (source, target) in enumerate(zip(sources, targets, strict=True))
                }
            for future in as_completed(pending):
                index = pending[future]
                try:
                    yield index, future.result()
                except BrokenProcessPool:
                    yield (
                        index,
                        SourceError(
                            "the process that worked on it died",
                            "Run it alone",
                            file=sources[index],
                        ),
                    )
        except BaseException:
            for child in multiprocessing.active_children():
                child.terminate()
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _obey() -> None:
    """Lets the parent alone decide when a job ends early; a job that is ended cleans up."""
    signals.ignore()
    signal.signal(signal.SIGTERM, _leave)
    signals.admit()


def _leave(number: int, _frame: object) -> NoReturn:
    signals.ignore()
    sys.exit(128 + number)


def _attempt(job: Job, source: str, target: str | None) -> Report | SnconvertError:
    try:
        return job(source, target)
    except SnconvertError as error:
        return error
