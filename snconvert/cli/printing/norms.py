"""The norms that an inspection finds: as bars, in a sentence, and with all singular values."""

from __future__ import annotations

import math

from snconvert.cli.columns import CLOSE, Bar, Column, Line, count_of, number
from snconvert.cli.printing.printer import Printer
from snconvert.core.network_bound import NetworkBound
from snconvert.core.report import KernelReport, LayerReport, Report
from snconvert.core.verbs import VERBS
from snconvert.errors import printable

_SPECTRUM = ("values", "largest", "smallest", "condition", "stable\nrank", "effective\nrank")


def summary(report: Report) -> str | None:
    """Returns what matters, in one sentence; `None` if no norm is known."""
    bars = [(layer, bar) for layer in report.layers if (bar := bar_of(layer, layer, report))]
    clauses = []
    if bars:
        layer, largest = max(bars, key=lambda pair: pair[1].value)
        of = "" if report.lipschitz is None else " of a kernel"
        clauses.append(f"largest norm{of} {number(largest.value)} ({printable(layer.path)})")
        limited = [bar for _, bar in bars if bar.limit is not None]
        above = sum(bar.is_above for bar in limited)
        limits = {number(bar.limit) for bar in limited}
        if limited:
            bound = f"the bound {limits.pop()}" if len(limits) == 1 else "their bounds"
            layers = count_of(len(limited), "layer")
            clauses.append(f"{above or 'none'} of {layers} above {bound}")
        if any(layer.status == "spectral" and bar.is_above for layer, bar in bars):
            clauses.append("after averaging or assigning weights call snconvert.converge(model)")
    network = report.lipschitz
    if network is not None:
        bound = "none" if network.bound is None else f"{network.bound}"
        clauses.append(f"Lipschitz bound of the network: {bound}{_lower(network)}")
    return "; ".join(clauses) or None


def _lower(network: NetworkBound) -> str:
    """Returns which option makes a bound one of at most 1, if it is above that."""
    value = None if network.bound is None else network.bound.value
    above = network.bound is not None and (value is None or value > 1.0)
    return " (--lipschitz 1 makes it at most 1)" if above else ""


def bar_of(layer: LayerReport, row: LayerReport | KernelReport, report: Report) -> Bar | None:
    """Returns the norm of the kernel in use, and the one that its bound allows.

    Args:
        layer: The layer.
        row: The layer or one of its kernels.
        report: Theirs.
    """
    norm: float | None = row.sigma
    limit: float | None = report.bound
    if layer.status == "spectral":
        norm, limit = row.sigma_after, layer.bound
    elif layer.status != "skipped" and VERBS[report.verb].writes:
        limit = row.sigma_after
    if layer.status != "spectral" and report.mode == "gain":
        limit = None  # which a trainable factor has none of
    return None if norm is None else Bar(norm, limit)


def settings_of(report: Report) -> list[str]:
    """Returns how the layers of a report become normalised, if that is the same for all of them."""
    layers = [
        x
        for x in report.layers
        if x.status in {"convertible", "converted"} and x.missing_kind is None
    ]
    if report.mode == "gain":
        return ["mode gain"] if layers else []
    bounds = {x.bound for x in layers if x.bound is not None} or {report.bound}
    if not layers or report.mode == "mixed" or len(bounds) > 1:
        return []
    (bound,) = bounds
    for layer in layers:
        sigma, after = layer.sigma, layer.sigma_after
        if sigma and after is not None:
            set_to = min(sigma, bound) if report.mode == "cap" else bound
            if not math.isclose(after, set_to, rel_tol=CLOSE):  # an override has another bound
                return []
    return [f"mode {report.mode}, bound {number(bound)}"]


def print_spectra(report: Report, printer: Printer) -> None:
    """Prints what the singular values of each kernel say, if they were asked for."""
    lines = [
        Line(
            (
                printable(layer.path if len(layer.kernels) == 1 else f"{layer.path}/{kernel.name}"),
                str(spectrum.total),
                *map(number, (spectrum.largest, spectrum.smallest, spectrum.condition)),
                *map(number, (spectrum.stable_rank, spectrum.effective_rank)),
            )
        )
        for layer in report.layers
        for kernel in layer.kernels
        if (spectrum := kernel.spectrum) is not None
    ]
    if lines:
        numbers = [Column(x, numeric=True, spare=x == "smallest") for x in _SPECTRUM]
        columns = [Column("kernel", least=16), *numbers]
        printer.table(columns, lines)
        printer.say("the singular values of the raw kernels: --json has up to 64 of each")
