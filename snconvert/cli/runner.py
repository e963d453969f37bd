"""Running a verb on models: progress, reports, warnings, and errors as one line each."""

from __future__ import annotations

import contextlib
import functools
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

import typer

from snconvert.core.json_lines import failure, json_line
from snconvert.core.spectrum import SPECTRA
from snconvert.core.verbs import VERBS
from snconvert.errors import DoneError, OptionError, SnconvertError, counted, printable
from snconvert.sandbox import signals

if TYPE_CHECKING:
    from snconvert.core.report import Progress, Report


class Display(NamedTuple):
    """What of the results is printed.

    Attributes:
        as_json: Reports as JSON, not as tables.
        quiet: Errors only.
        verbose: Every layer.
    """

    as_json: bool
    quiet: bool
    verbose: bool = False


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
    from snconvert.cli import models as batch

    signals.interrupt()
    reports: dict[int, Report] = {}
    failed = False
    with handled(verb=verb if display.as_json else None):
        several = len(models) > 1 or batch.means_several(models[0])
        if several and "html" in options:
            raise OptionError(
                "a page shows one model, and several are given",
                "Leave out --html, or give it with one model at a time",
            )
        sources = batch.expand(models, verb) if several else models
        targets: list[str | None] = [output] * len(sources)
        row = VERBS[verb]
        if several and row.writes and not (options.get("in_place") or options.get("dry_run")):
            targets = list(batch.outputs(sources, output, verb))
        show_progress = not display.quiet and len(sources) == 1
        with contextlib.ExitStack() as shown:
            bar = shown.enter_context(progress_bar()) if show_progress else None
            silent = display.quiet or display.as_json
            progress = bar if silent else functools.partial(_tell, bar)
            function = getattr(api, row.function)
            job = functools.partial(_job, function, options, progress)
            with contextlib.closing(batch.run(job, sources, targets, jobs)) as outcomes:
                for index, outcome in outcomes:
                    if isinstance(outcome, DoneError) and sources[index] not in models:
                        _pass_over(outcome, display)
                    elif isinstance(outcome, SnconvertError):
                        failed = True
                        shown.close()  # a bar would break the line
                        complain(
                            outcome, failure(verb, sources[index]) if display.as_json else None
                        )
                        if _is_usage(outcome, sources if len(sources) == 1 else ()):
                            end(2)
                    else:
                        reports[index] = outcome
                        if display.as_json:
                            _print_line(outcome.as_json())
        _print([reports[index] for index in sorted(reports)], display)
        if reports and "html" in options and not silent:
            print(f"wrote {printable(options['html'])}")
    if failed:
        end(1)


def _tell(bar: Callable[[Progress], None] | None, progress: Progress) -> None:
    """Shows how far the work is, and says before long work what it costs."""
    if progress.stage == SPECTRA and not progress.done:
        print(progress.what, file=sys.stderr)
    if bar is not None:
        bar(progress)


def _pass_over(done: DoneError, display: Display) -> None:
    """Tells of a model that a folder or a pattern holds, and that has to become nothing."""
    if not display.quiet:
        print(f"skipped: {done}", file=sys.stderr)


def _print_line(shape: dict[str, Any]) -> None:
    """Prints an object of `--json`, now: what reads it need not wait for the other models."""
    print(json_line(shape), flush=True)


def _print(reports: list[Report], display: Display) -> None:
    from snconvert.cli import tables

    for report in reports:
        for warning in counted(report.warnings) if not display.quiet else ():
            print(f"warning: {report.source}: {warning}", file=sys.stderr)
    if not (display.as_json or display.quiet):
        for report in reports:
            tables.print_report(report, sys.stdout, verbose=display.verbose)


def _job(
    function: Callable[..., Report],
    options: dict[str, Any],
    progress: Callable[[Progress], None] | None,
    source: str,
    target: str | None,
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


def drop_output() -> None:
    """Sends stdout nowhere: what is buffered would only raise the same error again at the end."""
    with contextlib.suppress(OSError):  # there may be no descriptor left
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def complain(error: SnconvertError | str, failed: dict[str, Any] | None = None) -> None:
    """Prints an error.

    Args:
        error: The error.
        failed: What `--json` prints of a model that failed, but for the error.
    """
    print(f"error: {error}", file=sys.stderr)
    if failed is not None:
        try:
            _print_line({**failed, "error": str(error)})
        except BrokenPipeError:
            drop_output()


def end(code: int) -> NoReturn:
    """Ends the command with an exit code."""
    raise typer.Exit(code)


@contextlib.contextmanager
def progress_bar() -> Iterator[Callable[[Progress], None] | None]:
    """Shows layer, bytes and time left on a terminal, once the work lasts half a second."""
    if not sys.stderr.isatty():
        yield None
        return
    from snconvert.cli.progress import ProgressBar

    with ProgressBar() as bar:
        yield bar.update
