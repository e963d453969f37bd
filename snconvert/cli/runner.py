"""Running a verb on models: progress, reports, warnings, and errors as one line each."""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import typer

from snconvert import wording
from snconvert.address import place_of
from snconvert.cli.messages import Display, complain, drop_output
from snconvert.core.verbs import VERBS
from snconvert.display import failure
from snconvert.errors import OptionError, SnconvertError
from snconvert.sandbox import signals

if TYPE_CHECKING:
    from snconvert.core.report import OnProgress, Report


def run(
    verb: str,
    models: list[str],
    output: str | None,
    options: dict[str, Any],
    jobs: int,
    display: Display,
) -> None:
    """Runs a verb on models and prints the reports; ends with an exit code where that fails.

    Args:
        verb: The name of a row of `VERBS`.
        models: Files, folders or globs.
        output: Where the result, or of several models each, goes.
        options: Those of the verb's function in `snconvert.api`; what is not set is left out.
        jobs: How many models are worked on at once.
        display: What is printed.
    """
    if options.get("in_place") and output is not None:
        raise typer.BadParameter("--in-place and --output exclude each other")
    if options.get("in_place") and options.get("force"):
        raise typer.BadParameter("--in-place and --force exclude each other")
    # numpy and h5py cost more than the rest together: --help and typing errors need neither.
    from snconvert import api
    from snconvert.api.destination import is_place
    from snconvert.cli import batch
    from snconvert.cli import models as meant
    from snconvert.cli.progress import progress_bar
    from snconvert.cli.results import Results, SeveralResults

    signals.interrupt()
    models, output = [*map(place_of, models)], None if output is None else place_of(output)
    with handled(verb=verb if display.as_json else None):
        several = len(models) > 1 or meant.means_several(models[0])
        if several and "html" in options:
            raise OptionError(
                "a page shows one model, and several are given",
                "Leave out --html, or give it with one model at a time",
            )
        sources = meant.expand(models, verb) if several else models
        targets: list[str | None] = [None if several else output] * len(sources)
        folder: str | None = None
        row = VERBS[verb]
        placed = row.writes and not (options.get("in_place") or options.get("dry_run"))
        if placed and (several or (output is not None and is_place(output, models[0]))):
            targets, folder = list(meant.outputs(sources, output, verb)), output
        if several:
            results: Results = SeveralResults(verb, sources, display, options, targets, folder)
        else:
            results = Results(verb, sources, display, options)
        job = functools.partial(_job, getattr(api, row.function), options)
        sizes = [(source, meant.size_of(source)) for source in sources] if several else []
        try:
            with meant.made(folder), progress_bar(sizes, hidden=display.quiet) as bar:
                tell = functools.partial(results.tell, bar)
                with contextlib.closing(
                    batch.run(job, sources, targets, jobs, None if display.quiet else tell)
                ) as outcomes:
                    for index, outcome in outcomes:
                        bar.end(index)
                        with bar.aside():
                            results.add(index, outcome)
                        if isinstance(outcome, SnconvertError) and _is_usage(
                            outcome, () if several else sources
                        ):
                            end(2)
        except signals.Interrupted:
            results.end()
            raise
        results.end()
    if results.failed:
        end(1)


def _job(
    function: Callable[..., Report],
    options: dict[str, Any],
    source: str,
    target: str | None,
    progress: OnProgress,
) -> Report:
    outputs = {} if target is None else {"output": target}
    return function(source, **outputs, **options, progress=progress)


def _is_usage(error: SnconvertError, models: Sequence[str]) -> bool:
    """Whether an error is one of usage: of a flag, or one that does not go with the model.

    A wrong recipe file is an error in a file.
    """
    return isinstance(error, OptionError) and error.file in (None, *models)


@contextlib.contextmanager
def handled(*models: str, verb: str | None = None) -> Iterator[None]:
    """Turns errors into one line and an exit code; nothing a user did ends in a traceback.

    Args:
        *models: The files that options must go with.
        verb: The verb whose errors are printed as JSON, too, if they are of a file.
    """
    with wording.flags():
        try:
            yield
            sys.stdout.flush()
        except SnconvertError as error:
            source = models[0] if models else error.file
            complain(error, failure(verb, source) if verb and source is not None else None)
            end(2 if _is_usage(error, models) else 1)
        except BrokenPipeError:
            # The reader of our output (`| head`) has seen enough.
            drop_output()
            end(1)
        except MemoryError:
            complain("out of memory. Free some and try again.")
            end(1)


def end(code: int) -> NoReturn:
    """Ends the command with an exit code."""
    raise typer.Exit(code)
