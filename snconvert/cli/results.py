"""What is printed of each model when it is done: table, line or JSON, warnings and errors."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from snconvert.cli.messages import Display, complain, print_json
from snconvert.cli.printing.printer import folded
from snconvert.cli.progress import marks_of
from snconvert.cli.totals import NOTHING, Totals
from snconvert.core.spectrum import SPECTRA
from snconvert.core.verbs import VERBS
from snconvert.display import failure
from snconvert.errors import (
    DoneError,
    NothingToConvertError,
    SnconvertError,
    counted,
    printable,
)

if TYPE_CHECKING:
    from snconvert.cli.progress import ProgressBar
    from snconvert.cli.summary import Table
    from snconvert.core.report import Progress, Report


class Results:
    """Prints what becomes of models, of each when it is done, and keeps nothing but totals.

    Args:
        verb: The name of a row of `VERBS`.
        sources: The models.
        display: What is printed.
        options: Those of the verb's function in `snconvert.api`.

    Attributes:
        failed: Whether any model has failed.
    """

    def __init__(
        self, verb: str, sources: Sequence[str], display: Display, options: Mapping[str, Any]
    ) -> None:
        self._verb, self._sources = verb, sources
        self._display, self._options = display, options
        self.failed = False

    def add(self, index: int, outcome: Report | SnconvertError) -> None:
        """Prints what became of a model.

        Args:
            index: Its place among all.
            outcome: Its report or the error.
        """
        if isinstance(outcome, SnconvertError):
            self._fail(index, outcome)
            return
        for warning in counted(outcome.warnings) if not self._display.quiet else ():
            print(f"warning: {printable(outcome.source)}: {warning}", file=sys.stderr)
        if self._display.as_json:
            print_json(outcome.as_json())
        elif not self._display.quiet:
            self._print(outcome)
        sys.stdout.flush()

    def end(self) -> None:
        """Prints what is to be said of all models."""

    def tell(self, bar: ProgressBar, index: int, progress: Progress) -> None:
        """Shows how far a model is, and says before long work what it costs.

        Args:
            bar: Shows it.
            index: The model's place among all.
            progress: How far it is.
        """
        if (
            progress.stage == SPECTRA
            and progress.what
            and not (progress.done or self._display.silent)
        ):
            with bar.aside():
                print(self._about(index) + progress.what, file=sys.stderr)
        bar.update(progress, index)

    def _about(self, _index: int) -> str:
        """Returns what a line about a model begins with."""
        return ""

    def _fail(self, index: int, error: SnconvertError) -> None:
        source = self._sources[index]
        if isinstance(error, DoneError) and self._options.get("in_place"):  # by an earlier run
            if self._display.as_json:
                self._skip(index, error)
            elif not self._display.quiet:
                already = VERBS[self._verb].already
                print(f"{printable(source)}: {already}; left as it is")
            return
        self.failed = True
        complain(error, failure(self._verb, source) if self._display.as_json else None)

    def _skip(self, index: int, why: SnconvertError) -> None:
        """Prints of a model as JSON that it is passed over."""
        said = why.as_json()["what"]
        print_json(failure(self._verb, self._sources[index]) | {"skipped": said})

    def _print(self, report: Report) -> None:
        from snconvert.cli import tables

        tables.print_report(report, sys.stdout, verbose=self._display.verbose)
        if "html" in self._options:
            print(f"wrote {printable(self._options['html'])}")


class SeveralResults(Results):
    """Prints a line for each of several models, and a summary; tables where they are asked for.

    Args:
        verb: The name of a row of `VERBS`.
        sources: The models.
        display: What is printed.
        options: Those of the verb's function in `snconvert.api`.
        targets: Where each goes.
        folder: The folder for all of them, where that was said.
    """

    def __init__(
        self,
        verb: str,
        sources: Sequence[str],
        display: Display,
        options: Mapping[str, Any],
        targets: Sequence[str | None],
        folder: str | None = None,
    ) -> None:
        from snconvert.cli.summary import Table, ending

        super().__init__(verb, sources, display, options)
        self._totals = Totals(verb, folder, ending([*filter(None, targets)], verb))
        self._as_tables = display.verbose or bool({"spectrum", "lipschitz"} & options.keys())
        self._names = [target or source for source, target in zip(sources, targets, strict=True)]
        self._table: Table | None = None
        if sys.stdout.isatty() or os.environ.get("FORCE_COLOR"):
            colours = not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
            self._table = Table.of(
                verb,
                self._names,
                shutil.get_terminal_size().columns,
                marks=marks_of(sys.stdout),
                colours=colours,
            )
        self._headed = False

    def add(self, index: int, outcome: Report | SnconvertError) -> None:
        """Prints what became of a model, and counts it."""
        if not isinstance(outcome, SnconvertError):
            self._totals.add(outcome)
        super().add(index, outcome)

    def end(self) -> None:
        """Prints the totals."""
        if not self._display.silent:
            for line in self._totals.lines(len(self._sources)):
                print("\n".join([line] if self._table is None else folded(line, self._table.width)))
            sys.stdout.flush()
        if self._totals.in_vain(len(self._sources)):
            self.failed = True
            complain(f"{NOTHING} in any of the models. See `snconvert inspect` for every layer.")

    def _about(self, index: int) -> str:
        return f"{printable(self._sources[index])}: "

    def _fail(self, index: int, error: SnconvertError) -> None:
        source = self._sources[index]
        if isinstance(error, DoneError):
            why = VERBS[self._verb].already
            self._totals.pass_over()
        elif isinstance(error, NothingToConvertError):
            why = NOTHING
            self._totals.leave()
        else:
            self._totals.fail(source)
            super()._fail(index, error)
            return
        if self._display.as_json:
            self._skip(index, error)
        elif not self._display.quiet:
            table = self._table
            print(table.note(self._names[index], why) if table else f"{printable(source)}: {why}")

    def _print(self, report: Report) -> None:
        from snconvert.cli.summary import sentence

        if self._as_tables:
            super()._print(report)
        elif self._table is None:
            print(sentence(report))
        else:
            if not (self._headed or report.up_to_date):
                print(self._table.heading(dry_run="dry_run" in self._options))
                self._headed = True
            print(self._table.line(report))
