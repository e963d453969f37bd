"""Reports as tables for people: fitted to a terminal, with whole names where piped."""

from __future__ import annotations

from collections.abc import Sequence
from typing import IO, TYPE_CHECKING, Any

from snconvert.cli.columns import (
    Column,
    Line,
    count_of,
    size,
)
from snconvert.cli.printing.layer_lines import layer_table, reasons
from snconvert.cli.printing.network import print_bound
from snconvert.cli.printing.norms import print_spectra, settings_of, summary
from snconvert.cli.printing.printer import Printer, printer_for
from snconvert.core.report import NO_KERNEL, LayerReport, Report
from snconvert.core.verbs import VERBS
from snconvert.display import SCHEMA
from snconvert.errors import printable
from snconvert.kinds.kernel_rule import KernelRule
from snconvert.kinds.table import RULES
from snconvert.planning.advice import keras_opens, more_with
from snconvert.planning.layer_rows import norm_of

if TYPE_CHECKING:
    pass

_WIDE = 2.1e-6  # between the bounds of a proof: those of matrices are closer
_NORM_SENTENCES = {
    "matrix": "sigma is the norm of the kernel as a matrix (--norm matrix)",
    "operator": "sigma of a convolution is its norm as a map (--norm operator)",
    "mixed": "sigma is the norm that each layer is normalised by",
}


def print_report(report: Report, stream: IO[str], *, verbose: bool = False) -> None:
    """Prints the table of layers and a closing line.

    Args:
        report: What was done.
        stream: Where to; a table that fits if it is a terminal, else columns with whole names.
        verbose: List the layers without a kernel too, whole names and the reason of each.
    """
    show_report(report, printer_for(stream), verbose=verbose)


def show_report(report: Report, printer: Printer, *, verbose: bool = False) -> None:
    """Prints a report as `print_report` does, with a printer."""
    layers = report.layers if verbose or VERBS[report.verb].changes_layers else ()
    show_layers(report, layers, printer, verbose=verbose)
    print_spectra(report, printer)
    if report.lipschitz is not None:
        print_bound(report.lipschitz, printer, verbose=verbose)
    for line in closing(report):
        printer.say(line, as_is=True)


def show_layers(
    report: Report, layers: Sequence[LayerReport], printer: Printer, *, verbose: bool
) -> None:
    """Prints the table of layers and what its numbers are."""
    shown = [layer for layer in layers if verbose or layer.reason != NO_KERNEL]
    hidden = len(layers) - len(shown)
    if not verbose and any(layer.sigma is not None for layer in shown):
        # The rest stays as it is and was not measured: the reasons below say all of it.
        shown = [layer for layer in shown if layer.sigma is not None or layer.status != "skipped"]
    notes = verbose and VERBS[report.verb].changes_layers
    columns, lines = layer_table(report, shown, printer.marks, notes=notes)
    legend = printer.table(columns, lines, whole=verbose) if lines else []
    if not verbose:
        legend += reasons(report, layers, printer.more)
    if hidden:
        legend.append(f"{count_of(hidden, 'layer')} without a kernel not shown ({printer.more})")
    if any(layer.operator_range for layer in shown):
        legend.append(_NORM_SENTENCES[norm_of(shown, report.norm)])
    if any(layer.certified for layer in shown):
        too = "; so is after" if any(x.certified_after for x in shown) else ""
        legend.append(
            f"sigma is proved to be at most what stands behind {printer.marks.at_most}{too}"
            f"{_width(shown)}"
        )
    for line in legend:
        printer.say(line)


def closing(report: Report) -> list[str]:
    """Returns the sentences below the table: how many, where to, how long."""
    verb, duration = VERBS[report.verb], f"{report.seconds:.2f} s"
    if report.seconds_sigma:
        what = "sigma and u" if verb.converts else "sigma"
        duration += f", {report.seconds_sigma:.2f} s of it for {what}"
    source, count = printable(report.source), report.converted
    missing = [layer.missing_kind for layer in report.layers if layer.missing_kind is not None]
    clauses = more_with(missing, count)
    already = sum(layer.status == "spectral" for layer in report.layers)
    if already:
        clauses.append(f"{already} {'is' if already == 1 else 'are'} normalised already")
    if already and verb.converts and verb.writes:
        clauses[-1] += " (`snconvert remove` or `snconvert bake` first to change that)"
    if verb.converts and verb.writes:
        clauses += settings_of(report)
    if not verb.changes_layers:
        outcome = f"{count_of(len(report.layers), 'layer')} {verb.done}"
    elif report.output is not None:
        outcome = f"{count_of(count, 'layer')} {verb.done}, {report.skipped} left as"
        outcome += " it was" if report.skipped == 1 else " they were"
    elif verb.converts:
        inspected = any(x.status == "convertible" and x.missing_kind for x in report.layers)
        outcome = f"{count_of(count, 'layer')} {'converts' if count == 1 else 'convert'}"
        outcome += " by default" if inspected else ""
    else:
        outcome = f"{count_of(count, 'layer')} to {verb.name}"
    if report.up_to_date:
        outcome = verb.earlier + (" with the same options" if verb.converts else "")
        clauses = []
    says = f"{source}: {'; '.join([outcome, *clauses])}"
    if report.output is None:
        lines = [f"{says}; nothing was written ({duration})"]
        told = None if verb.writes else summary(report)
        return lines if told is None else [*lines, told]
    output = printable(report.output)
    wrote = f"{output} is left as it is" if report.up_to_date else f"wrote {output}"
    lines = [says, f"{wrote} ({size(report.bytes)}; {duration})"]
    if (report.needs or report.holds_code) and report.loads and keras_opens(report.output):
        needed = f"{', '.join(report.needs)} and " if report.needs else ""
        how = "(..., safe_mode=False), if you trust its code" if report.holds_code else ""
        lines.append(f"load it with {needed}keras.saving.load_model{how}")
    return lines


def print_rules(rules: Sequence[KernelRule], stream: IO[str]) -> None:
    """Prints the table of the layer kinds."""
    printer = printer_for(stream)
    columns = [
        Column("kind"),
        Column("class", least=12),
        Column("becomes", least=12),
        Column("matrices (b, m, n)", wraps=True),
    ]
    lines = [Line((x.kind, x.class_name, x.spectral_class, x.title)) for x in rules]
    legend: list[str] = []
    if all(x.spectral_class == f"Spectral{x.class_name}" for x in rules):
        del columns[2]
        lines = [Line((x.kind, x.class_name, x.title)) for x in rules]
        legend = ["each becomes a class of that name behind Spectral: SpectralDense"]
    for line in [*printer.table(columns, lines), *legend]:
        printer.say(line)


def rules_json() -> dict[str, Any]:
    """Returns the layer kinds as `rules --json` prints them."""
    rules = [
        {
            "kind": rule.kind,
            "class": rule.class_name,
            "new_class": rule.spectral_class,
            "kernels": [kernel.path for kernel in rule.kernels],
            "matrix": rule.title,
        }
        for rule in RULES.values()
    ]
    return {"schema": SCHEMA, "verb": "rules", "rules": rules}


def _width(layers: list[LayerReport]) -> str:
    """Returns what is to be said of the widest proof, if it is wider than those of matrices."""
    widths = [
        (high / low - 1.0, layer.path)
        for layer in layers
        for low, high in [layer.certified or (0.0, 0.0)]
        if low > 0
    ]
    widest, path = max(widths, default=(0.0, ""))
    return f". The widest proof leaves {100 * widest:.2g} %: {path}" if widest > _WIDE else ""
