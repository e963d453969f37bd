"""The norms that an inspection finds: as bars, in a sentence, and with all singular values."""

from __future__ import annotations

from typing import IO

from snconvert.cli.columns import SPECTRUM, Bar, count_of, number, print_table
from snconvert.core.report import KernelReport, LayerReport, Report
from snconvert.errors import printable

LEGEND = "bars are solid up to the bound, and shaded above it"
"""What the bars mean."""
_CLOSE = 1e-3  # how far above its bound a norm counts as there: rounding of half precision, noise


def bars_of(layer: LayerReport, report: Report) -> list[Bar | None]:
    """Returns a bar for each row of a layer in the table of layers."""
    rows = layer.kernels if len(layer.kernels) > 1 else (layer,)
    return [_bar(layer, row, report) for row in rows]


def summary(report: Report) -> str | None:
    """Returns what matters, in one sentence; `None` if no norm is known."""
    bars = [(layer, bar) for layer in report.layers if (bar := _bar(layer, layer, report))]
    clauses = []
    if bars:
        layer, largest = max(bars, key=lambda pair: pair[1].value)
        clauses.append(f"largest norm {number(largest.value)} ({printable(layer.path)})")
        limited = [(bar.value, bar.limit) for _, bar in bars if bar.limit is not None]
        above = sum(value > limit * (1 + _CLOSE) for value, limit in limited)
        limits = {number(limit) for _, limit in limited}
        if limited:
            bound = f"the bound {limits.pop()}" if len(limits) == 1 else "their bounds"
            layers = count_of(len(limited), "layer")
            clauses.append(f"{above or 'none'} of {layers} above {bound}")
    network = report.lipschitz
    if network is not None:
        bound = "none" if network.bound is None else f"{network.bound}"
        clauses.append(f"Lipschitz bound of the network: {bound}")
    return "; ".join(clauses) or None


def _bar(layer: LayerReport, row: LayerReport | KernelReport, report: Report) -> Bar | None:
    """Returns the norm of the kernel in use, and the one that its bound allows."""
    plain = layer.status == "convertible"
    norm, limit = (row.sigma, row.sigma_after) if plain else (row.sigma_after, layer.bound)
    if layer.status == "skipped":
        limit = report.bound
    if layer.status != "spectral" and report.mode == "gain":
        limit = None  # which a trainable factor has none of
    return None if norm is None else Bar(norm, limit)


def print_spectra(report: Report, stream: IO[str]) -> None:
    """Prints what the singular values of each kernel say, if they were asked for."""
    rows = [
        (
            printable(layer.path if len(layer.kernels) == 1 else f"{layer.path}/{kernel.name}"),
            str(spectrum.total),
            *map(number, (spectrum.largest, spectrum.smallest, spectrum.condition)),
            *map(number, (spectrum.stable_rank, spectrum.effective_rank)),
        )
        for layer in report.layers
        for kernel in layer.kernels
        if (spectrum := kernel.spectrum) is not None
    ]
    if rows:
        print_table(("kernel", *SPECTRUM), rows, stream)
        print("the singular values of the raw kernels: --json has up to 64 of each", file=stream)
