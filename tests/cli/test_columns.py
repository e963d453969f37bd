"""Columns that are fitted to a width."""

from __future__ import annotations

import pytest

from snconvert.cli.columns import Bar, Column, Line, filled, fitted


@pytest.mark.parametrize("width", [20, 40, 60, 80])
def test_what_gives_way(width: int) -> None:
    """Names give way first, then columns that may be left out; numbers never do."""
    columns = [
        Column("layer", least=8),
        Column("class", least=8),
        Column("sigma", numeric=True),
        Column("range", numeric=True, spare=True),
    ]
    rows = [["a" * 30, "b" * 20, "1.234", "0.4321 to 1.5"]]
    widths = fitted(columns, rows, width)
    assert widths[2] == 5
    assert sum(widths.values()) + 2 * (len(widths) - 1) <= max(width, 25)
    assert (3 in widths) == (width >= 40)
    if width == 80:
        assert widths == {0: 30, 1: 20, 2: 5, 3: 13}


def test_empty_columns() -> None:
    """A column in which nothing stands is left out, but for the first one."""
    columns, lines = filled(
        [Column("a"), Column("b"), Column("c")], [Line(("", "", ("x", "red"))), Line(("", "", "y"))]
    )
    assert [column.heading for column in columns] == ["a", "c"]
    assert [list(line.cells) for line in lines] == [["", ("x", "red")], ["", "y"]]


def test_above_is_more_than_rounding() -> None:
    """Half precision may be off by a little."""
    assert not Bar(1.0009, 1.0).is_above
    assert Bar(1.0011, 1.0).is_above
    assert not Bar(9.0).is_above
