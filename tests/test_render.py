"""Results as text, in notebooks and as rows, in Python."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
import time
from html.parser import HTMLParser
from typing import Any

import pytest
from terminals import layer, report, several

from snconvert import render
from snconvert.core.magnitude import Magnitude
from snconvert.core.network_bound import NetworkBound, OutputBound, Stage
from snconvert.core.report import NO_KERNEL
from snconvert.core.verdict import Change, Difference, Verdict

HOSTILE = "<script>alert(1)</script>\x1b[31m[red]\n層🙂&amp;\"'" + "x" * 300
DENSE = Magnitude.of(2.0)
REPORT = report(
    layer("dense"),
    layer("conv", "skipped", class_name="Conv2D", reason="kind conv is not selected (conv=True)"),
    layer("flatten", "skipped", class_name="Flatten", kernel=None, reason=NO_KERNEL),
    warnings=("its u is old",),
)
VERDICT = Verdict(
    "m.keras",
    "m-sn.keras",
    (Change("dense", "Dense", "SpectralDense", "converted", 2.0, 1.0),),
    (Difference("conv", "the kernel is another one"),),
    4,
    0.1,
    ("its u is old",),
)
BOUND = NetworkBound(
    DENSE, (OutputBound("out", DENSE),), DENSE, (Stage("dense", "Dense", (), DENSE, DENSE, DENSE),)
)
RESULTS = {"report": REPORT, "layer": REPORT.layers[0], "verdict": VERDICT, "bound": BOUND}


class Reader(HTMLParser):
    """The tags of a page, its attributes and its text; every tag is closed."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.text = ""
        self.open: list[str] = []
        self.feed(page)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.parametrize("result", RESULTS.values(), ids=RESULTS)
def test_the_ways_to_show_a_result(result: Any) -> None:
    """`str` is a table in ASCII that fits 80 columns, `repr` one line, and a notebook gets HTML
    without scripts or anything from elsewhere."""
    text = str(result)
    assert "dense" in text
    assert len(text.splitlines()) > 2
    assert text.isascii()
    assert not text.endswith("\n")
    assert max(len(x) for x in text.splitlines() if "m.keras" not in x) <= 80
    assert repr(result).startswith(f"<{type(result).__name__}: ")
    assert len(repr(result)) < 100
    page = Reader(result._repr_html_())
    assert page.tags <= {"div", "table", "thead", "tbody", "tr", "th", "td"}
    assert page.attributes <= {"style", "colspan"}
    assert "dense" in page.text

    class Printer:
        printed = ""

        def text(self, text: str) -> None:
            self.printed += text

    result._repr_pretty_(printer := Printer(), cycle=False)
    assert printer.printed == text


def test_what_the_text_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was converted, what stayed plain, and what the user should know; wider terminals get
    wider tables."""
    text = str(REPORT)
    assert "-> SpectralDense" in text
    assert "conv (Conv2D) stays plain: kind conv is not selected (conv=True)" in text
    assert "1 layer without a kernel not shown (to_dict() has all)" in text
    assert "warning: its u is old" in text
    assert "stays plain" in Reader(REPORT._repr_html_()).text
    assert "difference: conv: the kernel is another one" in str(VERDICT)
    assert "warning: its u is old" in str(VERDICT)
    assert str(REPORT.layers[1]).splitlines()[-1].strip() == REPORT.layers[1].reason
    assert REPORT.layers[1].reason in REPORT.layers[1]._repr_html_()
    path = "block/" * 20 + "dense"
    assert path not in str(report(layer(path)))
    monkeypatch.setenv("COLUMNS", "200")
    assert path in str(report(layer(path)))


def test_representations() -> None:
    """They say what a result is."""
    assert repr(REPORT) == "<Report: apply m.keras -> m-sn.keras, 1 of 3 layers changed>"
    dry = report(layer("a", "convertible"), output=None)
    assert repr(dry) == "<Report: apply m.keras, 1 of 1 layers can change>"
    assert repr(dry.layers[0]) == "<LayerReport: a (Dense -> SpectralDense), convertible>"
    assert repr(VERDICT) == "<Verdict: m-sn.keras is not m.keras, 1 changes, 1 differences>"
    assert repr(BOUND) == "<NetworkBound: 2>"


def test_rows_for_pandas() -> None:
    """`to_dict` is the shape of `--json`; `records` are the layers of it."""
    assert REPORT.to_dict() == REPORT.as_json()
    assert REPORT.to_dict("records") == [each.to_dict() for each in REPORT.layers]
    assert [row["path"] for row in REPORT.to_dict("records")] == ["dense", "conv", "flatten"]
    assert VERDICT.to_dict() == VERDICT.as_json()
    assert VERDICT.to_dict("records") == VERDICT.as_json()["changes"]
    assert BOUND.to_dict() == BOUND.as_json()
    for result in (REPORT, VERDICT):
        with pytest.raises(ValueError, match="'dict' or 'records'"):
            result.to_dict("list")


@pytest.mark.parametrize("result", RESULTS.values(), ids=RESULTS)
def test_values_stay_values(result: Any) -> None:
    """They are equal, hashed, copied and pickled as before."""
    assert pickle.loads(pickle.dumps(result)) == result  # noqa: S301
    assert copy.deepcopy(result) == result
    assert hash(result) == hash(copy.copy(result))


def test_hostile_names() -> None:
    """Whatever a file's names hold, no tag, escape or line comes of it."""
    shown = report(
        layer(HOSTILE, class_name=HOSTILE, new_class=HOSTILE, reason=HOSTILE),
        several(HOSTILE, HOSTILE, (1, 2), (3, 4)),
        layer(HOSTILE, "skipped", reason=HOSTILE),
        source=HOSTILE,
        output=HOSTILE,
        warnings=(HOSTILE,),
    )
    change = Change(HOSTILE, HOSTILE, HOSTILE, HOSTILE)
    verdict = Verdict(HOSTILE, HOSTILE, (change,), (Difference(HOSTILE, HOSTILE),), 1, 0.1)
    stage = Stage(HOSTILE, HOSTILE, (), DENSE, DENSE, DENSE)
    bound = BOUND._replace(stages=(stage,), outputs=(OutputBound(HOSTILE, None),) * 2)
    for result in (shown, *shown.layers, verdict, bound):
        page = result._repr_html_()
        assert Reader(page).tags <= {"div", "table", "thead", "tbody", "tr", "th", "td"}
        assert "<script>" in Reader(page).text
        for text in (page, str(result), repr(result)):
            assert "\x1b" not in text
            assert "\n層" not in text


def test_ten_thousand_layers() -> None:
    """A notebook gets the first ones, more to unfold, and how many there are beyond; both ways
    take seconds."""
    large = report(*(layer(f"{'block/' * 20}{i}") for i in range(10_000)))
    started = time.perf_counter()
    text, page = str(large), large._repr_html_()
    assert time.perf_counter() - started < 20
    assert len(text.splitlines()) > 10_000
    assert len(page) < 1e6
    assert "<details>" in page
    assert "9500 rows more (to_dict() has all)" in page


def test_showing_costs_nothing_before() -> None:
    """Neither the tables nor rich are imported before a result is shown."""
    code = (
        "import sys, snconvert; report = snconvert.Report; "
        "print([x for x in sys.modules if x.startswith(('rich', 'snconvert.cli', 'numpy'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
    assert {"html", "text"} <= set(render.__all__)
