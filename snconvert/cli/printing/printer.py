"""Where tables and sentences go: into a pipe, or onto a terminal, fitted to its width."""

from __future__ import annotations

import os
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import IO, TYPE_CHECKING, Protocol

from snconvert.cli.columns import (
    ASCII,
    GAP,
    GREEN,
    RED,
    UNICODE,
    Bar,
    Cell,
    Column,
    Line,
    Marks,
    filled,
    fitted,
    text_of,
)
from snconvert.cli.printing.names import shortened, width_of
from snconvert.wording import spoken

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

_NARROWEST, _WIDEST = 8, 30  # columns of a bar
_LEAST = 8  # columns of names that may be longer
IN_PYTHON = "to_dict() has all"
"""How to see what a table in Python leaves out."""
_BARS = "bars are solid up to the bound, and shaded above it"
IN_RED = "in red: above its bound"
"""What the style `RED` says."""


class Printer(Protocol):
    """What reports are printed with.

    Attributes:
        marks: The signs to use.
        more: How to see what is left out.
    """

    marks: Marks
    more: str

    def say(self, sentence: str, *, as_is: bool = False) -> None:
        """Prints a sentence.

        Args:
            sentence: What is said.
            as_is: Break lines between clauses only: it holds a path, which is to be copied.
        """

    def table(
        self, columns: Sequence[Column], lines: Sequence[Line], *, whole: bool = False
    ) -> list[str]:
        """Prints a table.

        Args:
            columns: The columns.
            lines: The rows.
            whole: Shorten no name; one that is too long has a line of its own.

        Returns:
            Sentences to say below it: what its signs mean, and what there was no room for.
        """


def folded(sentence: str, width: int) -> list[str]:
    """Returns the lines of a sentence that is broken between its clauses only.

    Example:
        >>> folded("a b.keras: 2 layers; wrote c.keras (2 MB; 3 s)", 21)
        ['a b.keras: 2 layers;', 'wrote c.keras', '(2 MB; 3 s)']
        >>> folded("nothing was written (0.31 s, 0.01 s of it for sigma)", 40)
        ['nothing was written', '(0.31 s, 0.01 s of it for sigma)']
    """
    parts = re.split(r"(?<=[;,:]) (?![^()]*\))| (?=\()", sentence)
    wide = [re.split("(?<=[;,]) ", part) if width_of(part) > width else [part] for part in parts]
    return _packed([piece for pieces in wide for piece in pieces], width, " ")


def _packed(parts: Sequence[str], width: int, between: str = "") -> list[str]:
    """Returns lines, each of as many parts as there is room for, of one at least."""
    lines: list[str] = []
    for part in parts:
        if lines and width_of(lines[-1] + between + part) <= width:
            lines[-1] += between + part
        else:
            lines.append(part)
    return lines


def printer_for(stream: IO[str]) -> Printer:
    """Returns what prints on a stream: a terminal, or a pipe, unless `FORCE_COLOR` is set."""
    if not stream.isatty() and not os.environ.get("FORCE_COLOR"):
        return Pipe(stream)
    # rich costs a twentieth of a second, which a piped run need not pay.
    from rich.console import Console

    if os.environ.get("NO_COLOR"):  # neither bold nor dim, which rich sends all the same
        console = Console(file=stream, color_system=None, force_jupyter=False)
    else:
        console = Console(file=stream, force_jupyter=False)
    return Terminal(console, ASCII if console.options.ascii_only else UNICODE)


def text_printer(stream: IO[str], width: int) -> Printer:
    """Returns what prints a text of that width for any terminal, without colours."""
    from rich.console import Console

    return Terminal(
        Console(file=stream, width=width, color_system=None, force_jupyter=False), ASCII, IN_PYTHON
    )


class Pipe:
    """Plain columns that keep every name whole, for other programs."""

    marks = ASCII
    more = "-v"

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def say(self, sentence: str, *, as_is: bool = True) -> None:  # noqa: ARG002 - it always is
        """Prints a sentence."""
        print(spoken(sentence), file=self._stream)

    def table(
        self,
        columns: Sequence[Column],
        lines: Sequence[Line],
        *,
        whole: bool = False,  # noqa: ARG002 - names are whole in any case
    ) -> list[str]:
        """Prints columns."""
        columns, lines = filled(columns, lines)
        rows = [[column.heading.replace("\n", " ") for column in columns]]
        rows += [[text_of(cell) for cell in line.cells] for line in lines]
        widths = [max(len(row[i]) for row in rows) for i in range(len(columns))]
        for row, note in zip(rows, ["", *(line.note for line in lines)], strict=True):
            cells = (
                cell.rjust(width) if column.numeric else cell.ljust(width)
                for cell, width, column in zip(row, widths, columns, strict=True)
            )
            self.say((" " * GAP).join(cells).rstrip())
            if note:
                self.say(f"    {note}")
        return [column.note for column in columns if column.note]


class Terminal:
    """A table as wide as the terminal is, with names shortened where that is needed."""

    def __init__(self, console: Console, marks: Marks, more: str = "-v") -> None:
        self.marks = marks
        self.more = more
        self._console = console

    def say(self, sentence: str, *, as_is: bool = False) -> None:
        """Prints a sentence."""
        fold = folded if as_is else self._wrapped
        self._console.out("\n".join(fold(spoken(sentence), self._console.width)), highlight=False)

    def _wrapped(self, sentence: str, width: int) -> list[str]:
        """Returns the lines of a sentence, in which words that are wider lose their middle."""
        short = shortened(sentence.split(), width, self.marks.dots)
        words = " ".join(short[word] for word in sentence.split())
        return textwrap.wrap(words, width, break_long_words=False, break_on_hyphens=False)

    def table(
        self, columns: Sequence[Column], lines: Sequence[Line], *, whole: bool = False
    ) -> list[str]:
        """Prints a table."""
        from rich.text import Text

        if whole:  # only the first column gives way, and its long names have lines of their own
            columns = [column._replace(least=0, spare=False) for column in columns]
            columns[0] = columns[0]._replace(least=_LEAST)
        columns, lines = filled(columns, lines)
        rows = [[text_of(cell) for cell in line.cells] for line in lines]
        widths = fitted(columns, rows, self._console.width)
        short = {
            i: shortened((row[i] for row in rows), width, self.marks.dots)
            for i, width in widths.items()
            if columns[i].least and not whole
        }
        total = sum(widths.values()) + GAP * (len(widths) - 1)
        room = min(_WIDEST, self._console.width - total - GAP)
        bars = self._bars([line.bar for line in lines], room) if room >= _NARROWEST else {}
        below = max(_LEAST, self._console.width - len("    "))
        texts = [*_headings(columns, widths), Text(self.marks.rule * total, "dim")]
        for place, (line, row) in enumerate(zip(lines, rows, strict=True)):
            cells = list(line.cells)
            for i, names in short.items():
                cells[i] = names[row[i]], style_of(cells[i])
            if whole and width_of(row[0]) > widths[0]:
                texts += map(Text, _packed(re.split("(?<=/)", row[0]), self._console.width))
                cells[0] = ""
            texts += _row(columns, widths, cells)
            if place in bars:
                texts[-1].append_text(bars[place])
            texts[-1].rstrip()
            if line.note:
                texts += (Text(f"    {part}", "dim") for part in self._wrapped(line.note, below))
        texts.append(Text())  # the table ends where sentences begin
        self._console.print(Text("\n").join(texts), no_wrap=True, overflow="ignore", crop=False)
        coloured = self._console.color_system is not None and not self._console.no_color
        red = coloured and any_red(lines)
        notes = [columns[i].note for i in widths if columns[i].note]
        return [*([_BARS] if bars else []), *([IN_RED] if red else []), *notes]

    def _bars(self, bars: Sequence[Bar | None], width: int) -> dict[int, Text]:
        """Returns the bars by the places of their rows; none where all are zero."""
        from rich.text import Text

        scale = max((bar.value for bar in bars if bar is not None), default=0.0)
        drawn = {
            place: bar.text(width, scale, plain=self.marks is ASCII)
            for place, bar in enumerate(bars)
            if bar is not None and scale
        }
        return {
            place: Text.assemble("  ", (solid, GREEN), (shaded, RED))
            for place, (solid, shaded) in drawn.items()
        }


def _headings(columns: Sequence[Column], widths: Mapping[int, int]) -> Iterator[Text]:
    """Yields the lines of the headings, which end at the same line."""
    height = max(columns[i].heading.count("\n") for i in widths) + 1
    parts = [["", "", *column.heading.split("\n")][-height:] for column in columns]
    for line in zip(*parts, strict=True):
        (text,) = _row(columns, widths, [(part, "bold") for part in line])
        text.rstrip()
        yield text


def _row(
    columns: Sequence[Column], widths: Mapping[int, int], cells: Sequence[Cell]
) -> Iterator[Text]:
    """Yields the lines of a row: one, or several where the last text goes on."""
    from rich.text import Text

    last = max(widths)
    texts = [text_of(cell) for cell in cells]
    further: list[str] = []
    if columns[last].wraps:
        texts[last], *further = textwrap.wrap(texts[last], widths[last]) or [""]
    line = Text()
    for i, width in widths.items():
        blanks = " " * (width - width_of(texts[i]))
        padded = blanks + texts[i] if columns[i].numeric else texts[i] + blanks
        line.append(padded if i == last else padded + " " * GAP, style_of(cells[i]))
    yield line
    start = sum(widths.values()) - widths[last] + GAP * (len(widths) - 1)
    yield from (Text(" " * start + text) for text in further)


def any_red(lines: Sequence[Line]) -> bool:
    """Whether a cell has the style `RED`."""
    return any(style_of(cell) == RED for line in lines for cell in line.cells)


def style_of(cell: Cell) -> str:
    """Returns the style of a cell."""
    return "" if isinstance(cell, str) else cell[1]
