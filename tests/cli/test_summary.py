"""Several models in few words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from snconvert.cli.columns import ASCII
from snconvert.cli.summary import Table, sentence
from snconvert.cli.totals import Totals
from snconvert.core.report import OPAQUE, LayerReport, Report
from snconvert.planning.measured import NOT_FINITE


def layer(
    status: str = "converted",
    kind: str | None = None,
    sigma: float | None = None,
    after: float | None = None,
) -> LayerReport:
    return LayerReport(
        "dense", "Dense", None, status, sigma=sigma, sigma_after=after, missing_kind=kind
    )


def report(
    layers: Sequence[LayerReport] = (),
    source: str = "m/net.keras",
    output: str | None = "out/net-sn.keras",
    verb: str = "apply",
) -> Report:
    return Report(
        source, output, "layer", "hard", 1.0, "matrix", tuple(layers), 1_234_567, 1.234, verb=verb
    )


CONVERTED = [layer(sigma=3.14159, after=1.0), layer(sigma=0.5, after=1.0)]
CUSTOM = replace(layer("skipped"), reason=f"{OPAQUE}a custom class")
BROKEN = replace(layer("skipped"), reason=NOT_FINITE)
CONV = [layer("skipped", "conv") for _ in range(53)]
MIXED = [*CONV[:2], layer("skipped", "attention")]


@pytest.mark.parametrize(
    ("told", "says"),
    [
        (
            report([*CONVERTED, *CONV]),
            (
                "m/net.keras: 2 layers converted, 53 conv left plain (--conv); sigma 0.5 to 3.14"
                " -> 1; wrote out/net-sn.keras (1.2 MB; 1.23 s)"
            ),
        ),
        (
            report([layer(sigma=2.0, after=0.9), layer("spectral"), *MIXED], output=None),
            (
                "m/net.keras: 1 layer to convert, 1 already normalised, 2 conv, 1 attention left"
                " plain (--kinds all); sigma 2 -> 0.9; nothing was written (1.23 s)"
            ),
        ),
        (
            report(
                [layer("convertible", sigma=2.0), layer("convertible", "conv", 5.0)],
                "x\n",
                None,
                "inspect",
            ),
            r"x\n: 1 layer converts, 1 conv left plain (--conv); sigma 2 to 5 (1.23 s)",
        ),
        (
            report([*CONVERTED, *CONV, CUSTOM, CUSTOM, BROKEN]),
            (
                "m/net.keras: 2 layers converted, 53 conv left plain (--conv), 2 opaque, 1 not"
                " finite; sigma 0.5 to 3.14 -> 1; wrote out/net-sn.keras (1.2 MB; 1.23 s)"
            ),
        ),
        (
            report([layer(sigma=2.0, after=1.0)], verb="remove"),
            (
                "m/net.keras: 1 layer plain again; sigma 2 -> 1; wrote out/net-sn.keras (1.2 MB;"
                " 1.23 s)"
            ),
        ),
        (
            report([layer("skipped")] * 3, verb="upgrade"),
            "m/net.keras: 3 layers as they were; wrote out/net-sn.keras (1.2 MB; 1.23 s)",
        ),
        (
            replace(report(), up_to_date=True),
            "m/net.keras: already converted, out/net-sn.keras is left as it is",
        ),
    ],
)
def test_a_model_as_a_sentence(told: Report, says: str) -> None:
    """What was done, what stays plain and why, the norms, and where the result is."""
    assert sentence(told) == says


def test_lines_stand_below_each_other() -> None:
    """Each part at its place, the name without the folder that is the same for all."""
    table = Table.of("apply", [f"out/{name}-sn.keras" for name in ("net", "b", "c")], 80)
    assert [
        table.heading(),
        table.line(report([*CONVERTED, *CONV])),
        table.line(report(CONVERTED[:1], output="out/b-sn.keras")),
        table.line(report([*CONVERTED[:1], CUSTOM], output="out/b-sn.keras")),
        table.note("out/c-sn.keras", "already converted"),
    ] == [
        "model  converted  sigma                size    time",
        "net            2  0.5..3.14 → 1      1.2 MB   1.2 s  53 conv plain: --conv",
        "b              1  3.14 → 1           1.2 MB   1.2 s",
        "b              1  3.14 → 1           1.2 MB   1.2 s  1 opaque",
        "c      already converted",
    ]
    assert "to convert" not in table.heading()
    assert Table.of("apply", ["a"], 80).heading(dry_run=True).split()[1] == "converts"
    assert Table.of("bake", ["a"], 80).heading(dry_run=True).split()[1] == "bake"
    assert Table.of("upgrade", ["a"], 80).heading().split()[1] == "layers"
    assert "size" not in Table.of("inspect", ["a"], 80).heading()


@pytest.mark.parametrize("width", [20, 30, 40, 60, 79, 80, 81, 100, 220])
@pytest.mark.parametrize("verb", ["apply", "bake", "inspect", "upgrade"])
def test_lines_fit(width: int, verb: str) -> None:
    """Names lose their middle, and where that is not enough the last columns go."""
    name = f"a/{'long' * 30}.keras"
    table = Table.of(verb, [name, "b/c.keras"], width)
    wide = layer(sigma=0.000123, after=0.000456), layer(sigma=123456.0, after=1.23)
    lines = [table.heading(), table.note(name, "plain")]
    told = [
        table.line(report([*wide, *kinds], output=name, verb=verb)) for kinds in ((), CONV, MIXED)
    ]
    lines += [line.partition("\n")[0] for line in told]
    below = [line for each in told for line in each.split("\n")[1:]]
    assert all(len(line) < width and line.startswith("  ") for line in below)
    assert width < 30 or all(len(line) < width for line in lines), lines
    assert all(line.startswith(name[:3]) for line in lines[1:])
    assert (name.removesuffix(".keras") in lines[-1]) == (width == 220)


def test_norms_in_use() -> None:
    """Of what is normalised the norm in use is told, and one that stays the same once."""
    spectral = layer("spectral", sigma=3.0, after=1.0)
    looked = report([spectral, layer("convertible", sigma=2.0)], "x", None, "inspect")
    assert "1 already normalised; sigma 1 to 2 (" in sentence(looked)
    line = Table.of("inspect", ["x"], 80).line(looked)
    assert "  1..2  " in line
    assert line.endswith("  1 already normalised")
    back = report([layer(sigma=1.5, after=1.5), layer(sigma=3.0, after=3.0)], verb="remove")
    assert "sigma 1.5 to 3; wrote" in sentence(back)
    assert "  1.5..3  " in Table.of("remove", ["out/net-sn.keras"], 80).line(back)


def test_colours() -> None:
    """They take no room."""
    plain, coloured = (Table.of("apply", ["a"], 80, colours=x) for x in (False, True))
    told = report([*CONVERTED, *CONV])
    assert "\x1b[32m" in coloured.line(told)
    for code in ("\x1b[32m", "\x1b[33m", "\x1b[0m"):
        assert code not in plain.line(told)
    assert "→" not in Table.of("apply", ["a"], 80, marks=ASCII).line(told)


def test_totals() -> None:
    """What became of all models; a word for what there was none of is left out."""
    assert Totals("apply", "out", "-sn.keras").place == " to out as *-sn.keras"
    totals = Totals("apply", "out")
    assert totals.lines(0) == ["0 converted; nothing was written in 0.0 s"]
    for _ in range(3):
        totals.add(report())
    totals.add(replace(report(), up_to_date=True))
    totals.pass_over()
    totals.fail("a\n.keras")
    totals.fail("b.keras")
    told = "3 converted, 2 already converted, 2 failed; 3.7 MB written to out in 0.0 s"
    assert totals.lines(7) == [told]
    assert totals.lines(9)[0].startswith("3 converted, 2 already converted, 2 failed, 2 not done;")
    for _ in range(11):
        totals.add(report())
    assert totals.lines(18)[1:] == [r"failed: a\n.keras, b.keras"]
    for index in range(20):
        totals.fail(f"c{index}")
    assert totals.lines(38)[1].endswith("c7 and 12 more")


def test_models_with_nothing_to_convert() -> None:
    """They are counted by themselves; where there is no other, all was in vain."""
    totals = Totals("apply")
    assert not totals.in_vain(0)
    totals.leave()
    assert (totals.in_vain(1), totals.in_vain(2)) == (True, False)
    totals.add(report())
    told = "1 converted, 1 with nothing to convert; 1.2 MB written in 0.0 s"
    assert (totals.lines(2), totals.in_vain(2)) == ([told], False)


def test_the_words_of_each_verb() -> None:
    """A dry run writes nothing, and who only looks does not say so."""
    dry, looked, made = Totals("apply"), Totals("inspect"), Totals("upgrade")
    dry.add(report(output=None))
    looked.add(report(output=None, verb="inspect"))
    made.add(report(verb="upgrade"))
    made.pass_over()
    assert dry.lines(1) == ["1 to convert; nothing was written in 0.0 s"]
    assert looked.lines(1) == ["1 inspected in 0.0 s"]
    assert made.lines(2) == ["1 upgraded, 1 already of Keras 3; 1.2 MB written in 0.0 s"]
