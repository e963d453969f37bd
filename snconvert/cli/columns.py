"""Columns of text: with rich on a terminal, plain where piped; and numbers and bars in them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import IO, TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

RANGE = "operator norm before"
"""The heading of a column of two numbers, which may be broken between them."""
_MEASURED = ("sigma", RANGE, "after", "bound")
SPECTRUM = ("values", "largest", "smallest", "condition", "stable rank", "effective rank")
"""The headings of what singular values say."""
NUMBERS = frozenset((*_MEASURED, *SPECTRUM, "norm", "constant", "share"))
"""The headings of columns of numbers, which end at the same place."""
BARS = "norm in use"
"""The heading of bars."""
_THOUSAND = 1000
_NARROWEST, _WIDEST = 8, 30  # columns of a bar
_EIGHTHS = " ▏▎▍▌▋▊▉"


class Bar(NamedTuple):
    """A number as a bar, on a terminal that has room for it.

    Attributes:
        value: The number.
        limit: Up to where the bar is solid: what the number should be at most; `None`: all of it.
    """

    value: float
    limit: float | None = None

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


def count_of(count: int, word: str) -> str:
    """Returns how many of something there are.

    Example:
        >>> count_of(1, "layer"), count_of(2, "layer")
        ('1 layer', '2 layers')
    """
    return f"{count} {word}" if count == 1 else f"{count} {word}s"


def print_table(
    headings: Sequence[str],
    rows: Sequence[Sequence[str]],
    stream: IO[str],
    bars: Sequence[Bar | None] = (),
) -> bool:
    """Prints columns.

    Args:
        headings: What stands above them; those in `NUMBERS` end at the same place.
        rows: The cells.
        stream: Where to; with lines if it is a terminal.
        bars: A bar for each row, or none at all.

    Returns:
        Whether there was room for the bars.
    """
    if stream.isatty():
        return _rich_table(headings, rows, stream, bars)
    widths = [max(len(row[i]) for row in (headings, *rows)) for i in range(len(headings))]
    for row in (headings, *rows):
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print("  ".join(cells).rstrip(), file=stream)
    return False


def _rich_table(
    headings: Sequence[str],
    rows: Sequence[Sequence[str]],
    stream: IO[str],
    bars: Sequence[Bar | None],
) -> bool:
    # rich costs a twentieth of a second, which a piped run need not pay.
    from rich.console import Console
    from rich.text import Text

    console = Console(file=stream)
    # Names come from the file: as Text they are never read as markup.
    texts = [[Text(cell) for cell in row] for row in rows]
    table = _table(headings, texts)
    room = min(_WIDEST, console.width - console.measure(table).maximum - 2)
    drawn = _drawn(bars, room, console) if room >= _NARROWEST else None
    if drawn is not None:
        table = _table(
            [*headings, ""], [[*row, bar] for row, bar in zip(texts, drawn, strict=True)]
        )
    console.print(table)
    return drawn is not None


def _table(headings: Sequence[str], rows: Sequence[Sequence[Text]]) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for heading in headings:
        is_number, is_range = heading in NUMBERS, heading == RANGE
        table.add_column(
            heading.replace(" ", "\n") if is_number and not is_range else heading,
            justify="right" if is_number else "left",
            overflow="fold",
            no_wrap=is_number and not is_range,
        )
    for row in rows:
        table.add_row(*row)
    return table


def _drawn(bars: Sequence[Bar | None], width: int, console: Console) -> list[Text] | None:
    """Returns the bars as texts; `None` where all are zero, or there are none."""
    from rich.text import Text

    scale = max((bar.value for bar in bars if bar is not None), default=0.0)
    if not scale:
        return None
    texts: list[Text] = []
    for bar in bars:
        parts = (
            ("", "") if bar is None else bar.text(width, scale, plain=console.options.ascii_only)
        )
        texts.append(Text.assemble((parts[0], "green"), (parts[1], "yellow")))
    return texts
