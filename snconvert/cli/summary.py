"""A model in few words: the line of each of several, as it is done."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from snconvert.cli.columns import UNICODE, Marks, count_of, size
from snconvert.cli.printing.names import shortened, width_of
from snconvert.cli.progress import cut
from snconvert.core.report import OPAQUE, Report
from snconvert.core.verbs import VERBS
from snconvert.errors import printable
from snconvert.planning.advice import option_for
from snconvert.planning.measured import NOT_FINITE

_LEAST_NAME = 12
_TITLE = "model"
_COLUMNS = {"done": 9, "sigma": 15, "size": 8, "time": 6}
"""How wide the columns are behind the name; the last ones go first where there is no room."""
_GAP = "  "
_GREEN, _YELLOW, _DIM, _NORMAL = "\x1b[32m", "\x1b[33m", "\x1b[2m", "\x1b[0m"
_CODE = re.compile(r"\x1b\[\d+m")


def sentence(report: Report) -> str:
    """Returns what was done to a model, as one line for a file or another program."""
    verb, source = VERBS[report.verb], printable(report.source)
    if report.up_to_date:
        return f"{source}: {verb.earlier}, {printable(report.output)} is left as it is"
    count = count_of(len(report.layers) if not verb.changes_layers else report.converted, "layer")
    if not verb.writes:
        clauses = [f"{count} {'converts' if report.converted == 1 else 'convert'}"]
    elif report.output is None and verb.changes_layers:
        clauses = [f"{count} to {'convert' if verb.converts else verb.name}"]
    else:
        clauses = [f"{count} {verb.done}"]
    already = sum(layer.status == "spectral" for layer in report.layers)
    if already and verb.converts:
        clauses.append(f"{already} already normalised")
    if plain := _plain(report):
        clauses.append(f"{plain[0]} left plain ({plain[1]})")
    clauses += _left(report)
    parts = [", ".join(clauses)]
    if sigma := _sigma(report, " to ", " -> "):
        parts.append(f"sigma {sigma}")
    took = f"{report.seconds:.2f} s"
    if report.output is not None:
        parts.append(f"wrote {printable(report.output)}")
        took = f"{size(report.bytes)}; {took}"
    elif verb.writes:
        parts.append("nothing was written")
    return f"{source}: {'; '.join(parts)} ({took})"


class Table(NamedTuple):
    """Lines of one table that come one by one, on a terminal.

    Attributes:
        verb: What is done to the models.
        names: How each model is shown: without the folder and the ending that all have.
        widest: How wide the column of names is.
        columns: The other columns, by their names, and how wide each is.
        width: Of the terminal.
        marks: The signs that the terminal knows.
        colours: Whether there may be colours.
    """

    verb: str
    names: dict[str, str]
    widest: int
    columns: dict[str, int]
    width: int
    marks: Marks = UNICODE
    colours: bool = False

    @classmethod
    def of(
        cls,
        verb: str,
        names: Sequence[str],
        width: int,
        *,
        marks: Marks = UNICODE,
        colours: bool = False,
    ) -> Table:
        """Returns the table for models, as wide as there is room.

        Args:
            verb: As in the attributes.
            names: The models, by where they are written to, if anywhere.
            width: As in the attributes.
            marks: As in the attributes.
            colours: As in the attributes.
        """
        columns = dict(_COLUMNS)
        if not VERBS[verb].writes:
            del columns["size"]

        def room() -> int:
            return width - 1 - sum(columns.values()) - len(_GAP) * len(columns)

        while columns and room() < _LEAST_NAME:
            columns.popitem()
        folders = {_split(name)[0] for name in names}
        common = ending(names, verb)
        whole = {
            name: printable((_split(name)[1] if len(folders) == 1 else name).removesuffix(common))
            for name in names
        }
        widest = min(room(), max(map(width_of, (_TITLE, *whole.values()))))
        short = shortened(whole.values(), widest, marks.dots)
        shown = {name: short[text] for name, text in whole.items()}
        return cls(verb, shown, widest, columns, width, marks, colours)

    def heading(self, *, dry_run: bool = False) -> str:
        """Returns the first line.

        Args:
            dry_run: Whether nothing is written.
        """
        verb = VERBS[self.verb]
        done = (None if dry_run else verb.done) if verb.changes_layers else "layers"
        done = done or ("converts" if verb.converts else verb.name)
        words = {"done": done, **{x: x for x in ("sigma", "size", "time")}}
        cells = {name: _cell(name, words[name], width) for name, width in self.columns.items()}
        return self._coloured("dim", self._line(_TITLE, cells))

    def line(self, report: Report) -> str:
        """Returns the line of a model, and behind or below it which layers are not converted."""
        verb = VERBS[self.verb]
        name = report.source if report.output is None else report.output
        if report.up_to_date:
            return self.note(name, verb.earlier)
        words = {
            "done": str(report.converted if verb.changes_layers else len(report.layers)),
            "sigma": _sigma(report, "..", f" {self.marks.arrow} "),
            "size": size(report.bytes),
            "time": f"{report.seconds:.1f} s",
        }
        cells = {name: _cell(name, words[name], width) for name, width in self.columns.items()}
        line = self._line(name, cells, {"done": "green" if report.converted else ""})
        beside = _beside(report) if verb.converts else ""
        if not beside:
            return line
        taken = width_of(_CODE.sub("", line))
        gap = _GAP if taken + len(_GAP) + len(beside) < self.width else f"\n{_GAP}"
        room = self.width - 1 - len(_GAP)
        return line + gap + self._coloured("yellow", cut(beside, room, self.marks))

    def note(self, name: str, what: str) -> str:
        """Returns the line of a model of which there is one thing to say."""
        return self._coloured("dim", self._line(name, {"done": what}))

    def _line(self, name: str, cells: dict[str, str], styles: dict[str, str] | None = None) -> str:
        room = self.width - 1 - sum(map(len, cells.values())) - len(_GAP) * len(cells)
        if room < _LEAST_NAME:  # very long numbers
            cells = {
                key: cut(cell, self.columns.get(key, len(cell)), self.marks)
                for key, cell in cells.items()
            }
            room = _LEAST_NAME
        wide = min(self.widest, room)
        shown = cut(self.names.get(name) or printable(name), wide, self.marks)
        first = shown + " " * (wide - width_of(shown))
        rest = [self._coloured((styles or {}).get(key, ""), cell) for key, cell in cells.items()]
        return _GAP.join([first, *rest]).rstrip()

    def _coloured(self, style: str, text: str) -> str:
        codes = {"green": _GREEN, "yellow": _YELLOW, "dim": _DIM}
        if not self.colours or style not in codes or not text.strip():
            return text
        return f"{codes[style]}{text}{_NORMAL}"


def _split(path: str) -> tuple[str, str]:
    """Returns the folder of a file or folder, and its name in that."""
    return os.path.split(path.rstrip(os.sep))


def ending(names: Sequence[str], verb: str) -> str:
    """Returns what all names end with: the suffix of a result's name, or that of a file.

    Example:
        >>> ending(["a/b-sn.keras", "c-sn.keras"], "apply")
        '-sn.keras'
        >>> ending(["b-sn.keras", "c.keras"], "apply"), ending(["b.keras", "c.h5"], "inspect")
        ('.keras', '')
    """
    if not names:
        return ""
    extension = os.path.splitext(_split(names[0])[1])[1]
    for text in ((VERBS[verb].suffix or "") + extension, extension):
        if all(_split(name)[1].removesuffix(text) not in ("", _split(name)[1]) for name in names):
            return text
    return ""


def _plain(report: Report) -> tuple[str, str] | None:
    """Returns which kinds stay plain that nobody chose, and the option that converts them, too."""
    kinds = Counter(x.missing_kind for x in report.layers if x.missing_kind is not None)
    if not kinds:
        return None
    option = option_for(kinds) if list(kinds) == ["conv"] else "--kinds all"
    return ", ".join(f"{count} {kind}" for kind, count in kinds.items()), option


def _beside(report: Report) -> str:
    """Returns which layers are not converted, and why."""
    already = sum(layer.status == "spectral" for layer in report.layers)
    parts = [f"{already} already normalised"] if already else []
    if plain := _plain(report):
        parts.append(f"{plain[0]} plain: {plain[1]}")
    return ", ".join([*parts, *_left(report)])


def _left(report: Report) -> list[str]:
    """Returns how many layers cannot be converted as they are, by why."""
    reasons = [layer.reason or "" for layer in report.layers]
    opaque = sum(reason.startswith(OPAQUE) for reason in reasons)
    broken = sum(reason.endswith(NOT_FINITE) for reason in reasons)
    counts = [(opaque, "opaque"), (broken, "not finite")]
    return [f"{count} {what}" for count, what in counts if count]


def _sigma(report: Report, to: str, arrow: str) -> str:
    """Returns the norms of the layers that become others, before and after."""
    if not VERBS[report.verb].changes_layers:
        return ""
    chosen = [x for x in report.layers if x.status in {"converted", "convertible"}]
    if not VERBS[report.verb].writes:
        return _range(
            [x.sigma_after if x.status == "spectral" else x.sigma for x in report.layers], to
        )
    chosen = [layer for layer in chosen if layer.missing_kind is None]
    before = _range([layer.sigma for layer in chosen], to)
    after = _range([layer.sigma_after for layer in chosen], to)
    return f"{before}{arrow}{after}" if after not in {"", before} else before


def _range(numbers: Sequence[float | None], to: str) -> str:
    known = [number for number in numbers if number is not None]
    if not known:
        return ""
    low, high = f"{min(known):.3g}", f"{max(known):.3g}"
    return low if low == high else f"{low}{to}{high}"


def _cell(name: str, text: str, width: int) -> str:
    return text.ljust(width) if name == "sigma" else text.rjust(width)
