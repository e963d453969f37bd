"""Columns of text that are fitted to a width, with numbers and bars in them."""

from __future__ import annotations

import decimal
from collections.abc import Sequence
from typing import NamedTuple

from snconvert.cli.printing.names import width_of

_THOUSAND = 1000
_EIGHTHS = " ▏▎▍▌▋▊▉"
_WRAPPED = 24  # columns that a text needs which goes on in the next line
CLOSE = 1e-3
"""How far above its bound a norm counts as there, relatively: rounding of half precision, noise."""
GAP = 2
"""Blanks between two columns."""

GREEN, RED = "green", "red"
"""Styles of what is converted, and of what is above its bound: both can be read on white and on
black."""

Cell = str | tuple[str, str]
"""A text, or a text and its style."""


class Marks(NamedTuple):
    """The signs of a table, as the letters of its terminal allow.

    Attributes:
        arrow: Stands before a class that a layer becomes.
        dots: Stand for the left out middle of a name.
        at_most: Stands before an upper bound.
        rule: What the line below the headings is made of.
    """

    arrow: str
    dots: str
    at_most: str
    rule: str


UNICODE, ASCII = Marks("→", "…", "≤", "─"), Marks("->", "...", "<=", "-")


class Column(NamedTuple):
    """A column of a table.

    Attributes:
        heading: What stands above it; where there is little room, in lines.
        numeric: Whether it holds numbers, which end at the same place.
        least: To how many columns its texts may be shortened; 0: not at all.
        spare: Whether it may be left out where there is no room.
        wraps: Whether a text goes on in the next line; the last column only.
        note: What is said below the table, where the column is shown.
    """

    heading: str
    numeric: bool = False
    least: int = 0
    spare: bool = False
    wraps: bool = False
    note: str = ""


class Bar(NamedTuple):
    """A number as a bar, on a terminal that has room for it.

    Attributes:
        value: The number.
        limit: Up to where the bar is solid: what the number should be at most; `None`: all of it.
    """

    value: float
    limit: float | None = None

    @property
    def is_above(self) -> bool:
        """Whether the number is above its limit by more than rounding of half precision, noise."""
        return self.limit is not None and self.value > self.limit * (1 + CLOSE)

    def text(self, width: int, scale: float, *, plain: bool = False) -> tuple[str, str]:
        """Returns the part up to the limit and the part above it.

        Args:
            width: How many columns `scale` takes.
            scale: The largest number of all bars.
            plain: Use letters of ASCII only.

        Example:
            >>> Bar(4.0, 1.0).text(8, 8.0), Bar(3.0).text(4, 8.0), Bar(3.0).text(4, 8.0, plain=True)
            (('█', '▒▒▒'), ('█▌', ''), ('##', ''))
        """
        solid, shaded = ("#", "-") if plain else ("█", "▒")
        length = self.value / scale * width
        if self.limit is not None and self.limit < self.value:
            inside, all_of_it = round(self.limit / scale * width), max(1, round(length))
            return solid * inside, shaded * (all_of_it - inside)
        if plain:
            return solid * round(length), ""
        eighths = round(length * 8)
        return solid * (eighths // 8) + _EIGHTHS[eighths % 8].strip(), ""


class Line(NamedTuple):
    """A row of a table.

    Attributes:
        cells: One for each column.
        bar: What is drawn behind it, where there is room.
        note: A text of its own below it.
    """

    cells: Sequence[Cell]
    bar: Bar | None = None
    note: str = ""


def filled(columns: Sequence[Column], lines: Sequence[Line]) -> tuple[list[Column], list[Line]]:
    """Returns a table without the columns that are empty, but for the first one."""
    kept = [
        i for i in range(len(columns)) if i == 0 or any(text_of(line.cells[i]) for line in lines)
    ]
    return [columns[i] for i in kept], [
        line._replace(cells=[line.cells[i] for i in kept]) for line in lines
    ]


def text_of(cell: Cell) -> str:
    """Returns what stands in a cell."""
    return cell if isinstance(cell, str) else cell[0]


def size(count: int) -> str:
    """Returns a number of bytes for people.

    Example:
        >>> size(553_000_000)
        '553.0 MB'
    """
    amount = float(count)
    units = ["B", "kB", "MB", "GB"]
    while amount >= _THOUSAND and len(units) > 1:
        amount /= _THOUSAND
        units.pop(0)
    return f"{count} B" if units[0] == "B" else f"{amount:.1f} {units[0]}"


def number(value: float | None) -> str:
    """Returns four digits of a number, nothing where there is none."""
    return "" if value is None else f"{value:.4g}"


def shape_of(shape: Sequence[int] | None) -> str:
    """Returns a shape as people write it.

    Example:
        >>> shape_of((3, 3, 64, 128))
        '3x3x64x128'
    """
    return "" if shape is None else "x".join(map(str, shape))


def proved(bounds: tuple[float, float] | None, at_most: str) -> str:
    """Returns the upper one of two bounds, rounded up.

    Example:
        >>> proved((1.0, 1.00000001), "<=")
        '<= 1.000001'
    """
    if bounds is None:
        return ""
    with decimal.localcontext(prec=7, rounding=decimal.ROUND_CEILING):
        return f"{at_most} {+decimal.Decimal(bounds[1]):g}"


def count_of(count: int, word: str) -> str:
    """Returns how many of something there are.

    Example:
        >>> count_of(1, "layer"), count_of(2, "layer")
        ('1 layer', '2 layers')
    """
    return f"{count} {word}" if count == 1 else f"{count} {word}s"


def fitted(columns: Sequence[Column], rows: Sequence[Sequence[str]], width: int) -> dict[int, int]:
    """Returns the places of the columns that are shown, and how wide each is.

    Those whose texts may be shortened give way, the one that has most to give first; where that is
    not enough, spare ones are left out from the right.

    Args:
        columns: The columns.
        rows: The texts.
        width: Of the whole table.

    Example:
        >>> fitted([Column("layer", least=4), Column("sigma")], [["a_long_name", "1.5"]], 15)
        {0: 8, 1: 5}
    """
    natural = [
        max(map(width_of, (*column.heading.split("\n"), *(row[i] for row in rows))))
        for i, column in enumerate(columns)
    ]
    shown = list(range(len(columns)))
    while True:
        widths = {i: natural[i] for i in shown}
        least = {
            i: columns[i].least or (_WRAPPED if columns[i].wraps else natural[i]) for i in shown
        }
        excess = sum(widths.values()) + GAP * (len(shown) - 1) - width
        while excess > 0 and (wide := [i for i in shown if widths[i] > least[i]]):
            widths[max(wide, key=lambda i: widths[i] - least[i])] -= 1
            excess -= 1
        spare = [i for i in shown if columns[i].spare]
        if excess <= 0 or not spare:
            return widths
        shown.remove(spare[-1])
