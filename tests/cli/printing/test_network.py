"""What is told of a network's Lipschitz bound, for people and for machines."""

from __future__ import annotations

import io
import json
import re
from typing import Any

import pytest

from snconvert.cli.printing.network import print_bound, sentences
from snconvert.cli.printing.printer import printer_for
from snconvert.cli.tables import closing, print_report
from snconvert.core.magnitude import Magnitude
from snconvert.core.network_bound import NetworkBound, OutputBound, Stage, Unbounded
from snconvert.core.report import Report

HUGE = Magnitude(0.5, 5000)
DENSE = Magnitude.of(5.0263)


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def network(**changes: Any) -> NetworkBound:
    """A bound of a network with a branch, two inputs and two outputs."""
    one = Magnitude.of(1.0)
    stages = (
        Stage("image", "InputLayer", (), one, None, one),
        Stage(
            "encoder/stem_convolution", "Conv2D", (0,), DENSE, DENSE, DENSE, 0.75, dominates=True
        ),
        Stage("encoder/stem_norm", "BatchNormalization", (1,), one, None, DENSE, 0.0),
        Stage("add", "Add", (1, 2), one, None, Magnitude.of(9.5), 1.0, dominates=True),
        Stage(
            "head", "Dense", (3,), Magnitude.of(3.25), Magnitude.of(4.0), Magnitude.of(30.5), 1.0
        ),
    )
    outputs = (
        OutputBound(
            "class",
            Magnitude.of(30.411),
            (("image", Magnitude.of(30.0)), ("age", Magnitude.of(2.5))),
            Magnitude.of(60.75),
        ),
        OutputBound("box", Magnitude.of(4.0)),
    )
    made = NetworkBound(
        Magnitude.of(30.411), outputs, Magnitude.of(48.25), stages, method="graph + folding"
    )
    return made._replace(**changes)


def text_of(bound: NetworkBound, *, verbose: bool = False) -> str:
    stream = io.StringIO()
    print_bound(bound, printer_for(stream), verbose=verbose)
    return stream.getvalue()


def report(bound: NetworkBound) -> Report:
    shape = ("layer", "hard", 1.0, "matrix", (), 0, 0.1)
    return Report("m.keras", None, *shape, verb="inspect", lipschitz=bound)


def test_stages_outputs_and_what_it_means() -> None:
    """The stages that change something, each output, and what the bound says, rounded up."""
    text = text_of(network())
    lines = [line.split() for line in text.splitlines()]
    assert lines[0] == ["stage", "class", "norm", "constant", "bound", "share", "path"]
    assert lines[1] == [
        "encoder/stem_convolution",
        "Conv2D",
        "5.027",
        "5.027",
        "5.027",
        "0.75",
        "*",
    ]
    assert ["add", "Add", "1", "9.5", "1.00", "*"] in lines
    assert ["head", "Dense", "4", "3.25", "30.5", "1.00"] in lines
    assert "2 stages with the constant 1 not shown (-v)" in text
    assert ["class", "all", "inputs", "30.42"] in lines
    assert ["class", "age", "2.5"] in lines
    assert ["class", "all", "inputs,", "before", "its", "activation", "60.75"] in lines
    assert ["box", "all", "inputs", "4"] in lines
    assert ["all", "together", "all", "inputs", "30.42"] in lines
    assert "at inference, inputs that move by a distance d move the outputs" in text
    assert "30.42, certified (graph + folding; 0.00 s)" in text
    assert "the product of the layers' norms is 48.25" in text
    assert "a share of 0.40 says: with a constant smaller by 1 %, the bound falls by 0.4 %" in text
    assert "constants are those after folding" in text
    assert "folding" not in text_of(network(method="graph"))
    assert "together" not in text_of(network(outputs=network().outputs[:1]))
    assert "astronomical" not in text
    assert "encoder/stem_norm" in text_of(network(), verbose=True)


def test_the_rest_is_told_where_there_is_something() -> None:
    """A lower bound is rounded down, discrete inputs and notes are named."""
    plain = text_of(network())
    assert "cannot be below" not in plain
    assert "discrete" not in plain
    text = text_of(
        network(lower=27.99999, samples=8, starts=("words", "tags"), notes=("it is late",))
    )
    assert "it cannot be below 27.99, found at 8 points" in text
    assert "begins behind words, tags" in text
    assert "no bound from below was found at 1 point" in text_of(network(samples=1))
    assert "it is late" in text.splitlines()


@pytest.mark.parametrize(
    ("bound", "says"), [(Magnitude.of(1.5e10), "1.5e+10 d"), (HUGE, "1e1505 (>1e308) d")]
)
def test_astronomical_bounds(bound: Magnitude, says: str) -> None:
    """A bound that is worth nothing is told as it is, and that this is no fault of the model."""
    text = text_of(network(bound=bound, product=HUGE))
    assert f"at most {says}" in text
    assert "astronomical" in text
    assert "no fault of the model" in text
    assert "normalisation" not in text
    assert "inf" not in text.replace("inference", "")
    assert "nan" not in text


def test_a_network_without_a_bound() -> None:
    """The layers that have none are listed with the reason, and a stage behind them has none."""
    without = (Unbounded("attention", "MultiHeadAttention", "it multiplies two tensors"),)
    stages = (*network().stages, Stage("attention", "MultiHeadAttention", (4,), None))
    bound = NetworkBound(None, (OutputBound("out", None),), None, stages, without)
    text = text_of(bound)
    assert re.search("attention +MultiHeadAttention  it multiplies two tensors", text)
    assert "no finite Lipschitz bound: attention has none" in text
    assert re.search("attention +MultiHeadAttention +none +none", text)
    assert "certified" not in text
    (sentence,) = sentences(bound._replace(unbounded=without * 2))
    assert sentence.endswith(": attention has none")
    (sentence,) = sentences(bound._replace(unbounded=()))
    assert sentence.endswith("Lipschitz bound")
    some = (*bound.outputs, OutputBound("plain", DENSE))
    *_, sentence = sentences(bound._replace(outputs=some))
    assert sentence == "certified all the same: the bound of plain"
    assert "together" not in text_of(bound._replace(outputs=some))
    many = tuple(Unbounded(f"m{index}", "Multiply", "") for index in range(30))
    (sentence,) = sentences(bound._replace(unbounded=many))
    assert sentence.endswith("bound: m0, m1, m2 and 27 more have none")


def test_names_are_escaped() -> None:
    """A control character in a name reaches no terminal."""
    bad = "a\x1b[31m\nQ"
    stage = Stage(bad, bad, (), DENSE, None, DENSE)
    output = OutputBound(bad, DENSE, ((bad, DENSE), ("x", DENSE)))
    bound = network(stages=(stage,), outputs=(output,), starts=(bad,))
    without = NetworkBound(None, (), None, (), (Unbounded(bad, bad, bad),))
    for text in (text_of(bound), text_of(without)):
        assert "\x1b" not in text
        assert "\nQ" not in text


def test_on_a_terminal_of_80_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tables fit, and no number is broken."""
    monkeypatch.setenv("COLUMNS", "80")
    stream = Terminal()
    huge = Stage(
        "block/with/a/rather/long/path/conv", "SeparableConv2D", (0,), HUGE, HUGE, HUGE, 0.5
    )
    print_bound(network(stages=(*network().stages, huge)), printer_for(stream))
    table = re.sub(r"\x1b\[\d*m", "", stream.getvalue()).partition("certified")[0].splitlines()
    assert max(map(len, table)) <= 80
    assert sum(line.split()[-4:-1] == [">1e308"] * 3 for line in table) == 1


def test_the_closing_lines_say_it() -> None:
    """The bound stands in the last line of an inspection, in tables and notebooks alike."""
    assert closing(report(network()))[-1] == (
        "Lipschitz bound of the network: 30.42 (--lipschitz 1 makes it at most 1)"
    )
    without = NetworkBound(None, (), None, ())
    assert closing(report(without))[-1] == "Lipschitz bound of the network: none"
    stream = io.StringIO()
    print_report(report(network()), stream)
    assert "a distance d move the outputs by at most 30.42 d" in stream.getvalue()


def test_the_json_is_strict() -> None:
    """Every magnitude is an object of its value and logarithm; none is infinite or NaN."""
    zero = Stage("dead", "Dense", (0,), Magnitude.of(0.0), Magnitude.of(0.0), Magnitude.of(0.0))
    bound = network(bound=HUGE, lower=3.0, stages=(*network().stages, zero))
    shape = json.loads(json.dumps(report(bound).as_json(), allow_nan=False))["lipschitz"]
    assert {*shape} == {*NetworkBound._fields}
    assert shape["bound"] == {"value": None, "log10": pytest.approx(5000 * 0.30103 - 0.30103)}
    assert shape["product"]["value"] == 48.25
    assert shape["stages"][-1]["constant"] == {"value": 0.0, "log10": None}
    assert shape["stages"][1]["class"] == "Conv2D"
    assert {*shape["stages"][1]} == {*Stage._fields} - {"class_name"} | {"class"}
    assert shape["outputs"][0]["by_input"]["age"]["value"] == 2.5
    assert shape["outputs"][1]["logits"] is None
    none = NetworkBound(None, (OutputBound("o", None),), None, (), (Unbounded("a", "B", "c"),))
    shape = json.loads(json.dumps(none.as_json(), allow_nan=False))
    assert (shape["bound"], shape["product"], shape["outputs"][0]["bound"]) == (None, None, None)
    assert shape["unbounded"] == [{"path": "a", "class": "B", "reason": "c"}]
