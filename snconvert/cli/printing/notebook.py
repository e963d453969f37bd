"""Tables and sentences as HTML for notebooks, readable on white and on black."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from snconvert.cli.columns import GREEN, RED, UNICODE, Cell, Column, Line, filled, text_of
from snconvert.cli.printing.printer import IN_PYTHON, IN_RED, any_red, style_of
from snconvert.wording import spoken

_OPEN, _MOST = 40, 500
_TABLE = "color:inherit;font-size:inherit;font-variant-numeric:tabular-nums;margin:0.4em 0"
_CELL = {False: "padding:0.1em 0.6em;text-align:left", True: "padding:0.1em 0.6em;text-align:right"}
# As bright as half of white, so that both stand out from white and from black.
_STYLES = {GREEN: ";color:#2a9d4a", RED: ";color:#e0522f;font-weight:bold"}


class Html:
    """HTML without scripts, links or names that are read as markup.

    Of long tables the first rows are seen, more can be unfolded, and what is beyond is counted.
    """

    marks = UNICODE
    more = IN_PYTHON

    def __init__(self) -> None:
        self._parts: list[str] = []

    def __str__(self) -> str:
        return f"<div>{''.join(self._parts)}</div>"

    def say(self, sentence: str, *, as_is: bool = False) -> None:  # noqa: ARG002 - the page breaks
        """Adds a sentence."""
        self._parts.append(f"<div>{escape(spoken(sentence))}</div>")

    def table(
        self,
        columns: Sequence[Column],
        lines: Sequence[Line],
        *,
        whole: bool = False,  # noqa: ARG002 - names are whole in any case
    ) -> list[str]:
        """Adds a table."""
        columns, lines = filled(columns, lines)
        self._parts.append(_table(columns, lines[:_OPEN]))
        folded, beyond = lines[_OPEN:_MOST], len(lines) - _MOST
        if folded:
            self._parts.append(
                f"<details><summary>{len(folded)} more rows</summary>"
                f"{_table(columns, folded)}</details>"
            )
        legend = [f"{beyond} rows more ({self.more})"] if beyond > 0 else []
        legend += [IN_RED] if any_red(lines) else []
        return legend + [column.note for column in columns if column.note]


def _table(columns: Sequence[Column], lines: Sequence[Line]) -> str:
    head = "".join(
        f'<th style="{_CELL[column.numeric]}">{escape(column.heading.replace(chr(10), " "))}</th>'
        for column in columns
    )
    rows = "".join(_row(columns, line) for line in lines)
    return f'<table style="{_TABLE}"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>'


def _row(columns: Sequence[Column], line: Line) -> str:
    row = f"<tr>{''.join(map(_cell, columns, line.cells))}</tr>"
    if line.note:
        row += (
            f'<tr><td colspan="{len(columns)}" style="{_CELL[False]}">{escape(line.note)}</td></tr>'
        )
    return row


def _cell(column: Column, cell: Cell) -> str:
    colour = _STYLES.get(style_of(cell), "")
    text = escape(text_of(cell))
    own = text.lstrip(" ")
    indent = "&nbsp;" * (len(text) - len(own))
    return f'<td style="{_CELL[column.numeric]}{colour}">{indent}{own}</td>'
