"""Tables on terminals of any width, and plain columns in a pipe."""

from __future__ import annotations

import io
import re
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import pytest
from rich.cells import cell_len
from terminals import Terminal, bare, layer, on_terminal, report, several

from snconvert import wording
from snconvert.cli.printing.verdict import print_verdict
from snconvert.cli.tables import print_report, print_rules
from snconvert.core.report import NO_KERNEL, LayerReport, Report
from snconvert.core.verdict import Change, Difference, Verdict
from snconvert.kinds.table import RULES

PLAIN = "kind conv is not selected (--conv)"
HOSTILE = "a\x1b[31m[red]<script>\n層🙂" + "x" * 300


@pytest.fixture(autouse=True)
def _flags() -> Iterator[None]:
    """Says what the command line says; `tests/test_wording.py` has what Python says."""
    with wording.flags():
        yield


def printed(patch: pytest.MonkeyPatch, shown: Report, *, verbose: bool = False, **how: str) -> str:
    """Returns what is printed of a report on a terminal."""
    return on_terminal(patch, partial(print_report, shown, verbose=verbose), **how)


def rows(text: str) -> list[str]:
    """Returns the lines of the first table."""
    lines = bare(text).splitlines()
    start = next(i for i, line in enumerate(lines) if not line.strip("─- ") and line)
    return lines[start + 1 :]


def left(path: str, reason: str = PLAIN, **changes: object) -> LayerReport:
    return layer(path, "skipped", **({"class_name": "Conv2D", "reason": reason} | changes))


@pytest.mark.parametrize("width", [60, 80, 100, 120, 200])
@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_a_table_fits(monkeypatch: pytest.MonkeyPatch, width: int, encoding: str) -> None:
    """One line a layer, none wider than the terminal, different names different, numbers whole; a
    terminal that has only the letters of ASCII gets only those."""
    layers = [
        layer(
            f"backbone/stage_{i}/bottleneck_block/expand_convolution",
            class_name="DepthwiseConv2D",
            new_class="SpectralDepthwiseConv2D",
            kernel=(3, 3, 1024, 2048),
            sigma=1.234 + i,
            operator_range=(1.234 + i, 12.5),
        )
        for i in range(20)
    ]
    text = printed(monkeypatch, report(*layers), COLUMNS=str(width), encoding=encoding)
    table = rows(text)[:20]
    assert max(map(cell_len, table)) <= width
    assert len({line.split()[0] for line in table}) == 20
    assert all(f"{1.234 + i:.4g}" in line for i, line in enumerate(table))
    assert text.isascii() == (encoding == "ascii")
    sentences = bare(text).splitlines()
    assert all(len(line) <= width for line in sentences if "m.keras" not in line)


def test_what_a_reader_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    """The class a layer becomes, its kernel, sigma before and after; what was not measured and
    stays plain is said once below the table, with its class and flag."""
    text = bare(printed(monkeypatch, report(left("conv"), layer("dense"), left("pool", NO_KERNEL))))
    lines = text.splitlines()
    assert lines[0].split() == ["sigma", "sigma"]
    assert lines[1].split() == ["layer", "class", "kernel", "before", "after"]
    assert lines[3].split() == ["dense", "→", "SpectralDense", "3x4", "2", "1"]
    assert lines[4:8] == [
        "",
        "in red: above its bound",
        f"conv (Conv2D) stays plain: {PLAIN}",
        "1 layer without a kernel not shown (-v)",
    ]
    assert "1 layer converted, 2 left as they were; mode hard, bound 1" in lines[8]
    many = [left(f"c{i}") for i in range(12)] + [left(f"d{i}", class_name="Conv1D") for i in (1, 2)]
    text = bare(printed(monkeypatch, report(layer("dense"), *many)))
    assert f"12 Conv2D, 2 Conv1D stay plain: {PLAIN}" in text
    more = [left(f"c{i}", f"reason {i}") for i in range(12)]
    assert "4 more reasons not shown (-v)" in printed(monkeypatch, report(layer("d"), *more))


def test_each_kernel_has_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its shape, its sigma and its range stand together."""
    lstm = several("lstm", "LSTM", (8, 16), (4, 16), new_class="SpectralLSTM")
    kernels = (lstm.kernels[0]._replace(operator_range=(2.0, 6.0)), lstm.kernels[1])
    shown = report(layer("lstm", kernels=kernels, class_name="LSTM", new_class="SpectralLSTM"))
    table = [line.split() for line in rows(printed(monkeypatch, shown))]
    assert table[:3] == [
        ["lstm", "→", "SpectralLSTM"],
        ["kernel_1", "8x16", "2", "≤", "6", "1"],
        ["kernel_2", "4x16", "3", "1"],
    ]
    assert "operator" in bare(printed(monkeypatch, shown)).splitlines()[0]


def test_bounds_stand_where_they_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    """One bound is said in the closing line, several have a column; so in a pipe."""
    one, two = report(layer("a"), layer("b")), report(layer("a"), layer("b", bound=1.5))
    for shown, differ in ((one, False), (two, True)):
        stream = io.StringIO()
        print_report(shown, stream)
        for text in (bare(printed(monkeypatch, shown)), stream.getvalue()):
            assert ("mode hard, bound 1" in text) != differ
            assert ("1.5" in text) == differ
            assert any("bound" in line for line in text.splitlines()[:2]) == differ


def test_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    """Red is what is above its bound before, and what is still after; green is what is converted.
    NO_COLOR and a dumb terminal have neither, nor the sentence on red."""
    late = layer("late", sigma_after=1.2)
    small = layer("small", sigma=0.5)
    text = printed(monkeypatch, report(layer("done"), late, small))
    lines = {
        name: line
        for name in ("done", "late", "small")
        for line in text.splitlines()
        if line.startswith(name)
    }
    assert {name: line.count("\x1b[31m") for name, line in lines.items()} == {
        "done": 1,
        "late": 2,
        "small": 0,
    }
    assert all("\x1b[32m→ SpectralDense" in line for line in lines.values())
    assert "in red: above its bound" in text
    for how in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
        text = printed(monkeypatch, report(late), **how)
        assert "\x1b" not in text
        assert "in red" not in text
    gain = printed(monkeypatch, report(layer("g", bound=None, sigma_after=2.0), mode="gain"))
    assert "\x1b[31m" not in gain


def test_looking(monkeypatch: pytest.MonkeyPatch) -> None:
    """An inspection has the norm in use of what is spectral only, and says the flag of the rest."""
    looked = report(
        layer("plain", "convertible"),
        layer(
            "conv",
            "convertible",
            class_name="Conv2D",
            new_class="SpectralConv2D",
            missing_kind="conv",
            reason="with --conv",
        ),
        layer("done", "spectral", class_name="SpectralDense", new_class=None),
        output=None,
        verb="inspect",
    )
    text = bare(printed(monkeypatch, looked, NO_COLOR="1"))
    assert text.splitlines()[1].split() == ["layer", "class", "kernel", "raw", "in", "use"]
    table = [line.rstrip("█▒ ").split() for line in rows(text)]
    assert table[0] == ["plain", "→", "SpectralDense", "3x4", "2"]
    assert table[1] == ["conv", "Conv2D", "3x4", "2"]
    assert table[2] == ["done", "SpectralDense", "3x4", "2", "1"]
    assert "conv (Conv2D) converts with --conv" in text


def test_verbose_shows_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole names, a line of their own where they are long, and the reason below each layer."""
    path = "/".join(["a_rather_long_name_of_a_block"] * 4)
    shown = report(layer(path), left(path + "/conv"), left("pool", NO_KERNEL))
    table = rows(printed(monkeypatch, shown, verbose=True))
    assert table[0] + table[1] == path
    assert table[2].split() == ["→", "SpectralDense", "3x4", "2", "1"]
    assert table[3] + table[4] == f"{path}/conv"
    assert table[6] == f"    {PLAIN}"
    assert table[7].split()[0] == "pool"
    assert "not shown" not in printed(monkeypatch, shown, verbose=True)


def test_a_pipe_gets_whole_names() -> None:
    """The table of a terminal, however wide, in ASCII but for names, and without colours."""
    path = "/".join(["a_rather_long_name_of_a_block"] * 5)
    stream = io.StringIO()
    print_report(report(layer(path, operator_range=(2.0, 6.0)), left("conv")), stream)
    lines = stream.getvalue().splitlines()
    headings = ["layer", "class", "kernel", "sigma before", "operator norm before", "sigma after"]
    assert re.split("  +", lines[0]) == headings
    assert lines[1].split() == [path, "->", "SpectralDense", "3x4", "2", "<=", "6", "1"]
    assert any(line.endswith(PLAIN) for line in lines[2:])
    assert stream.getvalue().isascii()


def test_no_column_repeats_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a norm that stays what it was, nor the operator norm beside a sigma that is it."""
    same = report(layer("a", sigma_after=2.0), layer("b", sigma=3.0, sigma_after=3.0))
    heading = printed(monkeypatch, same).split("a ")[0]
    assert "sigma" in heading
    assert "after" not in heading
    assert "before" not in heading
    one = report(layer("a", sigma_after=2.0), layer("b"))
    assert "after" in printed(monkeypatch, one)
    mapped = report(layer("a", operator_range=(2.0, 6.0), norm="operator"))
    assert "operator\n" not in printed(monkeypatch, mapped)
    assert "sigma of a convolution is its norm as a map" in printed(monkeypatch, mapped)


def test_a_note_goes_with_its_column(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no room for the operator norm, no sentence explains it."""
    shown = report(layer("a" * 20, operator_range=(2.0, 6.0)))
    for width in (40, 80):
        text = printed(monkeypatch, shown, COLUMNS=str(width))
        assert ("≤ 6" in text) == ("the operator norm is at most" in text) == (width == 80)


def test_names_in_sentences_are_whole_or_shortened(monkeypatch: pytest.MonkeyPatch) -> None:
    """No line below the table is folded within a word, or wider than the terminal."""
    long = "/".join(["a_rather_long_name"] * 6)
    shown = report(layer("d"), left(f"{'x' * 60}/forward_lstm"), left(long), source=long)
    lines = printed(monkeypatch, shown).splitlines()
    assert any(line.endswith(f"{'x' * 60}/forward_lstm") for line in lines)
    assert not any(long in line for line in lines if "stays" in line)
    assert all(cell_len(line) <= 80 for line in lines if long not in line)
    verbose = printed(monkeypatch, report(layer("d"), left("c", "why " * 40)), verbose=True)
    assert all(cell_len(bare(line)) <= 80 for line in verbose.splitlines())


def test_a_pipe_says_what_is_in_use() -> None:
    """An inspection has a second norm of layers that are normalised, and a column where one is."""
    plain = layer("a", "convertible", sigma_after=None, bound=None)

    def printed_of(*layers: LayerReport) -> list[str]:
        stream = io.StringIO()
        print_report(report(*layers, verb="inspect", output=None), stream)
        return stream.getvalue().splitlines()

    assert printed_of(plain)[:2] == [
        "layer  class             kernel  sigma",
        "a      -> SpectralDense  3x4         2",
    ]
    assert printed_of(plain, layer("b", "spectral", new_class=None))[:3] == [
        "layer  class             kernel  sigma raw  sigma in use",
        "a      -> SpectralDense  3x4             2",
        "b      Dense             3x4             2             1",
    ]


def test_hostile_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Escapes, markup, newlines and wide letters of a file change nothing but their own cell."""
    shown = report(
        layer(HOSTILE, new_class=HOSTILE, class_name=HOSTILE),
        left(HOSTILE, HOSTILE),
        source=HOSTILE,
        output=HOSTILE,
    )
    for verbose in (False, True):
        text = printed(monkeypatch, shown, verbose=verbose)
        assert "\x1b[31m[red]" not in text
        assert "\x1b[31m" in text  # of sigma
        assert "\\x1b[31m[red]<script>\\n層🙂" in bare(printed(monkeypatch, shown, verbose=True))
    assert max(map(cell_len, rows(printed(monkeypatch, shown))[:1])) <= 80
    assert len(printed(monkeypatch, shown).splitlines()) < 25
    stream = io.StringIO()
    print_report(shown, stream)
    assert "\x1b" not in stream.getvalue()
    assert len(stream.getvalue().splitlines()) == 5


def test_ten_thousand_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are printed in seconds."""
    shown = report(*(layer(f"{'block/' * 20}{i}/dense") for i in range(10_000)))
    started = time.perf_counter()
    text = printed(monkeypatch, shown)
    assert time.perf_counter() - started < 20
    assert len(rows(text)) > 10_000


def test_a_verdict_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """The class after, and what became of a layer only where that differs."""
    done = Change("a", "Dense", "SpectralDense", "converted", 2.0, 1.0)
    verdict = Verdict("m", "m-sn", (done,), (), 4, 0.1)
    text = bare(on_terminal(monkeypatch, partial(print_verdict, verdict)))
    assert text.splitlines()[0].split() == ["layer", "class", "sigma", "after"]
    assert text.splitlines()[2].split() == ["a", "→", "SpectralDense", "2", "1"]
    back = Change("b", "SpectralDense", "Dense", "plain", 2.0, 2.0)
    differs = verdict._replace(changes=(done, back), differences=(Difference("c", "is gone"),))
    text = bare(on_terminal(monkeypatch, partial(print_verdict, differs)))
    assert text.splitlines()[3].split() == ["b", "→", "Dense", "2", "2", "plain"]
    assert "difference: c: is gone" in text


def test_rules_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """They fit, without the class that the name of the other one says."""
    text = bare(on_terminal(monkeypatch, partial(print_rules, list(RULES.values()))))
    assert max(map(len, text.splitlines())) <= 80
    assert "SpectralMultiHeadAttention" not in text
    assert all(name in text for name in RULES)
    stream = Terminal()
    print_rules([replace(RULES["Dense"], spectral_class="Other")], stream)
    assert "Other" in stream.getvalue()
