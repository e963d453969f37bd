"""Reports as tables for people; see `snconvert.cli.tables`."""

from __future__ import annotations

import io
import shutil
from collections.abc import Sequence

from snconvert.cli.printing.network import print_bound
from snconvert.cli.printing.notebook import Html
from snconvert.cli.printing.printer import Printer, text_printer
from snconvert.cli.printing.verdict import print_verdict, show_verdict
from snconvert.cli.tables import (
    closing,
    print_report,
    print_rules,
    rules_json,
    show_layers,
    show_report,
)
from snconvert.core.network_bound import NetworkBound
from snconvert.core.report import LayerReport, Report
from snconvert.core.verdict import Verdict
from snconvert.errors import counted, escaped

__all__ = ["closing", "html", "print_report", "print_rules", "print_verdict", "rules_json", "text"]

_NARROWEST = 80

Result = Report | LayerReport | Verdict | NetworkBound


def text(result: Result) -> str:
    """Returns a result as a table without colours, as wide as the terminal, or of 80 columns."""
    stream = io.StringIO()
    _show(result, text_printer(stream, max(_NARROWEST, shutil.get_terminal_size().columns)))
    return stream.getvalue().rstrip("\n")


def html(result: Result) -> str:
    """Returns a result as HTML for a notebook."""
    page = Html()
    _show(result, page)
    return str(page)


def _show(result: Result, printer: Printer) -> None:
    if isinstance(result, Report):
        show_report(result, printer)
        _warn(result.warnings, printer)
    elif isinstance(result, Verdict):
        show_verdict(result, printer)
        _warn((*result.warnings, *result.notes), printer)
    elif isinstance(result, NetworkBound):
        print_bound(result, printer)
    else:
        verb = "inspect" if result.status == "spectral" else "apply"
        mode, bound = ("gain", 1.0) if result.bound is None else ("hard", result.bound)
        shape = (mode, bound, result.norm, (result,), 0, 0.0)
        report = Report("", None, "layer", *shape, verb=verb)
        show_layers(report, report.layers, printer, verbose=True)


def _warn(warnings: Sequence[str], printer: Printer) -> None:
    """Says what the command line says on stderr."""
    for warning in counted(warnings):
        printer.say(f"warning: {escaped(warning)}", as_is=True)
