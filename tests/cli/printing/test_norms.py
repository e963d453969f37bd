"""Norms as bars and in a sentence, and tables of singular values."""

from __future__ import annotations

import io
import re
from typing import Any

import pytest

from snconvert.cli.printing.norms import bar_of, print_spectra, summary
from snconvert.cli.printing.printer import printer_for
from snconvert.cli.tables import print_report
from snconvert.core.report import KernelReport, LayerReport, Report
from snconvert.core.spectrum import Spectrum


class Terminal(io.StringIO):
    """A stream that says it is a terminal, with or without the letters of a bar."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def layer(path: str, status: str, *sigmas: tuple[float, float], **rest: Any) -> LayerReport:
    """A layer with kernels that have these norms, raw and in use or to be."""
    kernels = tuple(
        KernelReport(f"kernel{index}", (3, 4), sigma, after, 0.0, **rest.pop("kernel", {}))
        for index, (sigma, after) in enumerate(sigmas)
    )
    largest = [max(pair[side] for pair in sigmas) if sigmas else None for side in (0, 1)]
    return LayerReport(path, "Dense", (3, 4), status, None, None, *largest, kernels=kernels, **rest)


def report(*layers: LayerReport, mode: str = "hard", bound: float = 1.0) -> Report:
    return Report("m.keras", None, "layer", mode, bound, "matrix", layers, 0, 0.1, verb="inspect")


PLAIN = layer("plain", "convertible", (8.0, 1.0))
DONE = layer("done", "spectral", (9.0, 1.0004), bound=1.0)
AHEAD = layer("ahead", "spectral", (9.0, 2.0), bound=1.5)
LEFT = layer("left", "skipped", (0.5, 0.5))
LSTM = layer("lstm", "convertible", (4.0, 1.0), (2.0, 1.0))
UNKNOWN = LayerReport("pool", "MaxPooling2D", None, "skipped", "no kernel")


def drawn(*layers: LayerReport, columns: int = 80, encoding: str = "utf-8", **how: Any) -> str:
    stream = Terminal()
    stream.encoding = encoding
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", str(columns))
        print_report(report(*layers, **how), stream)
    return re.sub(r"\x1b\[\d*m", "", stream.getvalue())


def test_a_bar_shows_the_norm_in_use() -> None:
    """Of a normalised layer that of the kernel that it computes with, of a plain one sigma; what
    is above the bound is shaded."""
    lines = drawn(PLAIN, DONE, AHEAD, LEFT, LSTM, columns=100).splitlines()
    widest = 30
    bars = {line.split()[0]: line.rstrip().rpartition(" ")[2] for line in lines if "█" in line}
    cell = widest / 8.0
    assert bars["plain"] == "█" * round(cell) + "▒" * (widest - round(cell))
    assert bars["done"] == "█" * round(cell)
    assert bars["ahead"].count("▒") == round(2 * cell) - round(1.5 * cell)
    assert "▒" not in bars["left"]
    assert len([line for line in lines if "█" in line]) == 6
    assert "bars are solid up to the bound, and shaded above it" in lines


def test_where_there_is_no_room() -> None:
    """Without room, on a stream that is no terminal, or without a norm there are no bars."""
    long = layer("a/rather/long/path/of/a/layer/in/some/nested/model", "convertible", (8.0, 1.0))
    for text in (drawn(long), drawn(UNKNOWN), drawn(layer("zero", "skipped", (0.0, 0.0)))):
        assert "█" not in text
        assert "bars" not in text
    assert "█" in drawn(long, columns=120)
    stream = io.StringIO()
    print_report(report(PLAIN), stream)
    assert "█" not in stream.getvalue()
    assert max(map(len, drawn(PLAIN, LSTM, columns=80).splitlines())) <= 80


def test_a_terminal_without_the_letters() -> None:
    """ASCII has bars of its own."""
    text = drawn(PLAIN, encoding="ascii")
    assert text.isascii()
    assert "####--------" in text


def test_mode_gain_has_no_bound() -> None:
    """There is nothing to be above."""
    gain = layer("plain", "convertible", (8.0, 8.0))
    text = drawn(gain, LEFT, mode="gain")
    assert "▒" not in text
    assert summary(report(gain, LEFT, mode="gain")) == "largest norm 8 (plain)"
    scaled = layer("scaled", "spectral", (9.0, 4.0))
    assert summary(report(scaled, LEFT)) == (
        "largest norm 4 (scaled); none of 1 layer above the bound 1"
    )


def test_the_sentence() -> None:
    """It names the layer of the largest norm in use and counts those above their bound; rounding
    of half precision is not above."""
    assert summary(report(PLAIN, DONE, AHEAD, LEFT, LSTM, UNKNOWN)) == (
        "largest norm 8 (plain); 3 of 5 layers above their bounds;"
        " after averaging or assigning weights call snconvert.converge(model)"
    )
    assert summary(report(DONE)) == "largest norm 1 (done); none of 1 layer above the bound 1"
    assert summary(report(UNKNOWN)) is None
    assert summary(report(layer("a\x1b", "skipped", (1.0, 1.0)))) == (
        r"largest norm 1 (a\x1b); none of 1 layer above the bound 1"
    )
    stream = io.StringIO()
    print_report(report(PLAIN), stream)
    assert (
        stream.getvalue().splitlines()[-1]
        == "largest norm 8 (plain); 1 of 1 layer above the bound 1"
    )


def test_a_kernel_has_a_bar_each() -> None:
    """As it has a row of its own."""
    assert [bar_of(LSTM, kernel, report()).value for kernel in LSTM.kernels] == [4.0, 2.0]
    assert bar_of(UNKNOWN, UNKNOWN, report()) is None


def test_spectra_are_a_table() -> None:
    """A row for each kernel that has one; a condition that is not known stays empty."""
    steep = Spectrum(8.0, 0.0, 1.25, 1.5, None, (8.0, 0.0), 3)
    flat = Spectrum(4.0, 2.0, 1.25, 1.9, 2.0, (4.0, 2.0), 2)
    kernels = tuple(
        kernel._replace(spectrum=spectrum)
        for kernel, spectrum in zip(LSTM.kernels, (steep, flat), strict=True)
    )
    looked = LayerReport("lstm", "LSTM", (3, 4), "skipped", kernels=kernels)
    stream = io.StringIO()
    print_spectra(report(looked, PLAIN), printer_for(stream))
    lines = [line.split() for line in stream.getvalue().splitlines()]
    assert lines[1] == ["lstm/kernel0", "3", "8", "0", "1.25", "1.5"]
    assert lines[2] == ["lstm/kernel1", "2", "4", "2", "2", "1.25", "1.9"]
    assert len(lines) == 4
    stream = io.StringIO()
    print_spectra(report(PLAIN), printer_for(stream))
    assert not stream.getvalue()
